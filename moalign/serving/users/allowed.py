"""Give a user the preference that their feedback taught, as far as the caller's key allows it."""

import math
from collections.abc import Mapping

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.serving.access import Caller
from moalign.serving.access.caller import Range
from moalign.serving.request import FieldError
from moalign.serving.users.book import UserBook

STEPS = 200


def known_preference(users: UserBook, caller: Caller, user: str) -> Preference | None:
    """What to steer by for a user; `None` before any feedback, and where the key's ranges leave nothing like it.

    Nobody asked for exactly these weights, so where the key's ranges forbid them the nearest allowed ones are taken. A direction that they forbid, which has no nearest one on the same
    scale, is `None`: the answer is then made as for a user who is not known, at the gate's choice or the default, and says so in `preference_source`.

    Args:
        users (`UserBook`): what is known.
        caller (`Caller`): whose user it is, and what that key allows.
        user (`str`): the name.

    Raises:
        FieldError: the name is refused.
    """
    try:
        found = users.preference(caller.name, user)
    except InputError as error:
        raise FieldError("user", str(error)) from error
    if found is None or caller.allows(found):
        return found
    if found.kind != "weights":
        return None
    values = {name: found.values.get(name, 0.0) for name in users.learner.objectives}
    nearest = Preference(nearest_allowed(values, caller.preference))
    return nearest if caller.allows(nearest) else None


def nearest_allowed(weights: Mapping[str, float], ranges: Mapping[str, Range]) -> dict[str, float]:
    r"""The weights within ranges that are nearest to given ones: $\min \lVert v - w \rVert_2$ over $\sum_k v_k = 1$, $l_k \le v_k \le u_k$; that is $v_k = \mathrm{clip}(w_k + \tau, l_k, u_k)$.

    Args:
        weights (`Mapping[str, float]`): on the simplex.
        ranges (`Mapping[str, Range]`): of some objectives; the others have [0, 1]. Where no weights satisfy them, the given ones come back.
    """
    low = {name: max(0.0, _bound(ranges.get(name), "min", 0.0)) for name in weights}
    high = {name: min(1.0, _bound(ranges.get(name), "max", 1.0)) for name in weights}
    if sum(low.values()) > 1 or sum(high.values()) < 1 or any(low[name] > high[name] for name in weights):
        return dict(weights)

    def moved(shift: float) -> dict[str, float]:
        return {name: min(max(weight + shift, low[name]), high[name]) for name, weight in weights.items()}

    below, above = -1.0, 1.0  # every weight lies in [0, 1], so one of these reaches every bound
    for _ in range(STEPS):
        middle = (below + above) / 2
        below, above = (middle, above) if math.fsum(moved(middle).values()) < 1 else (below, middle)
    return moved(above)


def _bound(found: Range | None, name: str, missing: float) -> float:
    value = None if found is None else getattr(found, name)
    return missing if value is None else float(value)
