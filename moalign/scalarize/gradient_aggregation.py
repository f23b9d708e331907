"""Combine the objectives' gradients instead of their rewards, so that a step need not help one objective at another's cost."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from moalign.scalarize.gram_solvers import cagrad_weights, config_weights, project_on_dual_cone
from moalign.scalarize.gramian import gramian_of, known_losses, not_finite, streamed_gramian

# Those of torchjd that keep no state of their own: a run that is resumed ends bit-equal only if the checkpoint knows all state.
AGGREGATORS = (
    *("UPGrad", "DualProj", "MGDA", "CAGrad", "PCGrad", "ConFIG", "AlignedMTL"),
    *("IMTLG", "FairGrad", "GradDrop", "Mean", "Sum"),
)
STATEFUL = ("NashMTL", "GradVac", "ExcessMTL", "PCD")
TAKE_PREFERENCE = ("UPGrad", "DualProj", "ConFIG", "AlignedMTL")
# Its step is no weighted sum of the gradients: it keeps or drops each number by the signs of all K.
NEED_ROWS = ("GradDrop",)
# Solved here, not by torchjd.
_OWN = ("UPGrad", "DualProj", "CAGrad", "ConFIG")
_DEFAULTS: dict[str, dict[str, Any]] = {"CAGrad": {"c": 0.5}, "FairGrad": {"alpha": 1.0}}
# A cosine this small is a right angle up to float32 rounding: the projections of UPGrad end there on purpose.
_RIGHT_ANGLE = 1e-4


@dataclass(frozen=True)
class Conflict:
    """How much the objectives' gradients disagreed in one step.

    Args:
        min_cosine (`float`): the smallest cosine between two objectives' gradients; 1 is full agreement, -1 opposition, NaN with fewer than two that are not 0.
        rising (`float`): share of objectives whose loss rises, to first order, along the step that is taken (minus the combined gradient).
        rising_under_mean (`float`): the same if the step were the plain mean of the gradients: what the aggregation is to mend.
        norms (`tuple[float, ...]`): length of each objective's gradient, NaN where it is missing.
    """

    min_cosine: float
    rising: float
    rising_under_mean: float
    norms: tuple[float, ...]

    def metrics(self, objectives: Sequence[str]) -> dict[str, float]:
        """For the log, by the K objectives' names."""
        values = {f"conflict/{name}": getattr(self, name) for name in ("min_cosine", "rising", "rising_under_mean")}
        return values | {f"grad_norm/{name}": norm for name, norm in zip(objectives, self.norms, strict=True)}


