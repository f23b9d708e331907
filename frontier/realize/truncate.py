"""The best adapter of a given rank for a mixture, found without ever forming a weight matrix, and how far it is from the exact one."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture
from frontier.realize.export import base_folder, mixture_as_lora
from frontier.realize.logit_error import LogitError, measure_logit_error
from frontier.realize.lora_writing import LoraSum, nbytes_of, write_lora
from frontier.realize.merging.output import full_disk_is_told
from frontier.realize.replace_export import TRUNCATION, check_out, replace_export


@dataclass(frozen=True)
class RankSpace:
    r"""The singular values of a product B·A with what turns its factors into those of its best approximation of any rank.

    With the triangular factors $R_B, R_A$ of B and $A^\top$, $R_B R_A^\top = U \,\mathrm{diag}(\sigma)\, V^\top$ has the singular values of BA, and the best
    matrix of rank r is $(B \, R_A^\top V_r \sigma_r^{-1/2}) (\sigma_r^{-1/2} U_r^\top R_B \, A)$: no orthogonal matrix as tall as the layer is formed.

    Args:
        up (`Tensor`): B `[d_out, R]`, as given.
        down (`Tensor`): A `[R, d_in]`, as given.
        values (`Tensor`): σ `[m]` with m = min(d_out, R, d_in), descending; float64.
        up_mix (`Tensor`): `[R, m]`; float64.
        down_mix (`Tensor`): `[m, R]`; float64.
    """

    up: Tensor
    down: Tensor
    values: Tensor
    up_mix: Tensor
    down_mix: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm of B·A."""
        return float(self.values.norm())

    def error(self, rank: int) -> float:
        r"""Frobenius distance to the best matrix of this rank, $\sqrt{\sum_{i > r} \sigma_i^2}$ (Eckart-Young)."""
        return float(self.values[rank:].norm())

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """The best B `[d_out, r]` and A `[r, d_in]`, rounded once to the dtypes given.

        Each holds √σ, so that neither leaves the range of a small dtype.
        """
        up = self.up.double() @ self.up_mix[:, :rank]
        down = self.down_mix[:rank] @ self.down.double()
        return up.to(self.up.dtype), down.to(self.down.dtype)


def rank_space(up: Tensor, down: Tensor) -> RankSpace:
    """Decompose B·A from its factors: the triangle of one thin QR a side and one SVD of `[R, R]`, O((d_out + d_in) R²) and not O(d³).

    Computed in float64 whatever the factors are: thin matrices make that cheap, and in float32 discarded values below 1e-7 of the largest would be noise.
    One layer at a time: on a CPU stacked layers of equal shape took as long.

    Args:
        up (`Tensor`): B `[d_out, R]`.
        down (`Tensor`): A `[R, d_in]`.

    Raises:
        InputError: shapes do not fit or a number is not finite.
    """
    if up.dim() != 2 or down.dim() != 2 or up.shape[1] != down.shape[0]:
        raise InputError(f"factors must be [d_out, R] and [R, d_in], found {list(up.shape)} and {list(down.shape)}")
    if not (torch.isfinite(up).all() and torch.isfinite(down).all()):
        raise InputError("factors hold NaN or infinite numbers")
    upper = torch.linalg.qr(up.double(), mode="r").R
    lower = torch.linalg.qr(down.double().T, mode="r").R
    u, values, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    # Directions that are rounding only must stay zero: dividing by their values would blow the rounding up.
    usable = values > values[:1] * 1e-15 * max(*up.shape, *down.shape)
    root = torch.where(usable, values.rsqrt(), 0.0)
    return RankSpace(up, down, values, lower.T @ v.T * root, root[:, None] * (u.T @ upper))


def truncate_factors(
    up: Tensor, down: Tensor, rank: int | None = None, energy: float | None = None
) -> tuple[Tensor, Tensor, float]:
    r"""The best rank-r approximation of B·A in Frobenius norm, as factors, with its exact error.

    Where r reaches R the factors come back as they are, with error 0.

    Args:
        up (`Tensor`): B `[d_out, R]`, holding all scalings.
        down (`Tensor`): A `[R, d_in]`.
        rank (`int`, *optional*): at most this many columns.
        energy (`float`, *optional*): the smallest r that keeps this share of $\lVert BA \rVert_F^2$, in (0, 1]. With `rank` too, the smaller r.

    Returns:
        `tuple[Tensor, Tensor, float]`: B `[d_out, r]` and A `[r, d_in]` in the dtype of the given ones, and $\lVert BA - B'A' \rVert_F$ before they are
        rounded to it. r is at least 1.

    Raises:
        InputError: neither `rank` nor `energy` is given or one is out of range.
    """
    _check_target(rank, energy)
    if energy is None and rank is not None and rank >= down.shape[0]:
        return up, down, 0.0
    space = rank_space(up, down)
    chosen = choose_ranks([space.values], rank=rank, energy=energy)[0]
    return *space.factors(chosen), space.error(chosen)


def choose_ranks(values: Sequence[Tensor], *, rank: int | None = None, energy: float | None = None) -> list[int]:
    r"""The rank of each layer, at least 1: the same for all, or those of the smallest sum that keep a share of the energy of all layers together.

    Singular values of all layers are pooled and the largest kept until $\sum \sigma^2$ reaches `energy` of the total, so layers that change little get
    little rank. No other choice of as many directions leaves a smaller error of the whole model in Frobenius norm.

    Args:
        values (`Sequence[Tensor]`): σ of each layer, `[m_l]`, descending.
        rank (`int`, *optional*): no layer gets more.
        energy (`float`, *optional*): share of the pooled energy, in (0, 1].
    """
    _check_target(rank, energy)
    longest = [max(1, len(v) if rank is None else min(rank, len(v))) for v in values]
    if energy is None or not values:
        return longest
    pooled = torch.cat(list(values)).double().square()
    owner = torch.cat([torch.full((len(v),), i) for i, v in enumerate(values)])
    order = pooled.argsort(descending=True, stable=True)
    kept = pooled[order].cumsum(0)
    # Against rounding of the sum: energy=1 must keep what is above rounding and not more.
    needed = int((kept < (energy - 1e-15) * kept[-1]).sum()) + 1 if len(kept) and kept[-1] > 0 else 0
    counts = torch.bincount(owner[order[:needed]], minlength=len(values)).tolist()
    return [min(max(1, count), most) for count, most in zip(counts, longest, strict=True)]


