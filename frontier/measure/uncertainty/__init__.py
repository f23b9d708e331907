"""Say how sure a figure of a front is, given that it was measured on a sample of prompts.

    >>> import numpy as np
    >>> from frontier.front import ParetoFront
    >>> from frontier.measure.uncertainty import certify, interval
    >>> from frontier.prompt_rewards import PromptRewards
    >>> means = np.array([[0.2, 0.9], [0.7, 0.7], [0.9, 0.1]])
    >>> rewards = means[:, None, :] + np.random.default_rng(0).normal(0.0, 0.2, (3, 100, 2))
    >>> prompts = tuple(f"prompt {i}" for i in range(100))
    >>> front = ParetoFront.of_prompt_rewards(PromptRewards(("helpful", "safe"), rewards, prompts))
    >>> print(interval(front, "hypervolume", reference_point=(0, 0)))
    0.533 (95 % interval 0.5 to 0.565, 100 prompts)
    >>> certify(front, 1, {"safe": 0.6}).passed  # holds although it is the best of three points
    True

`interval`, `compare`, `probability_non_dominated`, `certify`, `certify_points` take a `ParetoFront` with `prompt_rewards`; `bootstrap`, `compare_rewards`,
`posterior_non_dominated` and `certify_rewards` take plain arrays; `prompts_needed` takes what `compare` returns.
"""

from frontier.measure.uncertainty.bootstrap import bootstrap
from frontier.measure.uncertainty.certificate import Bound, Certificate, certify_rewards, holm
from frontier.measure.uncertainty.compare import Comparison, compare_rewards
from frontier.measure.uncertainty.estimate import Estimate
from frontier.measure.uncertainty.fronts import certify, certify_points, compare, interval, probability_non_dominated
from frontier.measure.uncertainty.power import PromptsNeeded, prompts_needed
from frontier.measure.uncertainty.probability import NonDominated, posterior_non_dominated

__all__ = [
    "Bound",
    "Certificate",
    "Comparison",
    "Estimate",
    "NonDominated",
    "PromptsNeeded",
    "bootstrap",
    "certify",
    "certify_points",
    "certify_rewards",
    "compare",
    "compare_rewards",
    "holm",
    "interval",
    "posterior_non_dominated",
    "probability_non_dominated",
    "prompts_needed",
]
