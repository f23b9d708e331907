import dataclasses

import numpy as np
import pytest
from matplotlib.path import Path

from frontier import FrontPoint, InputError, ParetoFront, common_reference_point
from frontier.plot.ellipse import confidence_ellipse
from frontier.plot.view import summary_lines, summary_rows, view_of
from frontier.prompt_rewards import PromptRewards


def test_one_front(make_front):
    front = make_front(2)
    view = view_of(front, picks={"middle": 2})
    (layer,) = view.layers
    assert layer.kept.tolist() == [True] * 5 + [False]
    assert layer.picks == {"middle": 2}
    assert layer.samples[0].startswith("</script>")
    assert layer.samples[-1] is None
    assert view.references == [front.reference_policy]
    assert view.pairs == [(0, 1)]
    assert "raw units" in view.units


def test_axis_says_units_when_normalised(make_front):
    front = dataclasses.replace(make_front(2), normalizer={"helpful": {"scale": 2.0}})
    view = view_of(front)
    assert view.axis(0) == "reward of helpful, higher is better; reference policy sd units"
    assert view_of({"a": front, "b": front}).normalised


def test_refuses_fronts_in_different_units(make_front):
    scaled = dataclasses.replace(make_front(2), normalizer={"helpful": {"scale": 2.0}})
    with pytest.raises(InputError, match="normalisers of a and b differ"):
        view_of({"a": scaled, "b": make_front(2)})
    with pytest.raises(InputError, match="normalisers of a and b differ"):
        view_of({"a": scaled, "b": dataclasses.replace(scaled, normalizer={"helpful": {"scale": 3.0}})})


def test_axis_lines_say_unit_and_direction(make_front):
    view = view_of(make_front(2))
    assert view.axis_lines(1) == ("reward of brief", "(raw units; higher is better)")
    scaled = view_of(dataclasses.replace(make_front(2), normalizer={"helpful": {"scale": 2.0}}))
    assert scaled.axis_lines(0)[1] == "(reference policy sd; higher is better)"
    assert scaled.unit == "standard deviations of the reference policy"


def test_letters_go_on_after_z(make_front):
    letters = [a for a, _, _ in view_of(make_front(2), picks={str(i): 0 for i in range(55)}).layers[0].lettered_picks()]
    assert letters[:3] + letters[25:28] + letters[51:54] == ["a", "b", "c", "z", "aa", "ab", "az", "ba", "bb"]
    assert len(set(letters)) == 55


def test_covariances_without_rewards_per_prompt_are_diagonal(make_front):
    layer = view_of(make_front(3)).layers[0]
    found = layer.covariances(0, 2)
    np.testing.assert_allclose(found[0], [[0.0004, 0], [0, 0.0004]])
    assert np.isnan(found[-1]).all()  # the standard errors of the last point are not known
    assert layer.steered().tolist() == [True] * 15 + [False]


def test_covariances_from_rewards_per_prompt():
    random = np.random.default_rng(1)
    rewards = random.normal(size=(2, 30, 3))
    rewards[0, :, 2] = -2 * rewards[0, :, 0] + 0.1 * random.normal(size=30)
    rewards[1, :, 2] = 7.0  # constant: no correlation to speak of
    rewards[0, 3, 2] = np.nan  # not known: the correlation is over the other 29 prompts
    kept = PromptRewards(("a", "b", "c"), rewards, tuple(f"p{i}" for i in range(30)))
    layer = view_of(ParetoFront.of_prompt_rewards(kept)).layers[0]
    found = layer.covariances(0, 2)
    both = np.delete(rewards[0], 3, axis=0)
    errors = layer.front.standard_errors
    # Cov(x̄, ȳ) = r σ_x σ_y 29 / (30 · 29): the prompt that only one of them knows doesn't make them covary.
    correlation = np.corrcoef(both[:, 0], both[:, 2])[0, 1] * 29 / np.sqrt(30 * 29)
    assert found[0, 0, 1] == pytest.approx(correlation * errors[0, 0] * errors[0, 2])
    assert found[0, 0, 1] < 0
    assert found[1].tolist() == [[pytest.approx(errors[1, 0] ** 2), 0], [0, 0]]
    np.testing.assert_allclose(layer.covariances(0, 1)[1], np.cov(rewards[1, :, :2].T) / 30)


def partly_known(random, n=30, first=8):
    """Two rewards that nearly agree on every prompt, the first known on a few prompts only."""
    rewards = random.multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], n)
    rewards[first:, 0] = np.nan
    return ParetoFront.of_prompt_rewards(PromptRewards(("a", "b"), rewards[None], tuple(map(str, range(n)))))


