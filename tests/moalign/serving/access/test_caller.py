import math

import pytest

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.serving.access.caller import ANYONE, Caller, Forbidden, Range

SAFE = Caller("shop", {"safe": Range(min=0.2), "brief": Range(0.1, 0.5)})


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("safe=0.5,brief=0.5", None),
        ("safe=0.2,brief=0.3,kind=0.5", None),
        ("safe=0.1,brief=0.4,kind=0.5", "safe 0.1"),
        ("brief=0.4,kind=0.6", "safe 0"),  # what is not named is zero
        ("safe=0.4,brief=0.6", "brief 0.6"),
        ("kind=1", "safe 0, brief 0"),
        ("direction:safe=-0.6,brief=0.2,kind=0.774596669241483", "safe -0.6"),
    ],
)
def test_every_range_is_held(text, refused):
    preference = Preference.parse(text)
    assert SAFE.allows(preference) is (refused is None)
    if refused is None:
        SAFE.check_preference(preference)
        return
    with pytest.raises(Forbidden) as caught:
        SAFE.check_preference(preference)
    assert (caught.value.code, caught.value.param) == ("preference_not_allowed", "preference")
    assert str(caught.value) == (
        f"preference: this key may not use {refused}, allowed: safe at least 0.2, brief from 0.1 to 0.5"
    )


def test_who_has_no_ranges_may_ask_for_anything():
    assert ANYONE.allows(Preference.parse("direction:a=-1"))
    ANYONE.check_path("/anything")


def test_ranges_include_their_ends_and_rounding_errors():
    assert 0.1 + 0.2 in Range(max=0.3)
    assert 0.2 in Range(0.2, 0.2)
    assert 0.2 - 1e-6 not in Range(min=0.2)
    assert math.nan not in Range(min=0)
    assert math.nan not in Range(max=0)
    assert [str(r) for r in (Range(min=0.2), Range(max=1), Range(0, 1))] == ["at least 0.2", "at most 1", "from 0 to 1"]


@pytest.mark.parametrize("bounds", [(), (0.5, 0.2), (math.nan,), (math.inf,), ("0.2",), (True,), (10**400,)])
def test_bounds_that_make_no_sense(bounds):
    with pytest.raises(InputError):
        Range(*bounds)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/models", True), ("/v1/models/tiny", True), ("/v1/modelsX", False), ("/v1", False), ("/v1/front", False)],
)
def test_paths_and_what_is_below_them(path, allowed):
    caller = Caller("x", paths=("/v1/models",))
    if allowed:
        caller.check_path(path)
    else:
        with pytest.raises(Forbidden, match="allowed: /v1/models"):
            caller.check_path(path)
