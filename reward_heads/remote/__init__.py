"""Rewards that are computed elsewhere: your own server, any asynchronous function, a judge behind an OpenAI-compatible endpoint.

    from reward_heads.remote import HTTPReward, PrincipleJudge
    reward = HTTPReward("http://127.0.0.1:9000/score", ["helpful", "brief"], cache="scores.sqlite")
    judge = PrincipleJudge({"harmless": "The reply helps nobody to do harm."}, "http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-7B-Instruct")
    judge.save_pretrained("judge")  # a folder like any other reward's, without the key

Each is a vector reward. Requests run in parallel, are tried again when that may help, and end at a deadline; what the server answers is checked. An
asynchronous function is enough:

    >>> from reward_heads.remote import AsyncReward
    >>> async def lengths(prompt: str, completion: str) -> dict[str, float]:
    ...     return {"brief": -len(completion), "long": len(completion)}
    >>> AsyncReward(["brief", "long"], lengths).score(["Hi"], ["Hello."])
    tensor([[-6.,  6.]])

HTTP needs the extra `moalign[remote]`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.remote.async_reward import AsyncReward
    from reward_heads.remote.errors import RemoteError, RequestRefused
    from reward_heads.remote.http import HTTPReward
    from reward_heads.remote.judge import Judgement, PrincipleJudge
    from reward_heads.remote.judge_prompt import JudgePrompt
    from reward_heads.remote.retry import Retry
    from reward_heads.remote.saved import RemoteReward
    from reward_heads.remote.score_cache import ScoreCache

_HOME = {
    "AsyncReward": "async_reward",
    "HTTPReward": "http",
    "JudgePrompt": "judge_prompt",
    "Judgement": "judge",
    "PrincipleJudge": "judge",
    "RemoteError": "errors",
    "RemoteReward": "saved",
    "RequestRefused": "errors",
    "Retry": "retry",
    "ScoreCache": "score_cache",
}

__all__ = [
    "AsyncReward",
    "HTTPReward",
    "JudgePrompt",
    "Judgement",
    "PrincipleJudge",
    "RemoteError",
    "RemoteReward",
    "RequestRefused",
    "Retry",
    "ScoreCache",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.remote' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.remote.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