def test_regions_contain_the_truth_where_prompts_are_partly_known():
    random, hits = np.random.default_rng(0), 0
    for _ in range(300):
        layer = view_of(partly_known(random)).layers[0]
        assert layer.known(0, 1).tolist() == [8]
        assert (layer.known(0, 0).tolist(), layer.known(1, 1).tolist()) == ([8], [30])
        region = confidence_ellipse(layer.front.rewards[0], layer.covariances(0, 1)[0], int(layer.known(0, 1)[0]))
        hits += Path(region).contains_point((0, 0))
    # The fewer of the two numbers errs on the safe side. 30 prompts and the correlation of the rewards gave 0.47.
    assert hits / 300 > 0.93


def test_without_rewards_per_prompt_the_points_say_how_many_prompts(make_front):
    assert view_of(make_front(2)).layers[0].known(0, 1).tolist() == [32] * 6


def test_pictures_of_one_objective_ask_for_it(make_front):
    assert view_of(make_front(1), least=1).objectives == ("helpful",)


def test_several_fronts_share_the_reference_point_and_the_reference_policy(make_front):
    fronts = {"steerable": make_front(2), "soups": make_front(2, best=0.5)}
    view = view_of(fronts)
    assert len(view.references) == 1
    np.testing.assert_array_equal(view.reference_point, common_reference_point(*fronts.values()))
    steerable, soups, reference = summary_rows(view)
    assert float(steerable["hypervolume"]) > float(soups["hypervolume"]) > float(reference["hypervolume"]) > 0
    assert reference["front"] == "reference policy"


def test_summary_figures(make_front):
    front = make_front(2)
    row = summary_rows(view_of(front))[0]
    assert row["EUM"] == f"{front.eum():.3f}"
    assert row["gap"] == "0.000"
    assert row["steering brief"] == "1.00"
    assert row["points"] == "6 (5 non-dominated)"
    first, second = summary_lines(view_of(front))
    assert "above the reference point (helpful -" in first
    assert "reference policy" in first
    assert "MIP" in second


def test_a_front_without_weights_has_no_steering_figures(make_front):
    front = make_front(2)
    bare = dataclasses.replace(front, points=front.points[-1:])
    assert summary_rows(view_of(bare))[0]["EUM"] == "–"
    assert len(summary_lines(view_of(bare))) == 1


def test_samples_replace_those_of_the_points(make_front):
    front = make_front(2)
    assert view_of(front, samples=list("abcdef")).layers[0].samples == list("abcdef")
    by_label = view_of({"x": front, "y": front}, samples={"y": list("abcdef")})
    assert by_label.layers[0].samples[0].startswith("</script>")
    assert by_label.layers[1].samples == list("abcdef")


def test_colour_follows_the_asked_objective(make_front):
    front = make_front(2)
    colours = view_of(front).layers[0].colours
    assert view_of(front, colour_by="brief").layers[0].colours[:5] == colours[4::-1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour_by": "helpfull"}, "did you mean 'helpful'"),
        ({"picks": {"x": 6}}, r"pick 'x' must be a point 0\.\.5, found 6"),
        ({"picks": {"x": -1}}, "found -1"),
        ({"picks": {"x": "0"}}, r"pick 'x' must be a point 0\.\.5, found '0'"),
        ({"picks": {"x": 0.0}}, "found 0.0"),
        ({"picks": {"x": True}}, "found True"),
        ({"samples": ["a"]}, "one text per point: found 1 for 6"),
        ({"samples": {"fornt": []}}, "did you mean 'front'"),
    ],
)
def test_refuses(make_front, given, message):
    with pytest.raises(InputError, match=message):
        view_of(make_front(2), **given)


def test_labels_and_picks_that_are_no_texts(make_front):
    view = view_of({0: make_front(2), 1: make_front(2)}, picks={7: np.int64(2)}, samples={1: list("abcdef")})
    assert [layer.label for layer in view.layers] == ["0", "1"]
    assert view.layers[0].picks == {"7": 2}
    assert type(view.layers[0].picks["7"]) is int
    assert view.layers[1].samples == list("abcdef")
    with pytest.raises(InputError, match="must differ as texts"):
        view_of({0: make_front(2), "0": make_front(2)})


def test_half_a_surrogate_pair_is_replaced(make_front):
    said = view_of(make_front(2), samples=["\ud83d x", "\ud83d\ude00", "é", None, "", "x"]).layers[0].samples
    assert said == ["\ufffd x", "\U0001f600", "é", None, "", "x"]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_reference_policies_are_told_apart_at_any_scale(scale):
    def front(reference):
        policy = FrontPoint([reference * scale] * 2, [0, 0], 9)
        return ParetoFront(("a", "b"), (FrontPoint([scale, 2 * scale], [0, 0], 9),), policy)

    assert len(view_of({"a": front(0.0), "b": front(0.9)}).references) == 2
    assert len(view_of({"a": front(0.0), "b": front(1e-4)}).references) == 1


def test_refuses_what_has_no_trade_off(make_front):
    with pytest.raises(InputError, match="a trade-off needs two objectives"):
        view_of(make_front(1))
    with pytest.raises(InputError, match="no front to draw"):
        view_of({})
    with pytest.raises(InputError, match="same objectives"):
        view_of({"a": make_front(2), "b": make_front(3)})
