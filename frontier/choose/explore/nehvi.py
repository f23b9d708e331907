"""Noisy expected hypervolume improvement by botorch (qLogNEHVI), over the same candidates and with the same bound."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from frontier.choose.explore.base import Array
from frontier.choose.explore.candidates import CandidateExplorer, Rows
from frontier.errors import InputError
from frontier.measure.hypervolume import reference_point
from frontier.measure.rows import whole_number


class NoisyImprovement(CandidateExplorer):
    """qLogNEHVI ([Ament et al., 2023](https://huggingface.co/papers/2310.20708)) with botorch, for noisy rewards. Every objective is maximised.

    The improvement is integrated over what the measured points may truly give, not only over the new one. Inputs are scaled to [0, 1], rewards standardised, told standard errors are the
    model's noise, and the reference point is that of `frontier.measure.reference_point`. Without standard errors the model estimates the noise. A batch is chosen one by one.

    It needs `pip install 'moalign[explore]'`. `ExpectedImprovement` needs neither botorch nor draws; it was as good in `benchmarks/frontier/explore.py`, and much faster.

    Args:
        n_weights, n_objectives, candidates, start, epsilon, repeats, seed: of `CandidateExplorer` and `Explorer`.
        draws (`int`, *optional*, defaults to 64): of the posterior, for each improvement.
        compiled (`bool`, *optional*, defaults to `False`): let botorch compile its C++ kernel on first use, which takes up to a minute and makes each step faster.

    Raises:
        InputError: botorch is not installed.
    """

    kind: ClassVar[str] = "nehvi"

    def __init__(
        self,
        n_weights: int,
        n_objectives: int | None = None,
        *,
        candidates: ArrayLike | int | None = None,
        start: int | None = None,
        epsilon: float = 0.01,
        repeats: int = 0,
        seed: int = 0,
        draws: int = 64,
        compiled: bool = False,
    ) -> None:
        try:
            import botorch  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise InputError(
                "qLogNEHVI needs botorch, which is not installed: pip install 'moalign[explore]', or use ExpectedImprovement, which needs none"
            ) from error
        super().__init__(
            n_weights,
            n_objectives,
            candidates=candidates,
            start=start,
            epsilon=epsilon,
            repeats=repeats,
            seed=seed,
        )
        self.draws, self.compiled = whole_number(draws, "draws", 1), bool(compiled)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"draws": self.draws, "compiled": self.compiled}

    def _improving(self, free: Rows, n: int) -> list[int]:
        import torch
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.sampling.normal import SobolQMCNormalSampler

        low, extent = self.candidates.min(axis=0), np.ptp(self.candidates, axis=0)
        size = np.where(extent > 0, extent, 1.0)
        rows = (self.candidates, self.measured.weights, self.pending)
        table, scaled, pending = (torch.from_numpy((each - low) / size) for each in rows)
        location = self.measured.rewards.mean(axis=0)
        spread = self.measured.rewards.std(axis=0, ddof=1)
        scale = np.where(spread > 0, spread, 1.0)
        place = (reference_point(self.measured.rewards) - location) / scale
        chosen: list[int] = []
        with torch.random.fork_rng(devices=[]), _without_compiling(not self.compiled):
            torch.manual_seed(self.seed)
            model = self._model(scaled, torch.from_numpy((self.measured.rewards - location) / scale), scale)
            for _ in range(min(n, len(free))):
                waiting = torch.cat([pending, table[chosen]])
                acquisition = qLogNoisyExpectedHypervolumeImprovement(
                    model,
                    place.tolist(),
                    scaled,
                    sampler=SobolQMCNormalSampler(torch.Size([self.draws]), seed=self.seed),
                    X_pending=waiting if len(waiting) else None,
                    prune_baseline=True,
                )
                left = np.array([i for i in free if i not in chosen], dtype=np.int64)
                with torch.no_grad():
                    parts = [acquisition(table[left[i : i + 128], None]) for i in range(0, len(left), 128)]
                chosen.append(int(left[int(torch.cat(parts).argmax())]))
        return chosen

    def _model(self, inputs: Any, targets: Any, scale: Array) -> Any:
        """One process for each objective, with the told noise or an estimated one."""
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from gpytorch.mlls import SumMarginalLogLikelihood

        errors = torch.from_numpy(self.measured.errors / scale)
        parts = []
        for k in range(targets.shape[1]):
            told = bool((errors[:, k] > 0).any())
            noise = errors[:, k : k + 1].square().clamp_min(1e-8) if told else None
            # The rewards are standardised already.
            parts.append(SingleTaskGP(inputs, targets[:, k : k + 1], noise, outcome_transform=None))
        model = ModelListGP(*parts)
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        return model


@contextmanager
def _without_compiling(wanted: bool) -> Iterator[None]:
    """Keep botorch from compiling its kernel (40 s on first use) while the block runs; there is no public switch for it."""
    from botorch.acquisition.multi_objective import logei

    if not wanted or not hasattr(logei, "_load_attempted"):
        yield
        return
    before = logei._load_attempted
    logei._load_attempted = True
    try:
        yield
    finally:
        logei._load_attempted = before