@dataclass(frozen=True)
class LayerTruncation:
    """What became of one layer.

    Args:
        rank (`int`): of the exported factors.
        full_rank (`int`): Σ r_k of the exact ones.
        norm (`float`): Frobenius norm of the exact ΔW.
        error (`float`): Frobenius distance of the truncated one from it, before rounding to the adapters' dtype.
    """

    rank: int
    full_rank: int
    norm: float
    error: float


@dataclass(frozen=True)
class Truncation:
    """What a truncated export lost.

    Args:
        layers (`Mapping[str, LayerTruncation]`): by path.
        logits (`LogitError`, *optional*): measured where prompts were given.
    """

    layers: Mapping[str, LayerTruncation]
    logits: LogitError | None = None

    @property
    def relative_error(self) -> float:
        """Frobenius error of all layers together over the norm of the exact change; 0 where nothing changes."""
        norm = math.hypot(*(layer.norm for layer in self.layers.values()))
        return math.hypot(*(layer.error for layer in self.layers.values())) / norm if norm else 0.0

    def to_json(self) -> str:
        """The report as it stands in the folder."""
        layers = {
            path: {**asdict(layer), "relative_error": layer.error / layer.norm if layer.norm else 0.0}
            for path, layer in self.layers.items()
        }
        report = {
            "relative_error": self.relative_error,
            "rank": sum(layer.rank for layer in self.layers.values()),
            "full_rank": sum(layer.full_rank for layer in self.layers.values()),
            "logits": None if self.logits is None else asdict(self.logits),
            "layers": layers,
        }
        return json.dumps(report, indent=2, allow_nan=False) + "\n"


@torch.no_grad()
def export_truncated_lora(
    mixture: AdapterMixture,
    weights: Sequence[float],
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    prompts: Sequence[Sequence[int]] | None = None,
) -> Truncation:
    """Write the best small LoRA for ΔW(w) as one ordinary PEFT folder, and beside it `truncation.json`, what it lost.

    Unlike `export_lora`, whose rank is Σ r_k, this one is no longer exact; every layer says by how much. Scaling is 1 (alpha = rank in every layer).

    Args:
        mixture (`AdapterMixture`): the K adapters over their base.
        weights (`Sequence[float]`): K weights.
        out (`str` or `Path`): the folder to write; it appears only when complete.
        rank (`int`, *optional*): of every layer at most.
        energy (`float`, *optional*): share of the squared Frobenius norm of the whole change to keep, ranks shared out between layers
            (`choose_ranks`). With `rank` too, no layer exceeds it and less than `energy` may be kept.
        prompts (`Sequence[Sequence[int]]`, *optional*): token ids of prompts on which to compare the logits of the truncated with the exact mixture.

    Returns:
        `Truncation`: the report.

    Raises:
        InputError: neither `rank` nor `energy` is given or one is out of range, or `out` is the base's folder.
    """
    _check_target(rank, energy)
    out = check_out(out, base_folder(mixture))
    total = mixture_as_lora(mixture, weights)
    factors, layers = truncate_sum(total, rank=rank, energy=energy)
    logits = None if prompts is None else measure_logit_error(mixture, weights, factors, prompts, total.whole)
    report = Truncation(layers, logits)
    with full_disk_is_told(out, nbytes_of(total), "the adapter"), replace_export(out) as folder:
        write_lora(total, folder, factors=factors)
        write_text(folder / TRUNCATION, report.to_json())
    return report


def truncate_sum(
    total: LoraSum, *, rank: int | None = None, energy: float | None = None
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, LayerTruncation]]:
    """The best factors of lower rank for every layer of a sum of adapters, and what each of them lost. Whole tensors are no concern of it.

    Args:
        total (`LoraSum`): the exact one.
        rank (`int`, *optional*): of every layer at most.
        energy (`float`, *optional*): see `choose_ranks`.

    Raises:
        InputError: neither `rank` nor `energy` is given or one is out of range.
    """
    _check_target(rank, energy)
    spaces = {path: rank_space(*pair) for path, pair in total.factors.items()}
    ranks = dict(zip(spaces, choose_ranks([s.values for s in spaces.values()], rank=rank, energy=energy), strict=True))
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    layers: dict[str, LayerTruncation] = {}
    for path, pair in total.all_factors.items():
        if path not in spaces:
            factors[path], layers[path] = pair, LayerTruncation(1, 0, 0.0, 0.0)
            continue
        r, full = ranks[path], pair[1].shape[0]
        factors[path] = pair if r >= full else spaces[path].factors(r)
        layers[path] = LayerTruncation(r, full, spaces[path].norm, 0.0 if r >= full else spaces[path].error(r))
    return factors, layers


def _check_target(rank: int | None, energy: float | None) -> None:
    if rank is None and energy is None:
        raise InputError("give a rank or an energy (the share of the squared norm to keep)")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise InputError(f"rank must be a positive integer, found {rank!r}")
    if energy is not None and not 0 < energy <= 1:
        raise InputError(f"energy must be in (0, 1], found {energy}")
