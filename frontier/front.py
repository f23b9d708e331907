"""Keep a measured front together with everything that its numbers need to mean something.

Each point carries its preference, its mean rewards with their standard errors, the number of prompts, its distance from the reference policy and where it
came from; the front carries its objectives, the reference policy, the normaliser and, where they were kept, the rewards on every prompt. Every
hypervolume comes with its reference point.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier import measure
from frontier.errors import InputError
from frontier.points import FrontPoint, Hypervolume, as_list
from frontier.prompt_rewards import PromptRewards, prompt_means

if TYPE_CHECKING:
    import pandas as pd

    from frontier.compare import FrontComparison

__all__ = ["FrontPoint", "Hypervolume", "ParetoFront", "common_reference_point"]


@dataclass(frozen=True)
class ParetoFront:
    """Policies that trade objectives off against each other, measured side by side. Every objective is maximised.

    Dominated points may be among them: they are part of what was measured, and `non_dominated` leaves them out.

    Args:
        objectives (`tuple[str, ...]`): the K names.
        points (`tuple[FrontPoint, ...]`): at least one.
        reference_policy (`FrontPoint`, *optional*): where training started from.
        normalizer (`dict`, *optional*): location and scale of each objective that the rewards were divided by, as JSON values; `None` for raw rewards.
        info (`dict`, *optional*): anything else about the measurement, as JSON values.
        prompt_rewards (`PromptRewards`, *optional*): the rewards of every point on every prompt, in the order of the points. With them every figure gets an interval.

    Raises:
        InputError: no or doubled objectives, no points, or a point or per-prompt rewards that don't fit; the message names the point.

    Example:
        >>> front = ParetoFront(("helpful", "brief"), (FrontPoint((1, 3), (0.1, 0.1), 64), FrontPoint((2, 2), (0.1, 0.1), 64)))
        >>> front.hypervolume(reference_point=(0, 0)).value
        5.0
    """

    objectives: tuple[str, ...]
    points: tuple[FrontPoint, ...]
    reference_policy: FrontPoint | None = None
    normalizer: dict[str, Any] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    prompt_rewards: PromptRewards | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(as_list("objectives", self.objectives)))
        object.__setattr__(self, "points", tuple(as_list("points", self.points)))
        names = self.objectives
        if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
            raise InputError(f"objectives must be names that differ, at least one; found {list(names)}")
        if not self.points:
            raise InputError("points must hold at least one point, found none")
        named = [(f"points[{i}]", p) for i, p in enumerate(self.points)]
        if self.reference_policy is not None:
            named.append(("reference_policy", self.reference_policy))
        for where, point in named:
            if len(point.rewards) != len(names):
                raise InputError(
                    f"{where}.rewards must have one value per objective ({', '.join(names)}), found {len(point.rewards)}"
                )
            try:
                point.weights(names)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        if self.prompt_rewards is not None:
            self._check_prompt_rewards(self.prompt_rewards)

    def _check_prompt_rewards(self, samples: PromptRewards) -> None:
        """Points that were swapped, filtered or rescaled without their samples would get the intervals of others."""
        if not isinstance(samples, PromptRewards):
            raise InputError(f"prompt_rewards must be PromptRewards or None, found {type(samples).__name__}")
        if samples.objectives != self.objectives or samples.n_points != len(self.points):
            raise InputError(
                f"prompt_rewards must be of the front's {len(self.points)} points and of {', '.join(self.objectives)}; found "
                f"{samples.n_points} points and {', '.join(samples.objectives)}"
            )
        pairs = [("points", samples.means(), self.rewards)]
        if samples.reference is not None and self.reference_policy is not None:
            base = prompt_means(samples.reference)[None]
            pairs.append(("reference_policy", base, np.array([self.reference_policy.rewards])))
        size = np.abs(np.nan_to_num(samples.rewards)).max(axis=(0, 1))
        for what, means, rewards in pairs:
            # Means may have been taken in single precision; a value that is not known says nothing.
            off = np.abs(means - rewards) > 1e-5 * np.maximum(size, np.abs(rewards))
            if off.any():
                i, k = np.argwhere(off)[0]
                where = f"{what}[{i}]" if what == "points" else what
                raise InputError(
                    f"prompt_rewards belong to other points: their mean of {self.objectives[k]} at {where} is {means[i, k]:g}, the point has {rewards[i, k]:g}"
                )

    @property
    def rewards(self) -> NDArray[np.float64]:
        """`[n, K]` mean rewards."""
        return np.array([p.rewards for p in self.points], dtype=np.float64)

    @property
    def standard_errors(self) -> NDArray[np.float64]:
        """`[n, K]` standard errors of the mean rewards, NaN = not known."""
        return np.array([p.standard_error for p in self.points], dtype=np.float64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """`[n, K]` weights; a row of NaN where the preference is none or is not made of weights."""
        unknown = (math.nan,) * len(self.objectives)
        return np.array([p.weights(self.objectives) or unknown for p in self.points], dtype=np.float64)

    def non_dominated_mask(self) -> NDArray[np.bool_]:
        """`[n]`, true for the points that no other dominates; of equal reward vectors only the first."""
        return measure.non_dominated(self.rewards)

    def non_dominated(self) -> "ParetoFront":
        """The front without its dominated points, everything else unchanged."""
        return self.take(np.flatnonzero(self.non_dominated_mask()))

    def hypervolume(self, reference_point: ArrayLike | None = None) -> Hypervolume:
        """The hypervolume of the points, with its reference point.

        Args:
            reference_point (`ArrayLike`, *optional*): `[K]`. Default: `common_reference_point(self)`. Give one point for all when you compare fronts.
        """
        place = common_reference_point(self) if reference_point is None else np.asarray(reference_point, dtype=float)
        value = measure.hypervolume(self.rewards, place)
        return Hypervolume(value, tuple(place.tolist()), self.normalizer, min(p.n_prompts for p in self.points))

    def eum(self, weights: ArrayLike | None = None) -> float:
        """Expected utility: the mean over weights of the best point for each (see `frontier.measure.eum`).

        Args:
            weights (`ArrayLike`, *optional*): `[W, K]`. Default: the weights that the points themselves were steered to.
        """
        return measure.eum(self.rewards, self._steered()[1] if weights is None else weights)

    def mip(self) -> float:
        """Mean inner product of each steered point with its own weights (see `frontier.measure.mip`)."""
        return measure.mip(*self._steered())

    def controllability_gap(self) -> float:
        """EUM - MIP over the weights of the points, at least 0: what is lost because steering is not exact."""
        # The two means are rounded apart; mathematically the difference can't be negative.
        return max(0.0, self.eum() - self.mip())

    def steering(self) -> dict[str, float]:
        """Per objective, Spearman's correlation between weight and reward over the steered points; NaN = not known."""
        rewards, weights = self._steered()
        return dict(zip(self.objectives, measure.steering(weights, rewards).tolist(), strict=True))

    def _steered(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rewards and weights of the points that have weights."""
        weights = self.weights
        known = ~np.isnan(weights).any(axis=1)
        if not known.any():
            raise InputError("no point of the front has weights in its preference, so this figure has no meaning here")
        return self.rewards[known], weights[known]

    def take(self, points: Iterable[int]) -> "ParetoFront":
        """Some points only, in the order of the indices, everything else unchanged.

        Raises:
            InputError: no index, one that is no point's, or one that comes twice.
        """
        from frontier.merge import take

        return take(self, points)

    def filter(
        self,
        predicate: Callable[[FrontPoint], bool] | None = None,
        *,
        minimum: Mapping[str, float] | None = None,
        maximum: Mapping[str, float] | None = None,
        source: str | Collection[str] | None = None,
    ) -> "ParetoFront":
        """The points that satisfy every condition that is given, everything else unchanged.

        Args:
            predicate (`Callable`, *optional*): of a `FrontPoint`.
            minimum (`Mapping[str, float]`, *optional*): least mean reward by objective.
            maximum (`Mapping[str, float]`, *optional*): largest mean reward by objective.
            source (`str` or collection, *optional*): the points of these sources.

        Raises:
            InputError: an unknown objective or source, a bound that is no number, or no point is left.
        """
        from frontier.merge import filter_points

        return filter_points(self, predicate, minimum or {}, maximum or {}, source)

    def merge(self, *others: "ParetoFront", labels: Sequence[str] | None = None) -> "ParetoFront":
        """The points of all fronts as one front. See `frontier.merge.merge`."""
        from frontier.merge import merge

        return merge([self, *others], labels)

    def compare(self, other: "ParetoFront", labels: tuple[str, str] = ("A", "B"), **options: Any) -> "FrontComparison":
        """Every figure of two fronts side by side, above one reference point. See `frontier.compare.compare_fronts`.

        Raises:
            InputError: two equal labels, or anything that `compare_fronts` refuses.
        """
        from frontier.compare import compare_fronts

        if isinstance(labels, str) or len(labels) != 2 or labels[0] == labels[1]:
            raise InputError(f"labels must be two names that differ, found {labels!r}")
        return compare_fronts(dict(zip(labels, (self, other), strict=True)), **options)

    def table(self) -> str:
        """The points as an aligned text table: weights, rewards ± standard error, KL, and `*` where no point dominates."""
        from frontier.tables import text_table

        return text_table(self)

    def to_frame(self) -> "pd.DataFrame":
        """The points as a data frame: one row a point, columns `weight.NAME`, `NAME`, `NAME.se`, `kl`, `n_prompts`, `non_dominated`, `source`.

        Costs stand there as the front has them, negated.

        Raises:
            InputError: an objective has the name of another column.
        """
        import pandas as pd

        from frontier.tables import columns_of

        return pd.DataFrame(columns_of(self))

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns of `to_frame` as CSV, every float so that it comes back bit for bit; what is not known is empty.

        Costs are written negated, as the front has them, and `info` is not written: `from_csv(path, info={"minimized": front.info["minimized"]})` reads them back.

        Raises:
            InputError: an objective has the name of another column.
        """
        from frontier.tables import write_csv

        return write_csv(self, path)

    @classmethod
    def from_frame(
        cls, frame: "pd.DataFrame", objectives: Sequence[str] | None = None, **options: Any
    ) -> "ParetoFront":
        """A front from a data frame with the columns of `to_frame`, or with columns of rewards only. See `frontier.tables.front_of_frame`."""
        from frontier.tables import front_of_frame

        return front_of_frame(frame, objectives, **options)

    @classmethod
    def from_csv(
        cls, path: str | os.PathLike[str], objectives: Sequence[str] | None = None, **options: Any
    ) -> "ParetoFront":
        """A front from a CSV file with the columns of `to_frame`, or with columns of rewards only. See `frontier.tables.front_of_csv`."""
        from frontier.tables import front_of_csv

        return front_of_csv(path, objectives, **options)

    @classmethod
    def of_sweep(cls, objectives: Sequence[str], rows: Iterable[tuple[Any, Any]], **options: Any) -> "ParetoFront":
        """A front from rows of (preference, rewards) that were measured one after the other. See `frontier.sweep.front_of_sweep`."""
        from frontier.sweep import front_of_sweep

        return front_of_sweep(objectives, rows, **options)

    @classmethod
    def of_prompt_rewards(
        cls, prompt_rewards: PromptRewards, preferences: Iterable[Any] | None = None, **options: Any
    ) -> "ParetoFront":
        """A front from the rewards of every point on every prompt: means, standard errors and samples agree by construction. See `frontier.sweep.front_of_prompt_rewards`."""
        from frontier.sweep import front_of_prompt_rewards

        return front_of_prompt_rewards(prompt_rewards, preferences, **options)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the front as JSON, its per-prompt rewards beside it (`front.json` and `front.prompts.safetensors`). `load` gives back every float bit for bit.

        Both may be renamed together. Another name than one in `.json` keeps its ending: `run.v1` has them in `run.v1.prompt_rewards.safetensors`.

        Raises:
            InputError: `info`, `normalizer`, a preference or an `extra` holds something that JSON has no form for (NaN included).
        """
        from frontier.front_json import save_front

        return save_front(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, prompt_rewards: bool = True) -> "ParetoFront":
        """Read a front that `save` wrote, by this version or an older one.

        Args:
            path (`str` or `PathLike`): the JSON file.
            prompt_rewards (`bool`, *optional*, defaults to `True`): read the per-prompt rewards too; `False` leaves them out, where their file got lost.

        Raises:
            InputError: the file is missing, is no JSON, has another schema, lacks or adds a field, or holds a NaN, or the file of its per-prompt rewards is missing or altered; the
                message names file and field.
        """
        from frontier.front_json import load_front

        return load_front(path, cls, prompt_rewards=prompt_rewards)


def common_reference_point(*fronts: ParetoFront) -> NDArray[np.float64]:
    """One reference point for several fronts: the policy of `frontier.measure.reference_point` over all their points and reference policies.

    Args:
        *fronts (`ParetoFront`): over the same objectives in the same order.

    Returns:
        `NDArray[np.float64]`: `[K]`.

    Raises:
        InputError: no front is given or their objectives differ.
    """
    if not fronts:
        raise InputError("a common reference point needs at least one front")
    for front in fronts[1:]:
        if front.objectives != fronts[0].objectives:
            raise InputError(
                f"fronts compare only over the same objectives in the same order: found {list(fronts[0].objectives)} "
                f"and {list(front.objectives)}"
            )
    rows = [p.rewards for front in fronts for p in (*front.points, front.reference_policy) if p is not None]
    return measure.reference_point(rows)
