r"""Learn a user's weights from what they said: Bayes' rule on the simplex, from the population to one user, with intervals.

A user prefers a over b with probability $\sigma(\beta\, w \cdot (r(a) - r(b)))$ (Bradley-Terry), w on the simplex and $\beta$ in nats per unit of reward; both are learned. Before any
judgement $w = \mathrm{softmax}(H u)$ with $(u, \log \beta) \sim \mathcal{N}(m, S)$, a logistic normal around the bundle's default, or the population that
`reward_heads.users.fit_objective_users` learned. The posterior comes from `reward_heads.users`: importance sampling, and small steps where that fails.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.preference_gate import check_same_objectives, rounded_weights
from moalign.serving.users.store import Judgement
from reward_heads.normalizer import Normalizer
from reward_heads.users.simplex import Population, coordinates
from reward_heads.users.simplex_users import simplex_posterior

LEVEL = 0.9
DRAWS = 1000
# A difference of so many nats is certainty; larger ones are scaled down to it, since a contradiction of two certainties takes many seconds to weigh.
CERTAIN = 50.0
# Of the prior around the default: in log-ratio coordinates, where 1 lets 90 % of users of two equal objectives have weights from 0.09 to 0.91, and of log β.
SPREAD, TEMPERATURE_SPREAD = 1.0, 0.5
# A default at a vertex of the simplex has no log ratios: this share of it is spread evenly.
EVEN = 0.1


@dataclass(frozen=True)
class Taste:
    """What is known of a user's weights.

    Args:
        objectives (`tuple[str, ...]`): K names.
        n (`int`): judgements learned from; 0 is the prior.
        mean (`tuple[float, ...]`): `[K]` posterior means, sum 1.
        low (`tuple[float, ...]`): `[K]` lower ends of the central intervals.
        high (`tuple[float, ...]`): `[K]` upper ends.
        level (`float`): the probability that an interval holds.
        temperature (`float`): posterior mean of β: how strictly the judgements follow the weights, nats per unit of reward.
    """

    objectives: tuple[str, ...]
    n: int
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float
    temperature: float

    def preference(self, kind: str = "weights") -> Preference:
        """What to steer by: the mean in whole thousandths; for a policy that takes directions, scaled to length 1."""
        rounded = rounded_weights(dict(zip(self.objectives, self.mean, strict=True)))
        return Preference(rounded) if kind == "weights" else Preference.direction(rounded, normalize=True)

    def to_json(self) -> dict[str, Any]:
        """Each weight with its interval, for a response."""
        rows = zip(self.objectives, self.mean, self.low, self.high, strict=True)
        return {name: {"mean": mean, "low": low, "high": high} for name, mean, low, high in rows}


class Learner:
    """Turns judgements into tastes.

    Args:
        objectives (`Sequence[str]`): the policy's.
        population (`Population`, *optional*): the prior, over the same objectives in any order, of weights on the policy's scale; by default one around `default`.
        default (`Preference`, *optional*): the bundle's; uniform where it is missing. Negative parts of a direction count as 0.
        normalizer (`Normalizer`, *optional*): the policy's. Judgements are kept in units of the reward heads; weights are of rewards over its scale.
        seed (`int`, *optional*, defaults to 0): of the draws: equal judgements give equal weights, on every server.

    Raises:
        InputError: the population or the normalizer is over other objectives.
    """

    def __init__(
        self,
        objectives: Sequence[str],
        population: Population | None = None,
        default: Preference | None = None,
        normalizer: Normalizer | None = None,
        seed: int = 0,
    ) -> None:
        self.objectives = tuple(objectives)
        self.population = _around(self.objectives, default) if population is None else population
        if set(self.population.names) != set(self.objectives):
            raise InputError(
                f"users: the population is over {', '.join(self.population.names)}, the policy over {', '.join(self.objectives)}"
            )
        scale = (1.0,) * len(self.objectives) if normalizer is None else normalizer.select(self.objectives).scale
        self.scale = dict(zip(self.objectives, scale, strict=True))
        self._seed = seed
        self._basis = self._fingerprint()

    def learn(self, judgements: Sequence[Judgement]) -> Taste:
        """The posterior after judgements; those about other objectives, from another bundle, say nothing here."""
        names = self.population.names
        ours = [judgement for judgement in judgements if set(judgement.differences) == set(names)]
        rows = [_bounded([judgement.differences[name] / self.scale[name] for name in names]) for judgement in ours]
        found = simplex_posterior(
            self.population,
            torch.tensor(rows, dtype=torch.float64).reshape(len(ours), len(names)),
            torch.tensor([judgement.label for judgement in ours], dtype=torch.float64),
            DRAWS,
            self._seed,
        )
        order = [names.index(name) for name in self.objectives]
        mean, ends = found.mean[order].tolist(), found.interval(LEVEL)[order]
        assert found.tastes is not None  # of a population there always are
        temperature = float(found.tastes.sum(dim=1).mean())  # weights sum to 1, so tastes sum to β
        low, high = ends[:, 0].tolist(), ends[:, 1].tolist()
        return Taste(self.objectives, len(ours), tuple(mean), tuple(low), tuple(high), LEVEL, temperature)

    def summary(self, taste: Taste) -> dict[str, Any]:
        """What to keep of a taste, as JSON values."""
        return {"basis": self._basis, "taste": asdict(taste)}

    def read(self, summary: Mapping[str, Any] | None) -> Taste | None:
        """A taste that was kept, unless it was learned with another prior, scale or other objectives."""
        if summary is None or summary.get("basis") != self._basis:
            return None
        fields = dict(summary["taste"])
        lists = {name: tuple(fields[name]) for name in ("objectives", "mean", "low", "high")}
        return Taste(**{**fields, **lists})

    def _fingerprint(self) -> str:
        prior = self.population
        parts = [
            self.objectives,
            prior.names,
            prior.mean.tolist(),
            prior.spread.tolist(),
            prior.log_temperature,
            self.scale,
            (DRAWS, CERTAIN, LEVEL, self._seed),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load_population(folder: str | Path, objectives: Sequence[str]) -> Population:
    """The prior of new users that `fit_objective_users(...).save_pretrained(folder)` left.

    Raises:
        InputError: the folder is broken, or over other objectives.
    """
    from reward_heads.users import ObjectiveUsers

    found = ObjectiveUsers.from_pretrained(folder).prior
    check_same_objectives(found.names, objectives)
    return found


def _bounded(differences: list[float]) -> list[float]:
    largest = max(map(abs, differences))
    return differences if largest <= CERTAIN else [value / largest * CERTAIN for value in differences]


def _around(objectives: tuple[str, ...], default: Preference | None) -> Population:
    """Weights around the default; whoever judges differs in them by about a factor of e, and in temperature by about half of that."""
    count = len(objectives)
    values = [1.0] * count if default is None else [max(0.0, default.values.get(name, 0.0)) for name in objectives]
    total = sum(values) or 1.0
    weights = torch.tensor([(1 - EVEN) * value / total + EVEN / count for value in values], dtype=torch.float64)
    mean = torch.cat([coordinates(weights / weights.sum()), torch.zeros(1, dtype=torch.float64)])
    deviation = torch.tensor([SPREAD] * (count - 1) + [TEMPERATURE_SPREAD], dtype=torch.float64)
    return Population(objectives, mean, torch.diag(deviation**2), None)
