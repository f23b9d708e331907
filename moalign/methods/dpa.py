"""DPA: one policy that is told a direction over the objectives, trained on the best of n under that direction."""

from dataclasses import dataclass, field

from moalign.conditioning.prompt import STYLES
from moalign.training.rejection import RejectionTrainer
from moalign.training.rejection_config import PREFERENCES, RejectionConfig
from moalign.training.steering_config import CONDITIONINGS


@dataclass
class DPAConfig(RejectionConfig):
    """Configuration of `DPATrainer`: the rejection-sampling learner's, with the paper's rounds, draws, directions and sentence."""

    conditioning: str = field(
        default="prompt",
        metadata={
            "help": "How the policy is told the direction: prompt (in words, one LoRA), adapter_mixture (a LoRA per objective) or none (one LoRA for one preference).",
            "choices": CONDITIONINGS,
        },
    )
    prompt_style: str = field(
        default="dpa",
        metadata={
            "help": "Wording of the direction under conditioning prompt: the paper's sentence (dpa) or plain.",
            "choices": tuple(STYLES),
        },
    )
    preferences: str = field(
        default="directions",
        metadata={
            "help": "What is sampled per prompt: directions (unit vectors, which may ask for less of something) or weights (Dirichlet on the simplex).",
            "choices": PREFERENCES,
        },
    )
    rounds: int = field(default=4, metadata={"help": "How often new completions are drawn from the present policy."})
    num_generations: int = field(
        default=16, metadata={"help": "Completions per prompt and direction, of which the best is kept."}
    )


class DPATrainer(RejectionTrainer):
    r"""Directional Preference Alignment ([Wang et al., 2024](https://huggingface.co/papers/2402.18571)): linear scalarizer × prompt × rejection sampling.

    For t = 1..T and directions $v$ with $\|v\|_2 = 1$, whose components may be negative,

    $$ y_1, \dots, y_n \sim \pi_{t-1}(\cdot \mid v, x), \quad y^* = \arg\max_j v^\top r(x, y_j), \quad
       \pi_t = \arg\max_\pi E_{x, v} \log \pi(y^* \mid v, x) $$

    where $v$ is drawn per prompt with an angle of at most 45° to the first objective and told in the system turn: "... Your response should maximize weighted
    rating = helpfulness*80 + verbosity*-60". As published T = 4, n = 16, two objectives.

    Deviations from the paper: one LoRA (learning rate 1e-4) instead of full fine-tuning (1e-5); one optimizer and learning rate schedule over all rounds
    instead of one training each; one direction per drawn prompt instead of several for the same prompt; more than two objectives, with directions uniform on the
    cap around the primary one; rewards are centred and scaled by the reference policy, so that components share a unit (`normalize_rewards=False` takes
    them as they are). `conditioning="adapter_mixture"` mixes a LoRA per objective by the direction instead of telling it in words.
    """

    method = "dpa"
    paper = "https://huggingface.co/papers/2402.18571"
