"""Keep what every point of a front scored on every prompt: two points that answered the same prompts differ far less by chance than their two standard errors say."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from frontier.errors import InputError, check_fields, unknown_name
from frontier.objectives import check_objectives
from frontier.points import as_indices

# One key of metadata only: safetensors writes several in an order of chance, and the file's digest would change with it.
METADATA = "frontier.PromptRewards"


@dataclass(frozen=True, eq=False)
class PromptRewards:
    """The rewards of P points on the same N prompts, for statistics that pair them.

    Row j is the same prompt for all points. Where a policy wrote several completions for a prompt, their mean stands here.

    Args:
        objectives (`tuple[str, ...]`): the K names.
        rewards (`ArrayLike`): `[P, N, K]`, maximised, in the front's units. NaN = not known; never infinite.
        prompts (`tuple[str, ...]`): N ids that differ, such as those of `prompt_ids`. By them fronts of different runs are paired.
        reference (`ArrayLike`, *optional*): `[N, K]`, the reference policy on the same prompts.

    Raises:
        InputError: shapes don't fit each other, a value is infinite, there is no point or prompt, or an id comes twice.

    Example:
        >>> rewards = PromptRewards(("helpful", "brief"), [[[1, 3], [2, 3]], [[4, 0], [2, 1]]], ("first", "second"))
        >>> rewards.means().tolist()
        [[1.5, 3.0], [3.0, 0.5]]
    """

    objectives: tuple[str, ...]
    rewards: NDArray[np.float64]
    prompts: tuple[str, ...]
    reference: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        names = check_objectives(self.objectives)
        if isinstance(self.prompts, str) or not all(isinstance(prompt, str) and prompt for prompt in self.prompts):
            raise InputError(f"prompts must be ids, non-empty texts; found {self.prompts!r}")
        prompts = tuple(self.prompts)
        if len(set(prompts)) != len(prompts):
            twice = next(prompt for prompt, count in Counter(prompts).items() if count > 1)
            raise InputError(f"prompts must differ, found '{twice}' twice; `prompt_ids` numbers repeated prompts")
        rewards = _checked("rewards", self.rewards, ("points", None), ("prompts", len(prompts)), names)
        object.__setattr__(self, "objectives", names)
        object.__setattr__(self, "prompts", prompts)
        object.__setattr__(self, "rewards", rewards)
        if self.reference is not None:
            reference = _checked("reference", self.reference, ("prompts", len(prompts)), names)
            object.__setattr__(self, "reference", reference)

    def __eq__(self, other: object) -> bool:
        """Equal names, ids and values, what is not known being equal to what is not known."""
        if not isinstance(other, PromptRewards):
            return NotImplemented
        if (self.objectives, self.prompts) != (other.objectives, other.prompts):
            return False
        if (self.reference is None) != (other.reference is None):
            return False
        same = np.array_equal(self.rewards, other.rewards, equal_nan=True)
        if self.reference is None or other.reference is None:
            return same
        return same and np.array_equal(self.reference, other.reference, equal_nan=True)

    __hash__ = None  # type: ignore[assignment]

    @property
    def n_points(self) -> int:
        """P."""
        return len(self.rewards)

    @property
    def n_prompts(self) -> int:
        """N."""
        return len(self.prompts)

    def means(self) -> NDArray[np.float64]:
        """`[P, K]` means over the prompts whose reward is known; NaN where none is."""
        return prompt_means(self.rewards)

    def standard_errors(self) -> NDArray[np.float64]:
        """`[P, K]` standard errors of those means. See `prompt_standard_errors`."""
        return prompt_standard_errors(self.rewards)

    def take(self, points: Sequence[int] | NDArray[np.integer[Any]]) -> "PromptRewards":
        """The rewards of some points only, in the order of the indices.

        Raises:
            InputError: no index, or one that is no point's.
        """
        at = np.array(as_indices(points, self.n_points), dtype=np.intp)
        return PromptRewards(self.objectives, self.rewards[at], self.prompts, self.reference)

    def select(self, objectives: Iterable[str]) -> "PromptRewards":
        """The same rewards with their objectives in another order, or some of them only.

        Raises:
            InputError: an objective that is not among them.
        """
        names = tuple(objectives)
        for name in names:
            if name not in self.objectives:
                raise unknown_name("objective", name, self.objectives)
        at = [self.objectives.index(name) for name in names]
        reference = None if self.reference is None else self.reference[:, at]
        return PromptRewards(names, self.rewards[:, :, at], self.prompts, reference)

    def align(self, prompts: Iterable[str]) -> "PromptRewards":
        """The same rewards with their prompts in another order, or some of them only.

        Raises:
            InputError: a prompt that is not among them.
        """
        ids, place = tuple(prompts), {prompt: j for j, prompt in enumerate(self.prompts)}
        missing = [prompt for prompt in ids if prompt not in place]
        if missing:
            raise InputError(f"{len(missing)} of {len(ids)} prompts are not among the {self.n_prompts}: '{missing[0]}'")
        at = [place[prompt] for prompt in ids]
        return PromptRewards(
            self.objectives, self.rewards[:, at], ids, None if self.reference is None else self.reference[at]
        )

    def to_bytes(self) -> bytes:
        """The content of a safetensors file; equal rewards give equal bytes."""
        tensors = {"rewards": self.rewards}
        if self.reference is not None:
            tensors["reference"] = self.reference
        names = json.dumps({"objectives": self.objectives, "prompts": self.prompts}, ensure_ascii=True)
        return save_tensors({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata={METADATA: names})

    @classmethod
    def from_bytes(cls, content: bytes) -> "PromptRewards":
        """What `to_bytes` wrote, every float bit for bit.

        Raises:
            InputError: it is no such file.
        """
        try:
            tensors = load_tensors(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            names = dict(json.loads(header["__metadata__"][METADATA]))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"no file of per-prompt rewards: {type(error).__name__} {error}") from error
        check_fields(names, ("objectives", "prompts"))
        check_fields(tensors, ("rewards", "reference") if "reference" in tensors else ("rewards",))
        return cls(tuple(names["objectives"]), tensors["rewards"], tuple(names["prompts"]), tensors.get("reference"))


def prompt_ids(prompts: Iterable[Any]) -> tuple[str, ...]:
    """An id for each prompt that depends on its content alone: 16 hexadecimal digits of the SHA-256 of its JSON form.

    Args:
        prompts (`Iterable`): texts, or conversations as JSON values. One that comes again gets `#2`, `#3`, ... behind its id.

    Example:
        >>> prompt_ids(["Hello", "Hello"])
        ('c25bf945aaff8fe1', 'c25bf945aaff8fe1#2')
    """
    seen: Counter[str] = Counter()
    ids = []
    for prompt in prompts:
        text = json.dumps(prompt, sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        seen[digest] += 1
        ids.append(digest if seen[digest] == 1 else f"{digest}#{seen[digest]}")
    return tuple(ids)


def _checked(what: str, values: ArrayLike, *axes: Any) -> NDArray[np.float64]:
    """A read-only float64 copy of the stated shape."""
    *leading, names = axes
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be an array of numbers (NaN where not known): {error}") from error
    shape = ", ".join(f"{n} {label}" if n is not None else label for label, n in leading)
    wanted = f"[{shape}, {len(names)} objectives ({', '.join(names)})]"
    fits = array.ndim == len(leading) + 1 and array.shape[-1] == len(names)
    if not fits or any(n not in (None, found) for (_, n), found in zip(leading, array.shape, strict=False)):
        raise InputError(f"{what} must have the shape {wanted}, found {list(array.shape)}")
    if array.size == 0:
        raise InputError(f"{what} must hold at least one point and one prompt, found the shape {list(array.shape)}")
    if np.isinf(array).any():
        place = ", ".join(map(str, np.argwhere(np.isinf(array))[0]))
        raise InputError(f"{what} must be finite, or NaN where not known; found an infinite value at [{place}]")
    array.setflags(write=False)
    return array


def prompt_means(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[..., N, K]` to `[..., K]`: means over the prompts whose reward is known, NaN where none is."""
    known = ~np.isnan(rewards)
    count = known.sum(axis=-2)
    total = np.where(known, rewards, 0.0).sum(axis=-2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def prompt_standard_errors(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[..., N, K]` to `[..., K]`: the sample standard deviation over √n of the n known prompts, NaN where fewer than two are known."""
    known = ~np.isnan(rewards)
    count = known.sum(axis=-2)
    off = np.where(known, rewards - prompt_means(rewards)[..., None, :], 0.0)
    variance = (off**2).sum(axis=-2) / np.maximum(count - 1, 1)
    return np.where(count > 1, np.sqrt(variance / np.maximum(count, 1)), np.nan)
