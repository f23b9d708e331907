"""What all methods on task vectors share: thin out each model's delta, agree on a sign, add up."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.realize.merging.methods.base import MergeMethod, Parameters, blocks, setting, work_dtype
from frontier.realize.merging.methods.trimming import delta

NORMS = ("l1", "l2", "linf")
# Deltas with a smaller norm than this are not rescaled, as mergekit does.
SMALL = 1e-7


@dataclass(frozen=True)
class DeltaParameters(Parameters):
    """Settings of a method that adds weighted deltas to the base.

    Args:
        weight (`tuple[float, ...]`): `[N]`, w_i.
        normalize (`bool`): divide by the weights that took part.
        lambda_ (`float`, *optional*, defaults to 1): λ, the factor of the whole sum; `lambda` in a file.
        int8_mask (`bool`, *optional*): accepted from files of mergekit; masks have one byte an entry in any case.
    """

    weight: tuple[float, ...] = setting(per_model=True)
    normalize: bool = setting(False, kind=bool)
    lambda_: float = setting(1.0)
    int8_mask: bool = setting(False, kind=bool, unused=True)


@dataclass(frozen=True)
class SparseParameters(DeltaParameters):
    """Settings of a method that thins out the deltas first.

    Args:
        density (`tuple[float, ...]`): `[N]`, the share of each delta's entries that is kept, 0 to 1.
        rescale (`bool`): make up for what was left out.
        rescale_norm (`str`, *optional*, defaults to `"l1"`): by which factor: what gives the delta its former L1 norm (mergekit's rule), `"l2"` or `"linf"`.
    """

    density: tuple[float, ...] = setting(1.0, per_model=True, least=0, most=1)
    rescale: bool = setting(False, kind=bool)
    rescale_norm: str = setting("l1", kind=str)
    norms: ClassVar[tuple[str, ...]] = NORMS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rescale_norm not in self.norms:
            raise unknown_name("rescale_norm", self.rescale_norm, self.norms)


@dataclass(frozen=True)
class Rule:
    """How thinned deltas become one.

    Args:
        gains (`tuple[float, ...]`): `[N]`, by which a delta enters the sum.
        votes (`tuple[float, ...]`, *optional*): `[N]`, by which it enters the election of a sign; `None` = no election.
        shares (`tuple[float, ...]`, *optional*): `[N]`, what it adds to the divisor wherever it enters the sum; `None` = no division.
        lambda_ (`float`): factor of the result.
        least_share (`float`, *optional*): what the divisor of an election is at least; by default only a divisor of 0 counts as 1.
    """

    gains: tuple[float, ...]
    votes: tuple[float, ...] | None
    shares: tuple[float, ...] | None
    lambda_: float
    least_share: float | None = None


class DeltaMethod(MergeMethod):
    """Base of the methods that work on θ_i − θ_0."""

    needs_base = True
    elects: ClassVar[bool] = False
    """Whether only entries of the elected sign are added up."""

    @abstractmethod
    def _masks(
        self, tensors: Sequence[Tensor], base: Tensor, parameters: Any, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        """What each delta is multiplied by, entry by entry, flat; `None` = all of it is kept."""

    def _merge(
        self, tensors: Sequence[Tensor], base: Tensor | None, parameters: Any, generator: torch.Generator | None
    ) -> Tensor:
        assert base is not None  # checked by the caller
        masks = self._masks(tensors, base, parameters, generator)
        flat, origin = [t.reshape(-1) for t in tensors], base.reshape(-1)
        scales = [1.0] * len(flat)
        if isinstance(parameters, SparseParameters) and parameters.rescale and parameters.rescale_norm in NORMS:
            norm = parameters.rescale_norm
            scales = [_regain(t, origin, m, norm) for t, m in zip(flat, masks, strict=True)]
        out = combine(flat, origin, masks, self._rule(parameters, scales))
        return out.view(base.shape)

    def _rule(self, parameters: Any, scales: Sequence[float]) -> Rule:
        """mergekit's: signs are elected on weighted deltas, and the weights of what was kept are the divisor."""
        gains = tuple(w * s for w, s in zip(parameters.weight, scales, strict=True))
        shares = parameters.weight if parameters.normalize else None
        return Rule(gains, gains if self.elects else None, shares, parameters.lambda_)


def combine(tensors: Sequence[Tensor], base: Tensor, masks: Sequence[Tensor | None], rule: Rule) -> Tensor:
    r"""Add up masked deltas, in one pass over flat tensors.

    $$ \theta_0 + \lambda \frac{\sum_i g_i d_i [\operatorname{sgn}(v_i d_i) = s]}{\sum_i h_i [\operatorname{sgn}(v_i d_i) = s]},
       \quad s = \operatorname{sgn}\Big(\sum_i v_i d_i\Big) $$

    for gains g, votes v, shares h and masked deltas d. A sum of votes of exactly 0 elects plus; an entry that is 0, masked or by itself, agrees with no sign. A
    divisor of 0 counts as 1. Without an election every entry takes part, and a divisor below 1e-8 in size counts as 1.
    """
    dtype, size, n = work_dtype(tensors, base), base.numel(), len(tensors)
    out = torch.empty(size, dtype=dtype, device=base.device)
    total_share = sum(rule.shares or ())
    for block in blocks(size, base.device):
        deltas = [delta(t, base, block, dtype) for t in tensors]
        for d, mask in zip(deltas, masks, strict=True):
            if mask is not None:
                d.mul_(mask[block])
        result = out[block]
        if rule.votes is None:
            torch.mul(deltas[0], rule.gains[0], out=result)
            for i in range(1, n):
                result.add_(deltas[i], alpha=rule.gains[i])
            if rule.shares is not None and abs(total_share) >= 1e-8:
                result.div_(total_share)
        else:
            _elect(deltas, rule, result)
        if rule.lambda_ != 1:
            result.mul_(rule.lambda_)
        result.add_(base[block])
    return out


def _elect(deltas: list[Tensor], rule: Rule, result: Tensor) -> None:
    """The summed and divided deltas of the elected sign, into `result`; the deltas are used up."""
    assert rule.votes is not None
    for d, vote in zip(deltas, rule.votes, strict=True):
        if vote != 1:
            d.mul_(vote)
    sign = deltas[0].clone()
    for d in deltas[1:]:
        sign.add_(d)
    sign = sign.ge_(0).mul_(2).sub_(1)
    result.zero_()
    scratch = torch.empty_like(sign)
    divisor = torch.zeros_like(sign) if rule.shares is not None else None
    for i, d in enumerate(deltas):
        # What agrees is now positive. Comparisons into floats: masks of bool cost several times as much on a CPU.
        d.mul_(sign)
        if divisor is not None and rule.shares is not None:
            divisor.add_(torch.gt(d, 0, out=scratch), alpha=rule.shares[i])
        vote = rule.votes[i]
        # A vote of 0 left no delta to weigh.
        result.add_(d.clamp_min_(0), alpha=rule.gains[i] / vote if vote else 0.0)
    result.mul_(sign)
    if divisor is None:
        return
    if rule.least_share is not None:
        result.div_(divisor.clamp_min_(rule.least_share))
    else:
        result.div_(divisor.add_(torch.eq(divisor, 0, out=scratch)))


def _regain(tensor: Tensor, base: Tensor, mask: Tensor | None, norm: str) -> float:
    """The factor that gives a masked delta the norm of the whole one."""
    if mask is None:
        return 1.0
    dtype = work_dtype([tensor], base)
    before, after = _Norm(norm), _Norm(norm)
    for block in blocks(base.numel(), base.device):
        piece = delta(tensor, base, block, dtype).abs_()
        before.add(piece)
        after.add(piece.mul_(mask[block]))
    whole, kept = before.value(), after.value()
    return 1.0 if whole < SMALL or kept < SMALL else whole / kept


class _Norm:
    """A norm of magnitudes that come in pieces."""

    def __init__(self, kind: str) -> None:
        self.kind, self.parts = kind, 0.0

    def add(self, magnitudes: Tensor) -> None:
        if self.kind == "linf":
            self.parts = max(self.parts, float(magnitudes.max()))
        elif self.kind == "l2":
            self.parts += float(magnitudes.dot(magnitudes))
        else:
            self.parts += float(magnitudes.sum())

    def value(self) -> float:
        return float(self.parts**0.5) if self.kind == "l2" else self.parts


def check_spread(name: str, density: Sequence[float], epsilon: Sequence[float]) -> None:
    """Refuse probabilities d ± ε outside (0, 1); a density of 0 or 1 needs no spread.

    Raises:
        InputError: names the model.
    """
    for i, (d, e) in enumerate(zip(density, epsilon, strict=True)):
        if 0 < d < 1 and not (d - e > 0 and d + e < 1):
            raise InputError(
                f"{name} keeps entries with probabilities density ± epsilon, which must lie between 0 and 1: model {i} has density {d:g} and epsilon {e:g}"
            )
