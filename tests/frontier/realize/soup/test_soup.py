import math

import pytest

from frontier.errors import InputError
from frontier.front import FrontPoint
from frontier.realize.soup import Soup

NAMES = ("helpful", "brief")


def test_coefficients_by_place():
    soup = Soup(NAMES, ("layers 0-1", "head"), ((1, 0), (0.25, -2)))
    assert soup.at("model.layers.1.mlp.up_proj.weight") == (1.0, 0.0)
    assert soup.at("lm_head.weight") == (0.25, -2.0)
    assert soup.at("model.layers.2.mlp.up_proj.weight") == (0.0, 0.0)  # in no block: the base's
    assert Soup.alike(NAMES, (0.3, 0.7)).at("anything.7.weight") == (0.3, 0.7)
    assert Soup.base(NAMES).at("model.norm.weight") == (0.0, 0.0)


def test_json_comes_back():
    soup = Soup(NAMES, ("layers 0-1", "head"), ((1, 0), (0.1 + 0.2, -2)))
    assert Soup.from_json(soup.to_json()) == soup
    point = FrontPoint((1.0, 2.0), (0.0, 0.0), 1, extra={"soup": soup.to_json()})
    assert Soup.of_point(point) == soup
    assert Soup.from_json({"experts": ["a", "b"], "coefficients": {"all": {"b": 1}}}).coefficients == ((0.0, 1.0),)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "must be an object"),
        ({"experts": ["a", "b"]}, "field 'coefficients' is missing"),
        ({"experts": ["a", "b"], "coefficients": {"all": {"aa": 1}}}, "did you mean 'a'"),
        ({"experts": ["a", "b"], "coefficients": {"all": [1, 2]}}, "numbers by expert"),
    ],
)
def test_refuses_json(found, message):
    with pytest.raises(InputError, match=message):
        Soup.from_json(found)


def test_refuses():
    with pytest.raises(InputError, match="must be finite"):
        Soup.alike(NAMES, (math.nan, 1))
    with pytest.raises(InputError, match="one for each of 2 experts in each of 1 blocks"):
        Soup.alike(NAMES, (1,))
    with pytest.raises(InputError, match="different names"):
        Soup.alike(("a", "a"), (1, 1))
    with pytest.raises(InputError, match="of no soup"):
        Soup.of_point(FrontPoint((1.0,), (0.0,), 1))
