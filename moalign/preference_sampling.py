"""Draw preferences at random, lay them out evenly, and snap one to the nearest of a set."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from moalign.preference import Preference

LARGEST_LATTICE = 1_000_000


def sample_dirichlet(
    objectives: Iterable[str],
    n: int,
    concentration: float | Sequence[float] | Mapping[str, float] = 1.0,
    generator: torch.Generator | None = None,
) -> list[Preference]:
    """Draw weights from a Dirichlet distribution.

    Args:
        objectives (`Iterable[str]`): the K objectives.
        n (`int`): how many to draw.
        concentration (`float`, `Sequence[float]` or `Mapping[str, float]`, *optional*, defaults to 1.0): one for all objectives, or one each.
            1 is uniform on the simplex; smaller goes to the vertices, larger to the middle.
        generator (`torch.Generator`, *optional*): where the randomness comes from; torch's global generator when not given. The draws depend on its
            state alone, so restoring that state resumes the sequence.

    Raises:
        InputError: a count or a concentration is out of range, or a concentration is missing or names no objective.
    """
    names = check_objectives(objectives)
    if isinstance(concentration, Mapping):
        if set(concentration) != set(names):
            raise InputError(f"concentration must name {', '.join(names)}, found {', '.join(map(str, concentration))}")
        concentration = [concentration[name] for name in names]
    return _preferences(names, _dirichlet(n, len(names), concentration, generator))


def sample_uniform(objectives: Iterable[str], n: int, generator: torch.Generator | None = None) -> list[Preference]:
    """Draw weights uniformly from the simplex: [`sample_dirichlet`] with concentration 1."""
    return sample_dirichlet(objectives, n, 1.0, generator)


def dirichlet_weights(
    n: int,
    k: int,
    concentration: float | Sequence[float] = 1.0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw Dirichlet weights as a tensor `[n, k]`: the same numbers as [`sample_dirichlet`] from the same state, rounded to `dtype`.

    Args:
        n (`int`): how many rows.
        k (`int`): how many objectives.
        concentration (`float` or `Sequence[float]`, *optional*, defaults to 1.0): one for all objectives, or `k` of them; positive.
        generator (`torch.Generator`, *optional*): as in [`sample_dirichlet`].
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): the type of the result.
        device (`torch.device` or `str`, *optional*): where the result lives; the draws do not depend on it.

    Raises:
        InputError: a count or a concentration is out of range.
    """
    return torch.from_numpy(_dirichlet(n, k, concentration, generator)).to(dtype=dtype, device=device)


def lattice(objectives: Iterable[str], partitions: int) -> list[Preference]:
    """The Das-Dennis lattice ([Das & Dennis, 1998](https://doi.org/10.1137/S1052623496307510)): all weights that are multiples of `1/partitions`.

    Args:
        objectives (`Iterable[str]`): the K objectives.
        partitions (`int`): into how many steps each edge of the simplex is cut, at least 1.

    Returns:
        `list[Preference]`: `C(partitions + K - 1, K - 1)` preferences, the vertices among them, always in the same order.

    Raises:
        InputError: `partitions` is less than 1, or the lattice would have more than a million points.

    Example:
        >>> [str(p) for p in lattice(["helpful", "brief"], 2)]
        ['helpful=0.0,brief=1.0', 'helpful=0.5,brief=0.5', 'helpful=1.0,brief=0.0']
    """
    names = check_objectives(objectives)
    _check_count("partitions", partitions, 1)
    size = math.comb(partitions + len(names) - 1, partitions)
    if size > LARGEST_LATTICE:
        raise InputError(
            f"{partitions} partitions of {len(names)} objectives make {size:,} preferences, more than {LARGEST_LATTICE:,}"
        )
    if len(names) == 1:
        return [Preference.only(names[0])]
    from pymoo.util.ref_dirs import get_reference_directions

    points = get_reference_directions("das-dennis", len(names), n_partitions=partitions)
    # Multiples of 1/partitions to the last bit, whatever the library's arithmetic left.
    return _preferences(names, np.rint(points * partitions) / partitions)


