"""Turn a wish into a preference: the point of the bundle's measured front that meets a constraint or comes nearest to an aspiration, and what to expect there."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontier.choose import pick
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from moalign.exporting.expected import Expected as Estimate
from moalign.exporting.expected import ExpectedRewards, measured
from moalign.preference import Preference
from moalign.serving.errors import ApiError
from moalign.serving.request import FieldError
from moalign.serving.wish import arguments, as_object, is_wish

Expected = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Picked:
    """A preference that a wish led to.

    Args:
        preference (`Preference`): what to steer by.
        expected (`dict`): of each objective of the front the mean reward and the ends of its interval; `None` = not known.
        index (`int`, *optional*): its place in the front; `None` between measured points.
        reached (`bool`): whether every aspiration is met.
        reason (`str`): a sentence for a person.
    """

    preference: Preference
    expected: Expected
    index: int | None
    reached: bool
    reason: str


class FrontMenu:
    """What a served policy can be asked for by its results: the points of its front whose preference it takes.

    Args:
        front (`ParetoFront`, *optional*): the bundle's.
        objectives (`Sequence[str]`): the policy's. Points measured at no preference, or at one of other objectives, are left out.

    `numbers` has, for each point that is offered, its place in the whole front: what clients call it.
    """

    def __init__(self, front: ParetoFront | None, objectives: Sequence[str]) -> None:
        self.front = front
        self.objectives = tuple(objectives)
        rows = [] if front is None else [i for i, p in enumerate(front.points) if self.preference(p) is not None]
        self.numbers = tuple(rows)
        self._offered = front.take(rows) if front is not None and rows else None

    def preference(self, point: FrontPoint) -> Preference | None:
        """What a point was measured at, if the policy takes it."""
        if point.preference is None:
            return None
        try:
            return Preference.from_json(point.preference, self.objectives)
        except InputError:
            return None

    def pick(self, wish: Mapping[str, Any], confidence: float | None = None) -> Picked:
        """The measured point that a wish leads to.

        Args:
            wish (`Mapping`): `{"aspiration": {objective: level}}`, or `{"maximize": objective, "subject_to": {objective: {">=": x, "<=": y}}}`, either part alone too.
                Levels are mean rewards in the front's units.
            confidence (`float`, *optional*): from 0.5 to below 1; bounds must hold for the one-sided confidence bound of the mean.

        Raises:
            ApiError: 404, there is no front; 400, no point satisfies the bounds: says which comes nearest and what is feasible.
            InputError: the wish is malformed or names an unknown objective.
        """
        front = self.offered()
        wanted = arguments(wish, front.objectives)
        try:
            choice = pick(front, **wanted, confidence=confidence)
        except InputError as error:
            raise InputError(self._renumbered(str(error))) from error
        if not choice.feasible and "aspiration" not in wish:
            raise ApiError(400, self._infeasible(front, choice.index, choice.reason), "preference", "infeasible")
        preference = self.preference(choice.point)
        assert preference is not None  # only such points are offered
        return Picked(
            preference,
            document(measured(front, choice.point)),
            self.numbers[choice.index],
            choice.feasible,
            self._renumbered(choice.reason),
        )

    def expected(self, preference: Preference) -> Picked:
        """What to expect at a preference: the measured point of the same preference to within 0.001, else between the points around it.

        Raises:
            ApiError: 404, there is no front.
            InputError: it lies outside of what was measured, or is a direction that was not.
        """
        self.offered()
        preference.check(self.objectives)
        found = self._rewards.within(preference)
        numbers = sorted(self.numbers[i] for i in found.points)
        if found.how == "measured":
            return Picked(preference, document(found), numbers[0], True, f"Measured as point {numbers[0]}.")
        return Picked(preference, document(found), None, True, f"Between points {numbers}.")

    def nearest(self, preference: Preference) -> Expected:
        """What to expect about a preference wherever it lies: as [`FrontMenu.expected`] says, else at the measured point that is most alike.

        Raises:
            ApiError: 404, there is no front.
        """
        self.offered()
        try:
            return self.expected(preference).expected
        except InputError:
            return document(self._rewards.nearest(preference))

    def offered(self) -> ParetoFront:
        """The points that can be asked for.

        Raises:
            ApiError: 404, there are none.
        """
        if self.front is None:
            message = "this bundle has no measured front; run `moalign front` and start the server again"
            raise ApiError(404, message, None, "no_front")
        if self._offered is None:
            message = f"no point of this bundle's front was measured at a preference over {', '.join(self.objectives)}"
            raise ApiError(404, message, None, "no_front")
        return self._offered

    @functools.cached_property
    def _rewards(self) -> ExpectedRewards:
        return ExpectedRewards(self.offered(), self.objectives)

    def _renumbered(self, sentence: str) -> str:
        """Selections count the points that are offered; a client counts those of /v1/front."""

        def number(found: re.Match[str]) -> str:
            row = int(found[2])
            return f"{found[1]} {self.numbers[row]}" if row < len(self.numbers) else found[0]

        return re.sub(r"\b([Pp]oint) (\d{1,9})\b", number, sentence, count=1)

    def _infeasible(self, front: ParetoFront, row: int, reason: str) -> str:
        nearest = self._renumbered(reason)
        preference = json.dumps(front.points[row].preference)
        low, high = front.rewards.min(axis=0), front.rewards.max(axis=0)
        spans = ", ".join(f"{n} {a:.3g} to {b:.3g}" for n, a, b in zip(front.objectives, low, high, strict=True))
        return f"{nearest} Its preference: {preference}. Measured, each objective alone: {spans}"


def requested(menu: FrontMenu, value: Any) -> Preference:
    """The preference of a request: weights or a direction in any form, or a wish over the front.

    Args:
        menu (`FrontMenu`): the policy's objectives and front.
        value (`Any`): as sent.

    Raises:
        ApiError: the wish cannot be met, or there is no front.
        FieldError: it is malformed.
    """
    try:
        found = as_object(value)
        if is_wish(found, menu.objectives):
            return menu.pick(found).preference
        return Preference.coerce(value, menu.objectives)
    except InputError as error:
        raise FieldError("preference", str(error)) from error


def document(found: Estimate) -> Expected:
    """Mean and interval of each objective as clients read them; `None` = not known."""
    rows = {name: (mean, found.interval(name) or (None, None)) for name, mean in found.rewards.items()}
    return {name: {"mean": mean, "low": low, "high": high} for name, (mean, (low, high)) in rows.items()}
