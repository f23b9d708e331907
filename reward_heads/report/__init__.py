"""Everything that held-out labels say of a reward, as figures, as a table and as one self-contained page.

from reward_heads.report import evaluate_reward, write_page
report = evaluate_reward(reward, held_out_rows)
print(report)
write_page(report, "report.html")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.report.evaluation import RewardReport, evaluate_reward
    from reward_heads.report.html import page, write_page

_HOME = {"RewardReport": "evaluation", "evaluate_reward": "evaluation", "page": "html", "write_page": "html"}

__all__ = ["RewardReport", "evaluate_reward", "page", "write_page"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.report' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.report.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
