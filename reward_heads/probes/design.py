"""What one head is fitted to: the labels that are known, and features on a scale on which penalties mean the same everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.normalizer import Normalizer
from reward_heads.probes.config import ProbeConfig
from reward_heads.probes.spectrum import Array, Spectrum


@dataclass(frozen=True)
class Table:
    """N labelled rows of K objectives, checked.

    Args:
        objectives (`tuple[str, ...]`): K names.
        a (`Array`): `[N, d]`, features of the rated completion, or of completion a.
        b (`Array`, *optional*): `[N, d]`, of completion b; what stands in rows of ratings is not read.
        targets (`Array`): `[N, K]`, probabilities that a is better, or ratings or flags; NaN = missing.
        is_pair (`Array`): `[N]` bool.
        groups (`tuple`): N, rows that must be held out together.
    """

    objectives: tuple[str, ...]
    a: Array
    b: Array | None
    targets: Array
    is_pair: Array
    groups: tuple

    @classmethod
    def of(
        cls,
        features_a: Tensor,
        features_b: Tensor | None,
        targets: Tensor,
        objectives: Sequence[str],
        is_pair: Tensor | None,
        groups: Sequence | None,
    ) -> "Table":
        """Check shapes and numbers.

        Raises:
            InputError: shapes differ, or a feature that is read is not finite.
        """
        n, names = len(targets), tuple(objectives)
        pairs = torch.full((n,), features_b is not None) if is_pair is None else is_pair.detach().cpu().bool()
        shapes = {"features_a": features_a, "features_b": features_b, "targets": targets, "is_pair": pairs}
        found = ", ".join(f"{name} {list(t.shape)}" for name, t in shapes.items() if t is not None)
        wide = features_a.dim() == 2 and len(features_a) == n
        if not wide or (features_b is not None and features_b.shape != features_a.shape) or pairs.shape != (n,):
            raise InputError(f"features must be [N, d] and is_pair [N] for targets [N, {len(names)}], found {found}")
        if targets.dim() != 2 or targets.shape[1] != len(names):
            raise InputError(f"targets must be [N, {len(names)}] for {', '.join(names)}, found {found}")
        if groups is not None and len(groups) != n:
            raise InputError(f"one group per row: found {len(groups)} groups for {n} rows")
        if pairs.any() and features_b is None:
            raise InputError("pairs need features_b, the features of completion b")
        if not features_a.isfinite().all() or (features_b is not None and not features_b[pairs].isfinite().all()):
            raise InputError("a feature is not finite")
        a, t = (x.detach().to("cpu", torch.float64).numpy() for x in (features_a, targets))
        b = None if features_b is None else features_b.detach().to("cpu", torch.float64).numpy()
        return cls(names, a, b, t, pairs.numpy(), tuple(range(n) if groups is None else groups))


@dataclass
class Design:
    r"""The n rows that one objective labels, centred and scaled.

    A row of a rating or flag is $x = (f - \text{centre}) / \text{unit}$, of a pair the difference of two such. `centre` is the mean over the rated completions, or, with pairs alone, over both
    completions of all pairs, so that their mean score is 0. `unit` gives every feature the same mean square over the rows and a row the mean square length 1.
    """

    known: Array
    is_pair: Array
    centre: Array
    unit: Array
    x: Array
    _spectra: dict[bytes, Spectrum] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Table, known: Array) -> "Design":
        """The rows at the positions `known`."""
        pair, a = table.is_pair[known], table.a[known]
        b = table.b[known[pair]] if table.b is not None else a[:0]
        centre = a[~pair].mean(axis=0) if not pair.all() else (a.mean(axis=0) + b.mean(axis=0)) / 2
        x = a - centre
        x[pair] = a[pair] - b
        size = np.sqrt(np.square(x).mean(axis=0) * x.shape[1])
        # A feature that never differs carries only rounding noise: it must not be blown up.
        unit = np.where(size > 1e-9 * (np.abs(a).max(axis=0) + 1e-300), size, np.inf)
        return cls(known, pair, centre, unit, x / unit)

    def spectrum(self, rows: Array) -> Spectrum:
        """The spectrum of some rows about their mean; objectives with the same labelled rows share it."""
        key = rows.tobytes()
        if key not in self._spectra:
            x = self.x[rows]
            self._spectra[key] = Spectrum.of(x - x.mean(axis=0))
        return self._spectra[key]


def check_targets(targets: Tensor, is_pair: Tensor, objectives: Sequence[str], config: ProbeConfig, what: str) -> None:
    """Refuse labels that can't be right, and objectives without any.

    Raises:
        InputError: names the row (from 0), the objective, what was found and what is allowed.
    """
    for k, name in enumerate(objectives):
        column = targets[:, k]
        if column.isnan().all():
            raise InputError(
                f"{what}: objective '{name}' has no label in any of the {len(column)} rows: label some rows, or leave the objective out"
            )
        _check_within(
            column, is_pair, (0.0, 1.0), f"{what}, {{}}objective '{name}': the probability that completion_a is better"
        )
        allowed = config.range_of(name)
        kind = "a flag" if name in config.sign_aware else "a rating"
        if allowed is not None:
            _check_within(column, ~is_pair, allowed, f"{what}, {{}}objective '{name}': {kind}")
        if name in config.sign_aware:
            flags = column[~is_pair & ~column.isnan()]
            if not len(flags) or (flags == 0).all() or (flags == 1).all():
                found = f"all {len(flags)} flags are {flags[0]:g}" if len(flags) else "it has none"
                raise InputError(
                    f"{what}: the flags of the sign-aware objective '{name}' must be both 0 and 1 to fix its boundary, but {found}"
                )


def standardiser(targets: Tensor, is_pair: Tensor, objectives: Sequence[str], config: ProbeConfig) -> Normalizer | None:
    """Location and scale of the ratings of each objective (0 and 1 where it has none, or flags); `None` without any rating.

    Raises:
        InputError: all ratings of an objective are the same.
    """
    location, scale, most = [], [], 0
    for k, name in enumerate(objectives):
        ratings = targets[~is_pair, k].double()
        ratings = ratings[~ratings.isnan()]
        measurable = len(ratings) > 0 and name not in config.sign_aware
        measured = Normalizer.from_scores(ratings[:, None], [name]) if measurable else None
        location.append(measured.location[0] if measured else 0.0)
        scale.append(measured.scale[0] if measured else 1.0)
        most = max(most, len(ratings) if measured else 0)
    return Normalizer(tuple(objectives), tuple(location), tuple(scale), most, "training ratings") if most else None


def _check_within(column: Tensor, rows: Tensor, allowed: tuple[float, float], where: str) -> None:
    bad = rows & ((column < allowed[0]) | (column > allowed[1]) | column.isinf())
    if bad.any():
        row = int(bad.nonzero()[0])
        raise InputError(
            f"{where.format(f'row {row}, ')} must be in [{allowed[0]:g}, {allowed[1]:g}], found {float(column[row]):g}"
        )
