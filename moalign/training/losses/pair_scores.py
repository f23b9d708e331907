"""What a direct-alignment loss sees of a batch of pairs: log-probs, lengths, the temperature and the margin of each row."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.training.losses.divergence import REVERSE_KL, Divergence


@dataclass(frozen=True, kw_only=True)
class PairScores:
    r"""B pairs of completions, a and b, of the same B prompts, as the policy and the reference see them.

    With $h_y = \log \pi(y \mid x) - \log \pi_\mathrm{ref}(y \mid x)$, scale $s$ and margin $m$ the score difference of a row is

    $$ d = s\,(h_a - h_b) - m $$

    in nats of the Bradley-Terry model, positive where a is ahead. DPO is $s = \beta$, $m = 0$. MODPO
    ([Zhou et al., 2024](https://huggingface.co/papers/2310.03708)) at weights $w$, training objective 0 beside the rewards of the others, is $s =
    \beta / w_0$ and $m = \frac{1}{w_0} \sum_{k \neq 0} w_k (r_k(a) - r_k(b))$; both may differ from row to row.

    Args:
        policy_a, policy_b (`Tensor`): `[B]` float32 or float64, log-probs under the policy, summed over the tokens of the completion.
        reference_a, reference_b (`Tensor`, *optional*): `[B]`, the same under the reference; a loss with `needs_reference = False` can do without.
        length_a, length_b (`Tensor`, *optional*): `[B]`, tokens of the completions, for the losses that average over them.
        scale (`Tensor` or `float`): $s > 0$, `[B]` or one for all: nats of score per nat of log-ratio.
        margin (`Tensor`, *optional*): $m$, `[B]` in units of the trained objective's reward, which must be nats; by default 0. NaN = not known: the
            row's loss is NaN.

    Raises:
        InputError: shapes differ, log-probs have half precision, one of two is missing, or a scale is not positive and finite.

    Example:
        >>> scores = PairScores(policy_a=torch.tensor([-2.0]), policy_b=torch.tensor([-3.0]), scale=0.5, margin=torch.tensor([0.1]),
        ...                     reference_a=torch.tensor([-3.0]), reference_b=torch.tensor([-3.0]))
        >>> scores.difference()
        tensor([0.4000])
    """

    policy_a: Tensor
    policy_b: Tensor
    scale: Tensor | float
    reference_a: Tensor | None = None
    reference_b: Tensor | None = None
    length_a: Tensor | None = None
    length_b: Tensor | None = None
    margin: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("policy", "reference", "length"):
            a, b = getattr(self, f"{name}_a"), getattr(self, f"{name}_b")
            if (a is None) != (b is None):
                raise InputError(f"{name}_a and {name}_b go together, found only {name}_{'b' if a is None else 'a'}")
            self._check_shape(f"{name}_a", a)
            self._check_shape(f"{name}_b", b)
        for name in ("policy_a", "policy_b", "reference_a", "reference_b"):
            value = getattr(self, name)
            if value is not None and value.dtype not in (torch.float32, torch.float64):
                raise InputError(
                    f"{name} must be float32 or float64, found {value.dtype}: bfloat16 tells sums near 1000 nats apart in steps of 4"
                )
        self._check_shape("margin", self.margin)
        if isinstance(self.scale, Tensor):
            self._check_shape("scale", self.scale)
        scale = torch.as_tensor(self.scale)
        valid = (scale > 0) & scale.isfinite()
        if not valid.all():
            raise InputError(
                f"scale must be positive and finite, found {scale[~valid].flatten()[0].item():.4g}: beta / w of an objective without weight has no limit; "
                "train another objective on this row"
            )

    def _check_shape(self, name: str, value: Tensor | None) -> None:
        if value is not None and (value.ndim != 1 or value.shape != self.policy_a.shape):
            like = "" if name == "policy_a" else f" like policy_a ({list(self.policy_a.shape)})"
            raise InputError(f"{name} must be [B]{like}, found {list(value.shape)}")

    def log_ratios(self) -> tuple[Tensor, Tensor]:
        """$h_a$ and $h_b$, `[B]` each.

        Raises:
            InputError: the log-probs of the reference are missing.
        """
        if self.reference_a is None or self.reference_b is None:
            raise InputError("this loss compares with the reference: reference_a and reference_b are missing")
        return self.policy_a - self.reference_a, self.policy_b - self.reference_b

    def difference(self, divergence: Divergence = REVERSE_KL, *, per_token: bool = False) -> Tensor:
        r"""$d$, `[B]`: what the losses built on the difference are functions of.

        Args:
            divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): what holds the policy near the reference. $h$ is replaced by its score
                $f'(e^h)$; the margin is added outside: $d = s\,(f'(e^{h_a}) - f'(e^{h_b})) - m$, which for Bradley-Terry labels has the optimum of
                $\sum_k w_k r_k$ under that divergence, as $d$ does under the KL divergence.
            per_token (`bool`, *optional*, defaults to `False`): divide each score by the length of its completion. The margin is not divided.

        Raises:
            InputError: the log-probs of the reference or the lengths are missing.
        """
        h_a, h_b = self.log_ratios()
        return self._less_margin(divergence(h_a), divergence(h_b), per_token)

    def difference_without_reference(self) -> Tensor:
        r"""$s\,\big(\frac{\log \pi(a)}{|a|} - \frac{\log \pi(b)}{|b|}\big) - m$, `[B]`.

        Raises:
            InputError: the lengths are missing.
        """
        return self._less_margin(self.policy_a, self.policy_b, per_token=True)

    def _less_margin(self, score_a: Tensor, score_b: Tensor, per_token: bool) -> Tensor:
        if per_token:
            if self.length_a is None or self.length_b is None:
                raise InputError("this loss averages over tokens: length_a and length_b are missing")
            score_a, score_b = score_a / self.length_a.clamp(min=1), score_b / self.length_b.clamp(min=1)
        difference = self.scale * (score_a - score_b)
        # A NaN here would reach the gradient of the whole batch, even through a row that is left out: 0 * NaN is NaN.
        return difference if self.margin is None else difference - self.margin.nan_to_num(nan=0.0)

    def swapped(self) -> "PairScores":
        """The same pairs with a and b exchanged, and so the opposite margin."""
        return replace(
            self,
            policy_a=self.policy_b,
            policy_b=self.policy_a,
            reference_a=self.reference_b,
            reference_b=self.reference_a,
            length_a=self.length_b,
            length_b=self.length_a,
            margin=None if self.margin is None else -self.margin,
        )
