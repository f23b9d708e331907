"""Expected hypervolume improvement over a table of candidates, exact and without botorch."""

from typing import ClassVar

import numpy as np

from frontier.choose.explore.boxes import undominated_boxes
from frontier.choose.explore.candidates import CandidateExplorer, Rows
from frontier.measure.hypervolume import reference_point


class ExpectedImprovement(CandidateExplorer):
    r"""Asks for the candidate whose rewards, by a Gaussian process, are expected to add most hypervolume. Every objective is maximised.

    $$ \alpha(w) = E\big[ HV(P \cup \{r(w)\}) - HV(P) \big], \quad r_k(w) \sim \mathcal{N}\big(\mu_k(w), \sigma_k^2(w)\big) $$

    in closed form over the boxes that the front leaves undominated ([Emmerich et al., 2006](https://doi.org/10.1109/TEVC.2005.859463); boxes of
    [Lacour et al., 2017](https://doi.org/10.1016/j.cor.2016.08.008)), for every candidate: nothing is sampled and nothing is optimised by gradient. A batch is chosen one by one, each as if those
    before it had given their mean. Under noise, P holds the model's means at what was measured, and the told standard errors are the model's noise.

    Its bound is the growth of the hypervolume that the model expects if every candidate were measured.

    Args:
        n_weights (`int`): M.
        n_objectives (`int`, *optional*): K; M when not given. Soups often have more ingredients than objectives.
        candidates, start, epsilon, repeats, seed: of `CandidateExplorer` and `Explorer`.
    """

    kind: ClassVar[str] = "improvement"

    def _improving(self, free: Rows, n: int) -> list[int]:
        surrogate = self._surrogate()
        front = self._front(surrogate)
        place = reference_point(self.measured.rewards)
        for row in self._pending_rows():
            surrogate.believe(row)
            front = np.vstack([front, surrogate.rewards()[0][row]])
        chosen: list[int] = []
        while len(chosen) < min(n, len(free)):
            mean, deviation = surrogate.rewards()
            gain = undominated_boxes(front, place).expected_improvement(mean[free], deviation[free])
            gain[np.isin(free, chosen)] = -1
            # Where nothing is expected any more, the least known candidate is the next best.
            doubt = (deviation[free] / surrogate.scale).sum(axis=1)
            row = int(free[np.lexsort((-doubt, -gain))[0]])
            chosen.append(row)
            surrogate.believe(row)
            front = np.vstack([front, mean[row]])
        return chosen

    def _pending_rows(self) -> list[int]:
        return [self._place[k] for k in self._pending if k in self._place]