def lattice_at_least(objectives: Iterable[str], n: int) -> list[Preference]:
    """The smallest Das-Dennis [`lattice`] that has at least `n` preferences.

    Args:
        objectives (`Iterable[str]`): the objectives; with a single one there is one preference only.
        n (`int`): the least number of preferences.

    Raises:
        InputError: `n` is less than 1, or larger than 1 with a single objective.
    """
    names = check_objectives(objectives)
    _check_count("n", n, 1)
    if len(names) == 1 and n > 1:
        raise InputError(f"one objective ({names[0]}) has one preference, found n={n}")
    partitions = 1
    while math.comb(partitions + len(names) - 1, partitions) < n:
        partitions += 1
    return lattice(names, partitions)


def riesz(objectives: Iterable[str], n: int, seed: int = 0) -> list[Preference]:
    """Exactly `n` well-spread weights that minimise the Riesz s-energy ([Blank et al., 2021](https://doi.org/10.1109/TEVC.2020.2992387)).

    Unlike a lattice it has a solution for every `n`. It takes seconds for a few hundred points.

    Args:
        objectives (`Iterable[str]`): the K objectives.
        n (`int`): how many preferences, at least K (the vertices are among them).
        seed (`int`, *optional*, defaults to 0): where the search starts.

    Raises:
        InputError: `n` is less than the number of objectives.
    """
    names = check_objectives(objectives)
    _check_count("n", n, len(names))
    if n == len(names):
        return [Preference.only(name) for name in names]
    if len(names) == 1:
        raise InputError(f"one objective ({names[0]}) has one preference, found n={n}")
    from pymoo.util.ref_dirs import get_reference_directions

    points = np.clip(get_reference_directions("energy", len(names), n, seed=seed), 0, None)
    return _preferences(names, points / points.sum(axis=1, keepdims=True))


def snap(preference: Preference, lattice: Sequence[Preference]) -> Preference:
    """The member of `lattice` nearest to `preference` in L2; of several equally near, the first.

    Args:
        preference (`Preference`): what was asked for.
        lattice (`Sequence[Preference]`): what there is, all of the same kind as `preference`.

    Raises:
        InputError: `lattice` is empty, or mixes weights with directions.
    """
    if not lattice:
        raise InputError("cannot snap to an empty set of preferences")
    other = next((p for p in lattice if p.kind != preference.kind), None)
    if other is not None:
        raise InputError(f"cannot snap {preference.kind} ({preference}) to {other.kind} ({other})")
    names = list(dict.fromkeys(name for p in [preference, *lattice] for name in p.objectives))
    target, *points = ([p.values.get(name, 0.0) for name in names] for p in [preference, *lattice])
    distances = np.linalg.norm(np.array(points) - np.array(target), axis=1)
    # Distances that differ only by rounding are ties.
    return lattice[int(np.flatnonzero(distances <= distances.min() + 1e-12)[0])]


def _dirichlet(n: int, k: int, concentration: float | Sequence[float], generator: torch.Generator | None) -> np.ndarray:
    """Float64 `[n, k]` on the simplex, from the state of a torch generator alone."""
    _check_count("n", n, 0)
    _check_count("k", k, 1)
    alpha = np.asarray(concentration, dtype=np.float64)
    if alpha.ndim > 1 or (alpha.ndim == 1 and len(alpha) != k):
        raise InputError(f"concentration must be one number or {k}, found {concentration!r}")
    if not (np.isfinite(alpha).all() and (alpha > 0).all()):
        raise InputError(f"concentration must be positive and finite, found {concentration!r}")
    # torch's gamma sampler takes no generator. A fixed number of its random bits seeds a numpy generator that lives for this call only, so
    # the torch generator's state says everything about the draws to come, and always moves on by the same amount.
    device = generator.device if generator is not None else torch.device("cpu")
    seeds = torch.randint(0, 2**62, (4,), generator=generator, device=device).tolist()
    weights = np.random.default_rng(seeds).dirichlet(np.broadcast_to(alpha, (k,)), size=n)
    return weights / weights.sum(axis=1, keepdims=True)


def _preferences(names: Sequence[str], points: np.ndarray) -> list[Preference]:
    return [Preference(dict(zip(names, row, strict=True))) for row in points.tolist()]


def _check_count(what: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{what} must be a whole number of at least {least}, found {value!r}")
