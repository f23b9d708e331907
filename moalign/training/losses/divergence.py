r"""Choose what holds the policy near the reference: the KL divergence of RLHF, or another f-divergence.

f-DPO ([Wang et al., 2023](https://huggingface.co/papers/2309.16240)): a policy that maximises $E[r] - \beta D_f(\pi \,\|\, \pi_\mathrm{ref})$ has
$r(y) = \beta f'(u_y) + \mathrm{const}$ with $u = \pi / \pi_\mathrm{ref}$, so that $f'(u)$ takes the place of $\log u$ in every loss built on the
difference of two scores. Here $f'$ is fixed by $f'(1) = 0$: another constant would cancel, except where scores are divided by lengths.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from frontier.errors import InputError, unknown_name

# e^40 is 2.4e17: its square is still finite in float32, and a policy that is 40 nats away from its reference is lost anyway.
_LARGEST_EXPONENT = 40.0


class Divergence(Protocol):
    """The score of a completion as a function of its log-ratio."""

    name: ClassVar[str]

    def __call__(self, log_ratio: Tensor) -> Tensor:
        r"""$f'(e^h)$ of log-ratios $h = \log \pi(y) - \log \pi_\mathrm{ref}(y)$; increasing, 0 at 0, the same shape."""
        ...


@dataclass(frozen=True)
class ReverseKL(Divergence):
    r"""$\mathrm{KL}(\pi \,\|\, \pi_\mathrm{ref})$, as in RLHF and DPO: $f'(u) = \log u$."""

    name: ClassVar[str] = "reverse_kl"

    def __call__(self, log_ratio: Tensor) -> Tensor:
        """The log-ratio itself."""
        return log_ratio


@dataclass(frozen=True)
class ForwardKL(Divergence):
    r"""$\mathrm{KL}(\pi_\mathrm{ref} \,\|\, \pi)$: $f'(u) = 1 - 1/u$, which punishes giving up what the reference does. Constant below $h = -40$."""

    name: ClassVar[str] = "forward_kl"

    def __call__(self, log_ratio: Tensor) -> Tensor:
        """$1 - e^{-h}$."""
        return -_capped_expm1(-log_ratio)


@dataclass(frozen=True)
class JensenShannon(Divergence):
    r"""The Jensen-Shannon divergence: $f'(u) = \log \frac{2u}{1 + u}$, bounded above by $\log 2$."""

    name: ClassVar[str] = "js_divergence"

    def __call__(self, log_ratio: Tensor) -> Tensor:
        r"""$\log 2 + \log \sigma(h)$."""
        return math.log(2) + F.logsigmoid(log_ratio)


@dataclass(frozen=True)
class AlphaDivergence(Divergence):
    r"""Between the two KL divergences: $f'(u) = \frac{u^{\alpha - 1} - 1}{\alpha - 1}$, reverse KL at $\alpha = 1$ and forward KL at $\alpha = 0$.

    Constant beyond $(\alpha - 1) h = 40$.

    Args:
        alpha (`float`, *optional*, defaults to 0.5): $\alpha$, counted as TRL does (`f_alpha_divergence_coef`); the paper's is $1 - \alpha$.

    Raises:
        InputError: alpha is not finite.
    """

    name: ClassVar[str] = "alpha_divergence"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise InputError(f"alpha must be finite, found {self.alpha}")

    def __call__(self, log_ratio: Tensor) -> Tensor:
        r"""$(e^{(\alpha - 1) h} - 1) / (\alpha - 1)$."""
        power = self.alpha - 1
        # Below this the two differ by less than float32 resolves, and 0 / 0 is near.
        return log_ratio if abs(power) < 1e-8 else _capped_expm1(power * log_ratio) / power


def _capped_expm1(exponent: Tensor) -> Tensor:
    return torch.expm1(exponent.clamp(max=_LARGEST_EXPONENT))


REVERSE_KL = ReverseKL()
DIVERGENCES: Mapping[str, type[Divergence]] = MappingProxyType(
    {kind.name: kind for kind in (ReverseKL, ForwardKL, JensenShannon, AlphaDivergence)}
)


def find_divergence(name: str, **options: Any) -> Divergence:
    """The divergence of that name, which is TRL's `f_divergence_type`.

    Args:
        name (`str`): `reverse_kl`, `forward_kl`, `js_divergence` or `alpha_divergence`.
        **options: `alpha`, of `alpha_divergence` only.

    Raises:
        InputError: an unknown name, or an option that this divergence does not have.
    """
    if name not in DIVERGENCES:
        raise unknown_name("divergence", name, DIVERGENCES)
    if options and (name != AlphaDivergence.name or set(options) != {"alpha"}):
        raise InputError(f"only alpha_divergence has an option, alpha; found {', '.join(options)} for {name}")
    return DIVERGENCES[name](**options)