class GradientAggregation:
    r"""Aggregate per-objective gradients with one of torchjd's aggregators ([Quinton & Rey, 2024](https://arxiv.org/abs/2406.16232)).

    The combined gradient is $d = \sum_k \lambda_k g_k$, and for most aggregators the weights $\lambda$ follow from the inner products of the gradients alone, $G = J J^\top$ `[K, K]`.
    Then G is summed up block by block ([`streamed_gramian`]: K backward passes that hold K gradients of a few layers at a time), and one more backward pass of $\sum_k \lambda_k L_k$ gives d:
    the matrix J `[K, P]` is never stored. GradDrop alone needs its rows: it makes K backward passes and holds K gradients of every parameter.

    Only the given parameters get a gradient. Each process aggregates the gradients of its own rows of the batch; what data-parallel processes then average are their combined gradients.

        aggregation = GradientAggregation("UPGrad")
        conflict = aggregation.backward(losses, adapter_parameters)  # in place of loss.backward()
        optimizer.step()

    Rows are gradients of *losses*, to be minimised. Aggregators that keep state between steps (NashMTL, GradVac, ExcessMTL, PCD) are refused, since a resumed run could not be
    bit-equal; PCGrad and GradDrop draw from torch's global generator. UPGrad, DualProj and CAGrad need optional solvers in torchjd; here scipy solves the same problems. ConFIG's pseudoinverse is that of the inner products.

    Args:
        aggregator (`str`, *optional*, defaults to `"UPGrad"`): UPGrad, DualProj, MGDA, CAGrad, PCGrad, ConFIG, AlignedMTL, IMTLG, FairGrad, GradDrop, Mean or Sum; case does not matter.
        weights (`Sequence[float]`, *optional*): a preference, K numbers that are not negative, for those that take one: UPGrad, DualProj, ConFIG, AlignedMTL.
        options: further arguments of torchjd's class (`c` of CAGrad, 0.5 by default; `alpha` of FairGrad, 1 by default).

    Raises:
        InputError: an unknown aggregator or option, one that does not take weights, or torchjd is not installed.
    """

    def __init__(self, aggregator: str = "UPGrad", weights: Sequence[float] | None = None, **options: Any) -> None:
        by_lower = {name.lower(): name for name in (*AGGREGATORS, *STATEFUL)}
        wanted = aggregator.lower().replace("-", "").replace("_", "")
        if wanted not in by_lower:
            # Compared in lower case, so that the nearest name is found whatever the case.
            close = difflib.get_close_matches(wanted, [name.lower() for name in AGGREGATORS], n=1)
            hint = f"did you mean '{by_lower[close[0]]}'? " if close else ""
            raise InputError(f"unknown gradient aggregator '{aggregator}': {hint}Valid: {', '.join(AGGREGATORS)}")
        self.name = by_lower[wanted]
        if self.name in STATEFUL:
            raise InputError(
                f"gradient aggregator '{aggregator}' keeps state between steps, which a resumed run could not restore. "
                f"Valid: {', '.join(AGGREGATORS)}"
            )
        if weights is not None and self.name not in TAKE_PREFERENCE:
            raise InputError(f"{self.name} takes no weights; those that do: {', '.join(TAKE_PREFERENCE)}")
        self.weights = None if weights is None else [float(weight) for weight in weights]
        if self.weights is not None and (
            not all(0 <= weight < float("inf") for weight in self.weights) or sum(self.weights) <= 0
        ):
            raise InputError(f"weights must be finite, not negative and not all 0, found {self.weights}")
        self.options = _DEFAULTS.get(self.name, {}) | options
        self._make(self.weights)  # a bad option is refused here, not in the middle of a run

    def __call__(self, jacobian: Tensor) -> Tensor:
        """The combined gradient `[P]` of a `[K, P]` matrix whose rows are the objectives' gradients. A row of NaN is a missing objective and left out.

        Raises:
            InputError: no matrix, or a row that is infinite or only partly known.
        """
        present = self._present(jacobian)
        rows = _at_least_float32(jacobian[present])
        if self.name not in NEED_ROWS:
            weights = self.combine(gramian_of(rows, present))[present]
            return (weights.to(rows) @ rows).to(jacobian.dtype)
        if not rows.any():
            return torch.zeros_like(jacobian[0])
        combined: Tensor = self._make(None)(rows)
        if not combined.isfinite().all():
            raise InputError(
                f"{self.name} returned a gradient that is not finite for gradients of norms {rows.norm(dim=1).tolist()}"
            )
        return combined.to(jacobian.dtype)

    def combine(self, gramian: Tensor) -> Tensor:
        r"""The weights $\lambda$ `[K]` (float64, on the CPU) of the gradients in the step, from their inner products `[K, K]`. NaN on the diagonal marks a missing objective, whose weight is 0.

        Raises:
            InputError: an aggregator that needs the gradients themselves, or no matrix for as many objectives as there are weights.
        """
        if self.name in NEED_ROWS:
            raise InputError(
                f"{self.name} needs the gradients themselves, not only their inner products: call it with the [K, P] matrix"
            )
        count = len(gramian) if self.weights is None else len(self.weights)
        if gramian.shape != (count, count):
            raise InputError(f"the inner products must be [K, K] with K = {count}, found shape {list(gramian.shape)}")
        gramian = gramian.detach().cpu().double()
        present = ~gramian.diagonal().isnan()
        found = torch.zeros(count, dtype=torch.float64)
        known = gramian[present][:, present]
        preference = self._preference(present)
        # Nothing to combine, where several aggregators would divide by 0.
        if not known.diagonal().any() or (preference is not None and sum(preference) <= 0):
            return found
        # To the pseudoinverses of torchjd what is rounding in the dtype of the gradients must not look like a rank.
        weights: Tensor = self._make(preference)(known if self.name in _OWN else known.float())
        if not weights.isfinite().all():
            raise InputError(
                f"{self.name} gave weights that are not finite for gradients of norms {known.diagonal().sqrt().tolist()}"
            )
        found[present] = weights.double()
        return found

    def backward(self, losses: Sequence[Tensor | None] | Tensor, parameters: Iterable[Tensor]) -> Conflict:
        """Add the combined gradient to `.grad` of the parameters, as `loss.backward()` would, and measure the conflict.

        Args and errors as for `loss`.
        """
        combined, conflict = self.loss(losses, parameters)
        if combined.requires_grad:
            combined.backward()
        return conflict

    def loss(self, losses: Sequence[Tensor | None] | Tensor, parameters: Iterable[Tensor]) -> tuple[Tensor, Conflict]:
        """One loss whose gradient is the combined one, for trainers that call `backward` themselves (and scale, accumulate or reduce around it).

        Its value is the sum of the losses that are known.

        Args:
            losses (`Sequence[Tensor | None]` or `Tensor` `[K]`): one scalar per objective, minimised. `None` or NaN is a missing objective; if all are, nothing has a gradient.
            parameters (`Iterable[Tensor]`): the only tensors that get a gradient; those that no loss depends on are left alone.

        Raises:
            InputError: no parameter, or a gradient that is not finite.
        """
        targets = [p for p in parameters if p.requires_grad]
        if not targets:
            raise InputError("no parameter requires a gradient: give the adapters' parameters")
        every = list(losses)
        known = known_losses(every)
        if self.name in NEED_ROWS:
            jacobian, used = _jacobian(every, targets)
            step = self(jacobian)
            conflict = measure_conflict(jacobian, step)
            parts: Sequence[Tensor | None] = [
                part.view_as(p) if has else None
                for part, p, has in zip(step.split([p.numel() for p in targets]), targets, used, strict=True)
            ]
        else:
            gramian = streamed_gramian(every, targets)
            weights = self.combine(gramian)
            conflict = conflict_of_gramian(gramian, weights)
            parts = [None] * len(targets)
            if known:  # this pass frees the losses' graph
                whole = torch.stack([weights[k].item() * loss for k, loss in known.items()]).sum()
                parts = torch.autograd.grad(whole, targets, allow_unused=True)
        values = [loss.detach() for loss in known.values()]
        total = torch.stack(values).sum() if known else torch.zeros((), device=targets[0].device)
        # Linear in the parameters, with the combined gradient as its slope.
        slopes = [(part.to(p.dtype) * p).sum() for p, part in zip(targets, parts, strict=True) if part is not None]
        if slopes:
            slope = torch.stack([slope.to(total.device) for slope in slopes]).sum()
            total = total + (slope - slope.detach())
        return total, conflict

    def _present(self, jacobian: Tensor) -> Tensor:
        if jacobian.ndim != 2 or (self.weights is not None and len(jacobian) != len(self.weights)):
            raise InputError(
                f"the gradients must be [K, P]{f' with K = {len(self.weights)}' if self.weights else ''}, "
                f"found shape {list(jacobian.shape)}"
            )
        missing = jacobian.isnan().all(1)
        bad = ~jacobian.isfinite().all(1) & ~missing
        if bad.any():
            raise InputError(f"the gradient of objective {int(bad.nonzero()[0])} is not finite")
        return ~missing

    def _preference(self, present: Tensor) -> list[float] | None:
        """The preference over the objectives that are present: the shares of the missing ones go to them. All 0 if it asks for none of them."""
        if self.weights is None:
            return None
        left = [w for w, there in zip(self.weights, present.tolist(), strict=True) if there]
        return [w * sum(self.weights) / sum(left) for w in left] if sum(left) > 0 else left

    def _make(self, weights: Sequence[float] | None) -> Any:
        """What gives torchjd's weights for inner products, or the step for gradients of those that need them; with scipy in place of its optional solvers."""
        try:
            import torchjd.aggregation as aggregation
            from torchjd.linalg import DualConeProjector
        except ImportError as error:
            raise InputError(
                f"gradient aggregation needs torchjd 0.18 or newer ({error}): pip install moalign[bench]"
            ) from error
        options = dict(self.options)
        if self.name == "CAGrad":
            unknown = [key for key in options if key != "c"]
            if unknown:
                raise unknown_name("option of CAGrad", unknown[0], ["c"])
            cagrad_weights(np.eye(1), options["c"])
            return lambda gramian: torch.from_numpy(cagrad_weights(gramian.numpy(), options["c"]))
        if weights is not None:
            options["pref_vector"] = torch.tensor(weights, dtype=torch.float64 if self.name in _OWN else torch.float32)
        if self.name in ("UPGrad", "DualProj"):

            class Projector(DualConeProjector):
                """torchjd's projection, solved by `project_on_dual_cone` (scipy) instead of a solver that is not installed."""

                def __call__(self, U: Tensor, G: Tensor) -> Tensor:
                    return torch.from_numpy(
                        np.apply_along_axis(partial(project_on_dual_cone, G.numpy()), -1, U.numpy())
                    )

            options.setdefault("projector", Projector())
        try:
            made = getattr(aggregation, self.name)(**options)
        except (TypeError, ValueError, ImportError) as error:
            raise InputError(f"{self.name}: {error}") from error
        if self.name == "ConFIG":
            return lambda gramian: torch.from_numpy(
                config_weights(gramian.numpy(), np.ones(len(gramian)) if weights is None else np.array(weights))
            )
        # Mean and Sum look at no inner products, only at how many rows there are.
        return made if self.name in NEED_ROWS else getattr(made, "gramian_weighting", None) or made.weighting


