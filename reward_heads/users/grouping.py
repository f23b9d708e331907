"""Who belongs to which group, how sure that is, and how well each group's reward predicts its users."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, check_fields
from frontier.objectives import check_objectives
from reward_heads.accuracy import Accuracy, agreement
from reward_heads.bradley_terry import BradleyTerryScale, scale_of_differences
from reward_heads.users.choose import Likelihood, clustered_mean
from reward_heads.users.em import posterior, predictive_log_likelihood, user_log_likelihood
from reward_heads.users.observations import UserPairs
from reward_heads.users.search import Search, members


@dataclass(frozen=True)
class Grouping:
    """Groups of users, largest first.

    Args:
        names (`tuple[str, ...]`): U names, `group1` is the largest.
        shares (`Tensor`): `[U]` float64, the groups' shares of the users.
        users (`tuple[str, ...]`): the users that were seen.
        responsibilities (`Tensor`): `[users, U]` float64, the probability of each group given the pairs learned from (hard: 0 or 1).
        chosen (`int`): the number of groups that held-out pairs (or the settings) asked for; fewer are left if some lost their users.
        likelihood (`tuple[Likelihood, ...]`): held-out log-likelihood by number of groups; empty if nothing was held out.
        trained (`tuple[float, float]`, *optional*): held-out log-likelihood of the rewards themselves and its standard error; `None` if nothing was held out.
        accuracy (`tuple[Accuracy, ...]`): U; how often a group's reward ranks its users' held-out pairs (those learned from, if none was held out) as labelled.
        scale (`BradleyTerryScale`): per group, nats per unit of its reward on those pairs, weighted by responsibility; 1 = calibrated, below 1 = too sure of itself.
        assignment (`str`): `"soft"` or `"hard"`.

    Raises:
        InputError: shapes don't fit, or the probabilities are none.
    """

    names: tuple[str, ...]
    shares: Tensor
    users: tuple[str, ...]
    responsibilities: Tensor
    chosen: int
    likelihood: tuple[Likelihood, ...]
    trained: tuple[float, float] | None
    accuracy: tuple[Accuracy, ...]
    scale: BradleyTerryScale
    assignment: str

    def __post_init__(self) -> None:
        check_objectives(self.names)
        expected = (len(self.users), len(self.names))
        if self.shares.shape != expected[1:] or self.responsibilities.shape != expected:
            raise InputError(
                f"groups {', '.join(self.names)} of {expected[0]} users need as many shares and {list(expected)} responsibilities, "
                f"found {list(self.shares.shape)} and {list(self.responsibilities.shape)}"
            )
        for what, rows in (("shares", self.shares[None]), ("responsibilities", self.responsibilities)):
            if not ((rows >= 0).all() and (rows.sum(dim=1) - 1).abs().max() < 1e-6):
                raise InputError(f"{what} must be probabilities with sum 1")

    def assign(self, user: str) -> str:
        """The likeliest group of a user that was seen; see `posterior` for new ones.

        Raises:
            InputError: the user was not seen; names the nearest that was.
        """
        user = str(user)
        if user not in self.users:
            near = difflib.get_close_matches(user, self.users, n=1)
            suggestion = f", did you mean '{near[0]}'?" if near else ""
            raise InputError(
                f"'{user}' is none of the {len(self.users)} users that the groups were found from{suggestion}"
            )
        return self.names[int(members(self.responsibilities)[self.users.index(user)])]

    def members(self) -> dict[str, tuple[str, ...]]:
        """Group to its users, each in the likeliest group."""
        of = members(self.responsibilities).tolist()
        return {
            name: tuple(user for user, group in zip(self.users, of, strict=True) if group == index)
            for index, name in enumerate(self.names)
        }

    def posterior_of(self, differences: Tensor, labels: Tensor) -> dict[str, float]:
        r"""The probability of each group for someone new: $\propto \pi_u e^{L_u}$, soft whatever `assignment` was; without pairs the shares.

        A reward that is surer than held-out pairs bear out (`scale` below 1) has its differences shrunk by that, or a few pairs would seem to prove a group.

        Args:
            differences (`Tensor`): `[n, U]`, each group's score of a minus score of b, n from 0.
            labels (`Tensor`): `[n]`, the probability that a is better.
        """
        if not len(labels):
            found = self.shares
        else:
            pairs = UserPairs(("new", "nobody"), torch.zeros(len(labels), dtype=torch.long), labels.double())
            shrink = self.scale.scale.nan_to_num(nan=1.0).clamp(0.0, 1.0)
            total = user_log_likelihood(differences.double() * shrink, pairs, torch.arange(len(labels)))[:1]
            found = posterior(total, self.shares, torch.ones(1, dtype=torch.bool), "soft")[0]
        return dict(zip(self.names, found.tolist(), strict=True))

    def table(self) -> str:
        """The groups, and the held-out likelihood by their number, for people."""
        width = max(5, *map(len, self.names))
        by_group = self.members()
        lines = [f"{'group':<{width}}  share  users  accuracy"]
        for name, share, (right, n) in zip(self.names, self.shares.tolist(), self.accuracy, strict=True):
            judged = f"{right:.3f} ± {(right * (1 - right) / n) ** 0.5:.3f} ({n} pairs)" if n else "no pairs"
            lines.append(f"{name:<{width}}  {share:5.3f}  {len(by_group[name]):5d}  {judged}")
        if self.likelihood:
            lines.append("\ngroups  held-out log-likelihood per pair   behind the best")
        for row in self.likelihood:
            behind = f"{row.behind:.4f} ± {row.behind_error:.4f}" if row.behind else "best"
            note = f"  ({row.left} left)" if row.left < row.groups else ""
            mark = "  <- chosen" if row.groups == self.chosen else ""
            lines.append(
                f"{row.groups:6d}  {row.mean:.4f} ± {row.standard_error:.4f}                  {behind}{note}{mark}"
            )
        if self.trained is not None:
            lines.append(
                f"The rewards above: {self.trained[0]:.4f} ± {self.trained[1]:.4f} with {len(self.names)} groups."
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`Grouping.from_json`] reads it back."""
        rows = [{name: _plain(value) for name, value in asdict(row).items()} for row in self.likelihood]
        return {
            "groups": list(self.names),
            "shares": self.shares.tolist(),
            "assignment": self.assignment,
            "users": dict(zip(self.users, self.responsibilities.tolist(), strict=True)),
            "chosen": self.chosen,
            "held_out_log_likelihood": rows,
            "trained_log_likelihood": None if self.trained is None else [_plain(value) for value in self.trained],
            "accuracy": [{"accuracy": _plain(found), "n": n} for found, n in self.accuracy],
            "scale": [_plain(value) for value in self.scale.scale.tolist()],
            "scale_standard_error": [_plain(value) for value in self.scale.standard_error.tolist()],
            "scale_pairs": self.scale.n.tolist(),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Grouping":
        """Read what [`Grouping.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        check_fields(content, _FIELDS)
        names = tuple(content["groups"])
        wanted = {f.name for f in fields(Likelihood)}
        for row in content["held_out_log_likelihood"]:
            if set(row) != wanted:
                raise InputError(
                    f"field 'held_out_log_likelihood': a row needs {', '.join(sorted(wanted))}, found {', '.join(row)}"
                )
        likelihood: list[dict[str, Any]] = [
            {name: float(value) if isinstance(value, str) else value for name, value in row.items()}
            for row in content["held_out_log_likelihood"]
        ]
        trained = content["trained_log_likelihood"]
        scale, error = (
            torch.tensor([float(value) for value in content[field]], dtype=torch.float64)
            for field in ("scale", "scale_standard_error")
        )
        return Grouping(
            names,
            torch.tensor(content["shares"], dtype=torch.float64),
            tuple(content["users"]),
            torch.tensor(list(content["users"].values()), dtype=torch.float64).reshape(-1, len(names)),
            int(content["chosen"]),
            tuple(Likelihood(**row) for row in likelihood),
            None if trained is None else (float(trained[0]), float(trained[1])),
            tuple(Accuracy(float(row["accuracy"]), int(row["n"])) for row in content["accuracy"]),
            BradleyTerryScale(names, scale, error, torch.tensor(content["scale_pairs"])),
            str(content["assignment"]),
        )


_FIELDS = (
    *("groups", "shares", "assignment", "users", "chosen", "held_out_log_likelihood", "trained_log_likelihood"),
    *("accuracy", "scale", "scale_standard_error", "scale_pairs"),
)


def summarise(found: Search[Any], pairs: UserPairs, differences: Tensor, assignment: str) -> Grouping:
    """The groups of a search, ordered and judged.

    Args:
        found (`Search`): the search.
        pairs (`UserPairs`): its data.
        differences (`Tensor`): `[n, U]` of the judged pairs (held out, or those learned from if none was) by the groups in `found.order`.
        assignment (`str`): `"soft"` or `"hard"`.
    """
    order = found.order
    names = group_names(len(order))
    gamma = found.mixture.responsibilities[:, order]
    judged = found.held if len(found.held) else found.train
    labels, owner = pairs.labels[judged], pairs.user_of[judged]
    mine = members(gamma)[owner, None] == torch.arange(len(order))
    targets = labels[:, None].expand_as(differences)
    accuracy = agreement(differences, targets.masked_fill(~mine, math.nan))
    scale = scale_of_differences(differences, targets, names, weights=gamma[owner], strict=False)
    trained = None
    if len(found.held):
        trained = clustered_mean(predictive_log_likelihood(differences, labels, gamma[owner]), owner)
    return Grouping(
        names,
        found.mixture.shares[order],
        pairs.users,
        gamma,
        found.chosen,
        found.table,
        trained,
        tuple(accuracy),
        scale,
        assignment,
    )


def group_names(count: int) -> tuple[str, ...]:
    """`group1`, `group2`, ..."""
    return tuple(f"group{index + 1}" for index in range(count))


def _plain(value: float) -> float | str:
    """A number as JSON can hold it: "inf" and "nan" are text there."""
    return value if math.isfinite(value) else str(value)
