"""Rewards that don't pay for length: the correction is part of the reward, so training, evaluation and export can't see different numbers.

    from reward_heads.decorrelate import fit_decorrelation, fold, erase_length
    reward, report = fit_decorrelation(reward, rows)  # |Spearman with length| ≤ 0.05 on texts of other prompts
    print(report.table())
    save_reward(reward, "reward")  # load_reward("reward") always applies it
    reward, report = fit_decorrelation(reward, rows, against="verbosity")  # ArmoRM's form
    fold(reward).save_pretrained("plain")  # the same numbers as an ordinary AutoModelForSequenceClassification
    plain, report = erase_length(reward, rows)  # length out of the head's weights, as far as the features know it

With programmed rewards:

    >>> from reward_heads import FunctionReward
    >>> from reward_heads.decorrelate import fit_decorrelation
    >>> wordy = FunctionReward({"good": lambda prompt, completion: completion.count("good") + 0.1 * len(completion.split())})
    >>> rows = [{"prompt": f"p{i}", "completion": "very " * (i % 37) + "good " * (i % 3)} for i in range(2000)]
    >>> reward, report = fit_decorrelation(wordy, rows)
    >>> report.held_out.before[0] > 0.5, report.holds
    (True, True)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.decorrelate.curve import Curve, fit_curve
    from reward_heads.decorrelate.decorrelation import Decorrelation
    from reward_heads.decorrelate.erase import erase_length
    from reward_heads.decorrelate.fit import decorrelation_of, fit_decorrelation
    from reward_heads.decorrelate.folding import fold
    from reward_heads.decorrelate.length import Length
    from reward_heads.decorrelate.penalty import smallest_penalty
    from reward_heads.decorrelate.rank_correlation import spearman
    from reward_heads.decorrelate.report import DecorrelationReport

_HOME = {
    "Curve": "curve",
    "Decorrelation": "decorrelation",
    "DecorrelationReport": "report",
    "Length": "length",
    "decorrelation_of": "fit",
    "erase_length": "erase",
    "fit_curve": "curve",
    "fit_decorrelation": "fit",
    "fold": "folding",
    "smallest_penalty": "penalty",
    "spearman": "rank_correlation",
}

__all__ = [
    "Curve",
    "Decorrelation",
    "DecorrelationReport",
    "Length",
    "decorrelation_of",
    "erase_length",
    "fit_curve",
    "fit_decorrelation",
    "fold",
    "smallest_penalty",
    "spearman",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.decorrelate' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.decorrelate.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
