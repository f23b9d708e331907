import enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moalign.cli.values import Mismatch, accepts, convert, expected, is_flag


class Colour(enum.Enum):
    RED = "red"
    NO = "no"


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        ("3", int, 3),
        ("-1", int, -1),
        ("1e3", int, 1000),
        (12345678901234567890, int, 12345678901234567890),
        ("1e-4", float, 1e-4),
        (3, float, 3.0),
        ("yes", bool, True),
        ("OFF", bool, False),
        (True, bool, True),
        ("true", str, "true"),
        ("null", int | None, None),
        ("none", float | None, None),
        ("none", str | None, "none"),
        ("null", str | None, None),
        (None, list[str] | None, None),
        ("a, b", list[str], ["a", "b"]),
        ("[1, 2]", list[int], [1, 2]),
        (["1", 2], list[float], [1.0, 2.0]),
        ("0,1", tuple[float, float], (0.0, 1.0)),
        ("helpful=2,brief=0.5", dict[str, float], {"helpful": 2.0, "brief": 0.5}),
        ("{helpful: 2}", dict[str, float], {"helpful": 2.0}),
        ({"helpful": 2}, dict[str, float] | str | None, {"helpful": 2.0}),
        ("helpful=2", dict[str, float] | str | None, {"helpful": 2.0}),
        ("num_cycles=2,kind=x", dict | str | None, {"num_cycles": 2, "kind": "x"}),
        ("ds_config.json", dict | str | None, "ds_config.json"),
        ("all-linear,x", list[str] | str, "all-linear,x"),
        ("[a, b]", list[str] | str, ["a", "b"]),
        ("true", bool | str | None, True),
        ("runs/checkpoint-5", bool | str | None, "runs/checkpoint-5"),
        ("red", Colour, Colour.RED),
        ("NO", Colour | str, Colour.NO),
        (Colour.RED, Colour | str, Colour.RED),
        ("merged", Literal["lora", "merged"], "merged"),
        ("a/b", Path, Path("a/b")),
        ({"x": [1]}, Any, {"x": [1]}),
    ],
)
def test_converts(value, hint, result):
    got = convert(value, hint)
    assert got == result
    assert type(got) is type(result)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("many", int, "an integer"),
        ("1.5", int, "an integer"),
        (True, int, "an integer"),
        ("1_000", int, "an integer"),
        ("inf", int, "an integer"),
        ("nan", float, "a number"),
        ("x", float | None, "a number or null"),
        ("maybe", bool, "true or false"),
        (1, bool, "true or false"),
        (2024, str, "text (in quotes)"),
        (["a"], str, "text"),
        (3, list[str], "a list, each text"),
        ("a,b", list[int], "a list, each an integer"),
        ("1,2,3", tuple[float, float], "a list of 2"),
        ("helpful", dict[str, float], "values by name, as in helpful=0.7,brief=0.3"),
        ("a=1,a=2", dict[str, float], "values by name, as in helpful=0.7,brief=0.3, each name once"),
        ("a=x", dict[str, float], "values by name, each a number"),
        ("green", Colour | str, "one of red, no"),
        ("both", Literal["lora", "merged"], "one of lora, merged"),
        ("x", complex, "a value that only Python code can give"),
    ],
)
def test_says_what_would_fit(value, hint, message):
    with pytest.raises(Mismatch) as error:
        convert(value, hint)
    assert str(error.value) == message


@settings(deadline=None)
@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans()))
def test_the_text_of_a_value_reads_back(value):
    assert convert(repr(value), type(value)) == value


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(allow_nan=False), min_size=1))
def test_the_text_form_of_a_mapping_reads_back(values):
    text = ",".join(f"{name}={value!r}" for name, value in values.items())
    assert convert(text, dict[str, float]) == values


def test_expected_hides_that_an_enum_may_be_text():
    assert expected(Colour | str) == "one of red, no"
    assert expected(dict[str, Any] | str | None) == "values by name, as in helpful=0.7,brief=0.3 or text or null"


def test_flags_are_truth_values_and_nothing_else():
    assert is_flag(bool)
    assert is_flag(bool | None)
    assert not is_flag(bool | str | None)
    assert accepts(bool | str | None, bool)
    assert not accepts(list[bool], bool)