def _jacobian(losses: Sequence[Tensor | None], targets: Sequence[Tensor]) -> tuple[Tensor, list[bool]]:
    """`[K, P]` gradients, a row of NaN where a loss is missing, and which of the targets any loss depends on."""
    last = max((k for k, loss in enumerate(losses) if loss is not None and not loss.isnan()), default=-1)
    used = [False] * len(targets)
    rows: list[Tensor] = []
    for k, loss in enumerate(losses):
        if loss is None or loss.isnan():
            rows.append(torch.cat([torch.full_like(p, torch.nan).flatten() for p in targets]))
            continue
        # The losses share a graph, which the last one frees.
        grads = torch.autograd.grad(loss, targets, retain_graph=k < last, allow_unused=True)
        used = [was or g is not None for was, g in zip(used, grads, strict=True)]
        row = torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(targets, grads, strict=True)]
        )
        if not row.isfinite().all():
            raise not_finite(k, loss)
        rows.append(row)
    return torch.stack(rows).detach(), used


def measure_conflict(jacobian: Tensor, combined: Tensor) -> Conflict:
    """Compare the objectives' gradients with each other and with the step that is taken.

    Args:
        jacobian (`Tensor`): `[K, P]`, gradients of the losses, a row of NaN where one is missing.
        combined (`Tensor`): `[P]`; the step goes along its negative.
    """
    rows = _at_least_float32(jacobian)
    present = ~rows.isnan().any(1)
    step = combined.to(rows)
    return _conflict(gramian_of(rows[present], present), rows[present] @ step, float(step.norm()))


