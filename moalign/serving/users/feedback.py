"""Turn what a user said into a difference of rewards: of two answers, of an answer and what was to be expected, or of two preferences."""

import math
from collections.abc import Sequence
from typing import Any

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.serving.bodies import FeedbackBody, as_text
from moalign.serving.errors import ApiError
from moalign.serving.pick import Expected, FrontMenu
from moalign.serving.request import FieldError
from moalign.serving.rewards import RewardHeads
from moalign.serving.users.store import Judgement, now
from moalign.serving.wish import as_object, is_wish
from reward_heads.normalizer import Normalizer
from reward_heads.text import Text

# Beyond this a reward says no more, and its square is still a number.
LARGEST = 1e6


class FeedbackReader:
    """Makes judgements of feedback.

    Args:
        menu (`FrontMenu`): the policy's measured front, which says what to expect.
        heads (`RewardHeads`, *optional*): which score texts.
        keep_texts (`bool`, *optional*, defaults to `False`): put the texts into the judgements.
    """

    def __init__(self, menu: FrontMenu, heads: RewardHeads | None, keep_texts: bool = False) -> None:
        self._menu = menu
        self._heads = heads
        self._keep_texts = keep_texts

    def read(self, body: FeedbackBody, current: Preference) -> Judgement:
        """What the user said, in units of the reward heads.

        Args:
            body (`FeedbackBody`): a pair, a thumb or two preferences. A pair that brings its preferences is judged by the texts where heads can score them.
            current (`Preference`): the user's, at which a thumb was given unless the request says otherwise.

        Raises:
            ApiError: 404, texts are to be scored and there are no reward heads, or preferences to be compared and there is no front; 400, the two are alike.
            FieldError: a preference is malformed or outside of what was measured, or a text cannot be read.
        """
        match body.kind:
            case "rating":
                assert body.completion is not None
                found, label = self._rated(body, current), float(body.rating == "up")
            case "pair" if self._heads is not None or body.chosen_preference is None:
                assert body.chosen is not None
                assert body.rejected is not None
                better, worse = self._scores(body, [as_text(body.chosen), as_text(body.rejected)])
                found, label = [_minus(a, b) for a, b in zip(better, worse, strict=True)], 1.0
            case _:
                better, worse = self._expected(body, "chosen_preference"), self._expected(body, "rejected_preference")
                found, label = [_minus(a, b) for a, b in zip(better, worse, strict=True)], 1.0
        if not any(found):
            raise ApiError(
                400, "both have the same rewards, so this tells nothing about the user", None, "no_difference"
            )
        differences = dict(zip(self._menu.objectives, found, strict=True))
        return Judgement(body.kind, differences, label, now(), self._texts(body) if self._keep_texts else None)

    def _rated(self, body: FeedbackBody, current: Preference) -> list[float]:
        """The answer's rewards minus those to be expected at the preference that it was made with."""
        assert body.completion is not None
        [scores] = self._scores(body, [as_text(body.completion)])
        at = current if body.preference is None else self._preference("preference", body.preference)
        if self._menu.numbers:
            usual = self._raw(self._menu.nearest(at))
        elif self._heads is not None and self._heads.normalizer is not None:
            usual = list(self._heads.normalizer.location)  # what the reference policy gets
        else:
            message = "a rating is judged against the rewards of the bundle's front, and there is none: send a pair of answers, or run `moalign front`"
            raise ApiError(404, message, "rating", "no_front")
        return [_minus(score, expected) for score, expected in zip(scores, usual, strict=True)]

    def _scores(self, body: FeedbackBody, completions: Sequence[Text]) -> list[list[float]]:
        """`[B][K]` in units of the reward heads."""
        if self._heads is None:
            message = "this bundle has no reward heads to score texts with: send chosen_preference and rejected_preference, or serve it with --reward_heads"
            raise ApiError(404, message, None, "no_reward_heads")
        assert body.prompt is not None
        try:
            scores: list[list[float]] = self._heads.raw([as_text(body.prompt)] * len(completions), completions).tolist()
        except InputError as error:
            raise FieldError("prompt", str(error)) from error
        return scores

    def _expected(self, body: FeedbackBody, field: str) -> list[float]:
        preference = self._preference(field, getattr(body, field))
        try:
            return self._raw(self._menu.expected(preference).expected)
        except ApiError as error:
            raise ApiError(404, error.message, field, "no_front") from error
        except InputError as error:
            raise FieldError(field, str(error)) from error

    def _preference(self, field: str, value: Any) -> Preference:
        try:
            if is_wish(as_object(value), self._menu.objectives):
                raise InputError("must be the preference that an answer carried, not a wish")
            return Preference.coerce(value, self._menu.objectives)
        except InputError as error:
            raise FieldError(field, str(error)) from error

    def _raw(self, expected: Expected) -> list[float]:
        """Expected rewards in units of the reward heads, in the policy's order; NaN where the front does not know an objective."""
        front = self._menu.offered()
        names = self._menu.objectives
        means = [expected[name]["mean"] if name in expected else None for name in names]
        values = [math.nan if mean is None else mean for mean in means]
        if front.normalizer is None:
            return values
        units = Normalizer.from_json(front.normalizer)
        known = dict(zip(units.objectives, zip(units.location, units.scale, strict=True), strict=True))
        return [
            value * known[name][1] + known[name][0] if name in known else value
            for name, value in zip(names, values, strict=True)
        ]

    def _texts(self, body: FeedbackBody) -> dict[str, Any]:
        fields = ("prompt", "chosen", "rejected", "completion")
        return {name: as_text(getattr(body, name)) for name in fields if getattr(body, name) is not None}


def _minus(a: float, b: float) -> float:
    """The difference, within what a posterior can take; an objective that is not known of either tells nothing."""
    found = a - b
    return 0.0 if math.isnan(found) else max(-LARGEST, min(LARGEST, found))
