"""Several rewards that score the same objectives as one, more careful where they disagree."""

import os
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.combine import select
from reward_heads.ensemble.combine import check_combination, combine_members, member_std
from reward_heads.ensemble.shared_trunk import SharedTrunk
from reward_heads.normalizer import Normalizer
from reward_heads.text import Text
from reward_heads.vector_reward import VectorReward, score_checked

Scales = Sequence[Normalizer] | Literal["shared"]


class EnsembleReward:
    """A reward from M members: their mean, the worst of them, or the mean less a penalty on their variance (`reward_heads.ensemble.combine`).

    Members must speak the same language before a minimum or a variance means anything: Bradley-Terry rewards have a free offset and, unless calibrated, a free scale.
    [`EnsembleReward.measured`] brings each to mean and standard deviation of the average member on the same texts; `scales="shared"` says that they are in one unit already.

    Args:
        members (`Sequence[VectorReward]` or `SharedTrunk`): with the same objectives, in any order (the first member's is kept); or the heads of one reward, which share their scale.
        combine (`str`, *optional*, defaults to `"mean"`): `"mean"`, `"worst"` or `"uncertainty_weighted"`.
        penalty (`float`, *optional*, defaults to 1.0): λ of `"uncertainty_weighted"`, per unit of the scores.
        scales (`Sequence[Normalizer]` or `"shared"`, *optional*): one normalizer a member, all measured on the same texts. Needed for more than one separate member.

    A member that doesn't know a score (NaN) is left out of it.

    Raises:
        InputError: no member, other objectives, no common scale, normalizers measured on different texts, an unknown rule, a negative penalty.
    """

    def __init__(
        self,
        members: Sequence[VectorReward] | SharedTrunk,
        combine: str = "mean",
        *,
        penalty: float = 1.0,
        scales: Scales | None = None,
    ) -> None:
        check_combination(combine, penalty)
        self.combine = combine
        self.penalty = float(penalty)
        if isinstance(members, SharedTrunk):
            self.trunk: SharedTrunk | None = members
            self.members: tuple[VectorReward, ...] = ()
            self.objectives = members.objectives
            self.size = members.size
            scales = scales or "shared"
        else:
            self.trunk = None
            self.members = tuple(members)
            self.objectives = _common_objectives(self.members)
            self.size = len(self.members)
        self.scales = _checked_scales(scales, self.size, self.objectives)

    @classmethod
    def measured(
        cls,
        members: Sequence[VectorReward] | SharedTrunk,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        combine: str = "mean",
        *,
        penalty: float = 1.0,
        source: str = "",
    ) -> "EnsembleReward":
        """Bring the members to a common scale, measured on these texts (those that all members know, objective by objective).

        Args:
            members (`Sequence[VectorReward]` or `SharedTrunk`): as for the constructor.
            prompts (`Sequence[Text]`): `N` prompts, some hundreds.
            completions (`Sequence[Text]`): `N` completions, such as the reference policy's.
            combine (`str`, *optional*, defaults to `"mean"`): as for the constructor.
            penalty (`float`, *optional*, defaults to 1.0): as for the constructor.
            source (`str`, *optional*): what the texts are, for a reader of `ensemble.json`.

        Raises:
            InputError: as the constructor; or a member is constant, or knows fewer than two of the texts.
        """
        raw = cls(members, scales="shared")
        scores = raw.member_scores(prompts, completions)
        scores = scores.masked_fill(scores.isnan().any(dim=0), torch.nan)
        scales = []
        for number, found in enumerate(scores):
            try:
                scales.append(Normalizer.from_scores(found, raw.objectives, source))
            except InputError as error:
                raise InputError(f"member {number + 1} of {raw.size}: {error}") from error
        return cls(members, combine, penalty=penalty, scales=scales)

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32 in the unit of the average member; see [`VectorReward.score`]."""
        return combine_members(self.member_scores(prompts, completions), self.combine, self.penalty)

    def score_with_uncertainty(self, prompts: Sequence[Text], completions: Sequence[Text]) -> tuple[Tensor, Tensor]:
        """What `score` gives, and the standard deviation of the members about their mean ([`member_std`]); both `[B, K]` float32, NaN where not known."""
        scores = self.member_scores(prompts, completions)
        return combine_members(scores, self.combine, self.penalty), member_std(scores)

    def member_scores(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[M, B, K]` float32: each member on the common scale."""
        if self.trunk is not None:
            scores = self.trunk.member_scores(prompts, completions)
        else:
            each = [score_checked(select(member, self.objectives), prompts, completions) for member in self.members]
            scores = torch.stack(each)
        if self.scales == "shared":
            return scores
        location = torch.tensor([scale.location for scale in self.scales], dtype=torch.float64)[:, None]
        scale = torch.tensor([scale.scale for scale in self.scales], dtype=torch.float64)[:, None]
        # To the average member's unit, not to standard deviations: nats stay about nats, and one member alone stays as it is.
        common = (scores.double() - location) * (scale.mean(dim=0) / scale) + location.mean(dim=0)
        return common.float()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `ensemble.json` and each member into a subfolder, with its transforms; whole or not at all.

        Raises:
            InputError: a member is made of Python code, which no file can hold.
        """
        from reward_heads.ensemble.saved import save_ensemble

        save_ensemble(self, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, device: str | torch.device | None = None, batch_size: int = 64
    ) -> "EnsembleReward":
        """Load what `save_pretrained` wrote.

        Args:
            folder (`str` or path): with `ensemble.json`.
            device (*optional*): of the members, by default the CPU.
            batch_size (`int`, *optional*, defaults to 64): texts per forward pass.

        Raises:
            InputError: a file is missing or broken, or a member is not the one that was saved.
        """
        from reward_heads.ensemble.saved import load_ensemble

        return load_ensemble(folder, device=device, batch_size=batch_size)


def _common_objectives(members: Sequence[VectorReward]) -> tuple[str, ...]:
    if not members:
        raise InputError("an ensemble needs at least one member, found none")
    objectives = tuple(members[0].objectives)
    for number, member in enumerate(members[1:], start=2):
        for name in member.objectives:
            if name not in objectives:
                raise InputError(
                    f"member {number}: {unknown_name('objective', name, objectives)} (those of member 1); select() leaves objectives out"
                )
        missing = [name for name in objectives if name not in member.objectives]
        if missing:
            raise InputError(f"member {number} has no objective '{missing[0]}', which member 1 has")
    return objectives


def _checked_scales(
    scales: Scales | None, size: int, objectives: tuple[str, ...]
) -> tuple[Normalizer, ...] | Literal["shared"]:
    if scales is None:
        if size > 1:
            raise InputError(
                f"{size} members need a common scale: rewards trained on pairs have a free offset and scale. Use EnsembleReward.measured(members, prompts, completions), "
                "or scales='shared' if they are in one unit already"
            )
        return "shared"
    if isinstance(scales, str):
        if scales != "shared":
            raise unknown_name("scales", scales, ["shared"])
        return "shared"
    if len(scales) != size:
        raise InputError(f"scales: one normalizer a member is needed, found {len(scales)} for {size}")
    if len({(scale.n, scale.source) for scale in scales}) > 1:
        found = ", ".join(f"{scale.n} of '{scale.source}'" for scale in scales)
        raise InputError(f"scales: the normalizers must be measured on the same texts, found {found}")
    return tuple(scale.select(objectives) for scale in scales)
