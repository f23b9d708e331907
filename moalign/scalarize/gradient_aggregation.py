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
from moalign.scalarize.gram_solvers import cagrad_weights, project_on_dual_cone

# Those of torchjd that keep no state of their own: a run that is resumed ends bit-equal only if the checkpoint knows all state.
AGGREGATORS = (
    *("UPGrad", "DualProj", "MGDA", "CAGrad", "PCGrad", "ConFIG", "AlignedMTL"),
    *("IMTLG", "FairGrad", "GradDrop", "Mean", "Sum"),
)
STATEFUL = ("NashMTL", "GradVac", "ExcessMTL", "PCD")
TAKE_PREFERENCE = ("UPGrad", "DualProj", "ConFIG", "AlignedMTL")
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
    """Aggregate per-objective gradients with one of torchjd's aggregators ([Quinton & Rey, 2024](https://arxiv.org/abs/2406.16232)).

    Only the given parameters' gradients are held: a matrix of K rows with one column per parameter, which is small where these are adapters.

        aggregation = GradientAggregation("UPGrad")
        conflict = aggregation.backward(losses, adapter_parameters)  # in place of loss.backward()
        optimizer.step()

    Rows are gradients of *losses*, to be minimised. Aggregators that keep state between steps (NashMTL, GradVac, ExcessMTL, PCD) are refused, since a resumed run could not be
    bit-equal; PCGrad and GradDrop draw from torch's global generator. UPGrad, DualProj and CAGrad need optional solvers in torchjd; here scipy solves the same problems.

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
        if not present.any():
            return torch.zeros_like(jacobian[0])
        rows = _at_least_float32(jacobian[present])
        if not rows.any():  # nothing to combine, and several aggregators would divide by 0
            return torch.zeros_like(jacobian[0])
        weights = None
        if self.weights is not None:
            weights = [w for w, there in zip(self.weights, present.tolist(), strict=True) if there]
            if sum(weights) <= 0:
                return torch.zeros_like(jacobian[0])
            # The shares of missing objectives go to the present ones.
            weights = [weight * sum(self.weights) / sum(weights) for weight in weights]
        combined: Tensor = self._make(weights, rows.dtype, rows.device)(rows)
        if not combined.isfinite().all():
            raise InputError(
                f"{self.name} returned a gradient that is not finite for gradients of norms {rows.norm(dim=1).tolist()}"
            )
        return combined.to(jacobian.dtype)

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
        jacobian, used = _jacobian(every, targets)
        combined = self(jacobian)
        known = [loss.detach() for loss in every if loss is not None and not loss.isnan()]
        total = torch.stack(known).sum() if known else torch.zeros((), device=targets[0].device)
        if known:
            parts = combined.split([p.numel() for p in targets])
            # Linear in the parameters, with the combined gradient as its slope.
            slope = torch.stack(
                [
                    (part.view_as(p).to(p.dtype) * p).sum()
                    for p, part, has in zip(targets, parts, used, strict=True)
                    if has
                ]
            ).sum()
            total = total + slope - slope.detach()
        return total, measure_conflict(jacobian, combined)

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

    def _make(
        self,
        weights: Sequence[float] | None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Any:
        """The aggregator of torchjd for these weights, with scipy in place of its optional solvers."""
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
            return partial(_through_gramian, solve=partial(cagrad_weights, c=options["c"]))
        if weights is not None:
            options["pref_vector"] = torch.tensor(weights, dtype=dtype, device=device)
        if self.name in ("UPGrad", "DualProj"):

            class Projector(DualConeProjector):
                """torchjd's projection, solved by `project_on_dual_cone` (scipy) instead of a solver that is not installed."""

                def __call__(self, U: Tensor, G: Tensor) -> Tensor:
                    gramian = G.detach().cpu().double().numpy()
                    rows = np.apply_along_axis(partial(project_on_dual_cone, gramian), -1, U.cpu().double().numpy())
                    return torch.from_numpy(rows).to(G)

            options.setdefault("projector", Projector())
        try:
            return getattr(aggregation, self.name)(**options)
        except (TypeError, ValueError, ImportError) as error:
            raise InputError(f"{self.name}: {error}") from error


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
            raise InputError(f"the gradient of objective {k} is not finite (its loss is {loss.item():.4g})")
        rows.append(row)
    return torch.stack(rows).detach(), used


def measure_conflict(jacobian: Tensor, combined: Tensor) -> Conflict:
    """Compare the objectives' gradients with each other and with the step that is taken.

    Args:
        jacobian (`Tensor`): `[K, P]`, gradients of the losses, a row of NaN where one is missing.
        combined (`Tensor`): `[P]`; the step goes along its negative.
    """
    rows = _at_least_float32(jacobian)
    norms = rows.norm(dim=1)
    known = ~norms.isnan()
    rows, lengths = rows[known], norms[known]
    moving = lengths > 0
    gramian = (rows @ rows.T).double()
    cosines = gramian[moving][:, moving] / (lengths[moving].unsqueeze(1) * lengths[moving])
    pairs = cosines[torch.triu(torch.ones_like(cosines, dtype=torch.bool), diagonal=1)]

    def rising(step: Tensor) -> float:
        slope = rows @ step  # the loss changes by minus this
        return int((slope < -_RIGHT_ANGLE * lengths * step.norm()).sum()) / len(rows) if len(rows) else float("nan")

    return Conflict(
        min_cosine=float(pairs.min().clamp(-1, 1)) if len(pairs) else float("nan"),
        rising=rising(combined.to(rows)),
        rising_under_mean=rising(rows.mean(0)),
        norms=tuple(norms.tolist()),
    )


def _at_least_float32(rows: Tensor) -> Tensor:
    """Half precision is too coarse for angles, and the solvers do not know it."""
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows


def _through_gramian(rows: Tensor, solve: Any) -> Tensor:
    weights = torch.from_numpy(solve((rows @ rows.T).double().cpu().numpy()))
    return weights.to(rows) @ rows