def conflict_of_gramian(gramian: Tensor, weights: Tensor) -> Conflict:
    r"""The same from inner products alone: along the step $-\sum_k \lambda_k g_k$ the losses change by $-G \lambda$, and its length is $\sqrt{\lambda^\top G \lambda}$.

    Args:
        gramian (`Tensor`): `[K, K]`, $G = J J^\top$, NaN in the rows and columns of missing objectives.
        weights (`Tensor`): `[K]`, $\lambda$.
    """
    known = ~gramian.diagonal().isnan()
    inner, chosen = gramian[known][:, known].double(), weights[known].to(gramian.device, torch.float64)
    slopes = inner @ chosen
    return _conflict(gramian, slopes, float((chosen @ slopes).clamp(min=0).sqrt()))


def _conflict(gramian: Tensor, slopes: Tensor, length: float) -> Conflict:
    """From inner products `[K, K]`, NaN where missing, the slopes of the known objectives along the combined gradient and its length."""
    norms = gramian.diagonal().double().sqrt()
    known = ~norms.isnan()
    inner, lengths = gramian[known][:, known].double(), norms[known]
    moving = lengths > 0
    cosines = inner[moving][:, moving] / (lengths[moving].unsqueeze(1) * lengths[moving])
    pairs = cosines[torch.triu(torch.ones_like(cosines, dtype=torch.bool), diagonal=1)]

    def rising(along: Tensor, length: float) -> float:
        # A loss changes by minus its slope.
        return int((along < -_RIGHT_ANGLE * lengths * length).sum()) / len(along) if len(along) else float("nan")

    return Conflict(
        min_cosine=float(pairs.min().clamp(-1, 1)) if len(pairs) else float("nan"),
        rising=rising(slopes.double(), length),
        rising_under_mean=rising(inner.mean(1), float(inner.mean().clamp(min=0).sqrt()))
        if len(inner)
        else float("nan"),
        norms=tuple(norms.tolist()),
    )


def _at_least_float32(rows: Tensor) -> Tensor:
    """Half precision is too coarse for angles, and the solvers do not know it."""
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
