"""Score texts with the reward heads of a bundle: what a completion is worth on each objective, on the scale that weights refer to."""

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from frontier.errors import InputError
from reward_heads.normalizer import Normalizer
from reward_heads.text import Text
from reward_heads.vector_reward import VectorReward, score_checked

if TYPE_CHECKING:
    from moalign.policy import SteerablePolicy

# The folder of a bundle that holds its reward heads, in any form that `reward_heads.saved` reads.
FOLDER = "rewards"


def reward_folder(bundle: str | Path, given: str | Path | None = None) -> Path | None:
    """Where the reward heads of a bundle lie: the folder that was given, else `rewards/` inside the bundle; `None` where there are none.

    Raises:
        InputError: the folder that was given does not exist.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise InputError(f"reward_heads: no folder at {given}")
        return Path(given)
    from reward_heads.saved import marker_of

    inside = Path(bundle) / FOLDER
    return inside if inside.is_dir() and marker_of(inside) is not None else None


def heads_of(bundle: str | Path, given: str | Path | None = None) -> "Callable[[SteerablePolicy], RewardHeads] | None":
    """What loads the reward heads of a bundle, once its policy is loaded; `None` where there are none.

    Args:
        bundle (`str` or `Path`): the bundle.
        given (`str` or `Path`, *optional*): the heads' folder, if they lie elsewhere.

    Raises:
        InputError: the folder that was given does not exist.
    """
    folder = reward_folder(bundle, given)
    if folder is None:
        return None

    def load(policy: "SteerablePolicy") -> RewardHeads:
        from reward_heads.saved import load_reward

        units = None if policy.normalizer is None else Normalizer.from_json(policy.normalizer)
        # On the CPU: a few texts per request, beside a device that is busy decoding.
        return RewardHeads(load_reward(folder, device="cpu"), policy.objectives, units)

    return load


class RewardHeads:
    """The K rewards of a served policy, of texts; safe to use from several threads, one batch at a time.

    Args:
        reward (`VectorReward`): in its own units; may score more objectives than the policy has.
        objectives (`Sequence[str]`): the policy's, in its order.
        normalizer (`Normalizer`, *optional*): the policy's, of whose units its weights are; `None` = they are of the rewards as scored.

    Raises:
        InputError: the reward lacks an objective of the policy.
    """

    def __init__(self, reward: VectorReward, objectives: Sequence[str], normalizer: Normalizer | None = None) -> None:
        missing = [name for name in objectives if name not in reward.objectives]
        if missing:
            raise InputError(
                f"the reward heads don't fit the policy: they don't score '{missing[0]}'; they score {', '.join(reward.objectives)}, the policy has {', '.join(objectives)}"
            )
        self.objectives = tuple(objectives)
        self.normalizer = None if normalizer is None else normalizer.select(self.objectives)
        self._reward = reward
        self._columns = [tuple(reward.objectives).index(name) for name in objectives]
        self._lock = threading.Lock()

    @property
    def units(self) -> str:
        """`"normalized"` or `"raw"`."""
        return "raw" if self.normalizer is None else "normalized"

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float64 in the units of the policy's weights; NaN = not known.

        Raises:
            InputError: the batch does not pair up, or a head cannot read a text.
        """
        found = self.raw(prompts, completions)
        return found if self.normalizer is None else self.normalizer(found)

    def raw(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float64 in the reward's own units; NaN = not known. Errors as of [`RewardHeads.score`]."""
        with self._lock:
            scores = score_checked(self._reward, prompts, completions)
        return scores.double()[:, self._columns]


def rewards_document(heads: RewardHeads, prompts: Sequence[Text], completions: Sequence[Text]) -> dict[str, Any]:
    """`POST /v1/rewards`: one vector for each pair of prompt and completion; `null` = not known.

    Args:
        heads (`RewardHeads`): what scores.
        prompts (`Sequence[Text]`): B of them.
        completions (`Sequence[Text]`): B of them.
    """
    rows = heads.score(prompts, completions).tolist()
    data = [
        {
            "index": index,
            "rewards": {n: None if math.isnan(v) else v for n, v in zip(heads.objectives, row, strict=True)},
        }
        for index, row in enumerate(rows)
    ]
    return {"object": "rewards", "objectives": list(heads.objectives), "units": heads.units, "data": data}
