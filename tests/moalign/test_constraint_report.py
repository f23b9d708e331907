import doctest
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from frontier.errors import InputError
from frontier.measure.uncertainty.lower_bounds import skewness_bound, skewness_p_value
from moalign import constraint_report
from moalign.constraint_history import Moment
from moalign.constraint_report import ConstraintReport
from moalign.scalarize.lagrangian import Constraint

NAN = math.nan
SAFE = Constraint("safe", "above", 0.0)


def judge(constraint, column, **settings):
    """The one result of one constraint on one column of rewards."""
    rewards = torch.tensor(column, dtype=torch.float64)[:, None]
    (result,) = ConstraintReport.measure([constraint], rewards, [constraint.objective], **settings).results
    return result


# --- statistics --------------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 60), st.floats(0.6, 0.999), st.floats(0.001, 0.4))
def test_interval_and_bounds_are_those_of_scipy(seed, n, level, delta):
    column = np.random.default_rng(seed).normal(3.0, 2.0, n)
    got = judge(SAFE, column, level=level, delta=delta)
    expected = stats.ttest_1samp(column, 0.0)
    interval = expected.confidence_interval(level)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert got.standard_error == pytest.approx(stats.sem(column))
    assert (got.lower_bound, got.upper_bound) == (skewness_bound(column, delta), -skewness_bound(-column, delta))
    for side, outer, inner in (("greater", got.lower_bound, "low"), ("less", -got.upper_bound, "high")):
        one_sided = stats.ttest_1samp(column, 0.0, alternative=side).confidence_interval(1 - delta)
        plain = getattr(one_sided, inner) * (1 if side == "greater" else -1)
        assert outer <= plain + 1e-9 * abs(plain)  # the skew only ever widens it
    assert got.certified == (skewness_p_value(column, 0.0) <= delta)


def test_bonferroni_over_the_constraints():
    rewards = np.random.default_rng(0).normal(0.0, 1.0, (40, 3))
    three = [Constraint(name, "above", 0.0) for name in "abc"]
    report = ConstraintReport.measure(three, rewards, "abc", delta=0.03)
    for k, result in enumerate(report.results):
        alone = judge(three[k], rewards[:, k], delta=0.01)
        assert (result.lower_bound, result.upper_bound) == (alone.lower_bound, alone.upper_bound)
        assert (result.low, result.high) == (alone.low, alone.high)


@pytest.mark.parametrize("kind", ["above", "below", "equal"])
def test_at_most_delta_of_policies_that_break_a_constraint_are_certified(kind):
    delta, seeds, n = 0.1, 2000, 20
    # The hardest cases: the mean is at the edge of what is allowed, on the wrong side by nothing.
    edge = {"above": 0.0, "below": 0.0, "equal": 0.8}[kind]
    draws = np.random.default_rng(1).normal(edge, 1.0, (seeds, n))
    constraint = Constraint("safe", kind, 0.0)
    passes = np.mean([judge(constraint, row, delta=delta, tolerance=0.8).certified for row in draws])
    noise = 3 * math.sqrt(delta * (1 - delta) / seeds)
    assert delta / 2 < passes < delta + noise  # and it is a test that can be passed


def test_family_of_constraints_has_the_rate_too():
    delta, seeds, n = 0.1, 1000, 60
    draws = np.random.default_rng(2).normal(0.0, 1.0, (seeds, n, 4))
    constraints = [Constraint(name, "above", 0.0) for name in "abcd"]
    reports = [ConstraintReport.measure(constraints, rows, "abcd", delta=delta) for rows in draws]
    wrong = np.mean([any(result.certified for result in report.results) for report in reports])
    assert delta / 2 < wrong < delta + 3 * math.sqrt(delta * (1 - delta) / seeds)


def test_intervals_cover():
    draws = np.random.default_rng(3).normal(1.0, 2.0, (2000, 8))
    covered = np.mean([r.low <= 1.0 <= r.high for r in (judge(SAFE, row, level=0.9) for row in draws)])
    assert covered == pytest.approx(0.9, abs=0.021)  # three standard errors


def test_prompts_are_what_counts():
    # Two prompts with means 1 and 3; the second is answered four times, twice unknown.
    column, ids = [1.0, 2.0, 4.0, NAN, NAN], ["x", "y", "y", "y", "y"]
    got = judge(SAFE, column, prompt_ids=ids)
    assert (got.n_prompts, got.n_completions, got.mean) == (2, 3, 2.0)
    assert got.standard_error == pytest.approx(1.0)  # s = sqrt 2, n = 2
    same = judge(SAFE, column, prompt_ids=torch.tensor([5, 2, 2, 2, 2]))
    assert same.standard_error == got.standard_error


def test_copies_of_completions_add_no_certainty():
    column = np.random.default_rng(4).normal(0.2, 1.0, 30)
    once = judge(SAFE, column)
    copied = judge(SAFE, np.repeat(column, 10), prompt_ids=np.repeat(np.arange(30), 10))
    assert (copied.low, copied.high, copied.n_prompts) == pytest.approx((once.low, once.high, 30))
    assert judge(SAFE, np.repeat(column, 10)).standard_error < once.standard_error / 3


# --- verdicts --------------------------------------------------------------------------------------------------------------------

# Mean 2, s = sqrt 2, n = 2, se = 1: at level 0.5 t(0.75, 1) = tan(45°) = 1, so at a level a little above it the interval is about 1 to 3.
COLUMN, LEVEL = [1.0, 3.0], 0.500001


@pytest.mark.parametrize(
    ("kind", "threshold", "tolerance", "verdict"),
    [
        ("above", 0.9, 0.0, "held"),
        ("above", 1.1, 0.0, "not decided"),
        ("above", 2.9, 0.0, "not decided"),
        ("above", 3.1, 0.0, "violated"),
        ("below", 3.1, 0.0, "held"),
        ("below", 2.9, 0.0, "not decided"),
        ("below", 0.9, 0.0, "violated"),
        ("equal", 2.0, 1.1, "held"),
        ("equal", 2.0, 0.9, "not decided"),
        ("equal", 2.0, 0.0, "not decided"),
        ("equal", 3.0, 1.5, "not decided"),
        ("equal", 3.5, 0.4, "violated"),
        ("equal", 0.5, 0.4, "violated"),
        ("equal", 0.5, 0.6, "not decided"),
    ],
)
def test_verdicts_by_hand(kind, threshold, tolerance, verdict):
    got = judge(Constraint("safe", kind, threshold), COLUMN, level=LEVEL, tolerance=tolerance)
    assert (got.low, got.high) == pytest.approx((1.0, 3.0), abs=1e-5)
    assert got.verdict == verdict


@pytest.mark.parametrize(
    ("kind", "threshold", "tolerance", "certified"),
    [
        # t(0.75, 1) = 1 and, with no skewness to be seen in two prompts, h = -1.5 sqrt(6/2) / sqrt(2), h^2 = 3.375: the quantile is 1 + 1.837 / 2 + 0.8 * 3.375.
        ("above", -2.63, 0.0, True),
        ("above", -2.60, 0.0, False),
        ("below", 6.63, 0.0, True),
        ("below", 6.60, 0.0, False),
        ("equal", 2.0, 4.63, True),
        ("equal", 2.0, 4.60, False),
        ("equal", 2.5, 4.7, False),
    ],
)
def test_certificates_by_hand(kind, threshold, tolerance, certified):
    got = judge(Constraint("safe", kind, threshold), COLUMN, delta=0.25, tolerance=tolerance)
    assert (got.lower_bound, got.upper_bound) == pytest.approx((2 - 4.618559, 2 + 4.618559))
    assert got.certified is certified


def test_tolerance_by_objective_concerns_equal_only():
    constraints = [Constraint("a", "equal", 0.0), Constraint("b", "equal", 0.0), Constraint("a", "above", 9.0)]
    rows = np.random.default_rng(0).normal(0.0, 0.1, (50, 2))
    report = ConstraintReport.measure(constraints, rows, "ab", tolerance={"a": 0.5})
    assert [result.tolerance for result in report.results] == [0.5, 0.0, 0.0]
    assert [result.verdict for result in report.results] == ["held", "not decided", "violated"]
    assert not report.held


def test_prompts_that_are_all_alike_get_no_certificate():
    # Three tenths in thirds: sums of 0.1 are not exact, and a spread of 1e-17 is none.
    got = judge(SAFE, [0.1] * 9, prompt_ids=[0, 0, 0, 1, 1, 1, 1, 2, 2])
    assert (got.verdict, got.certified, got.standard_error) == ("held", False, 0.0)
    assert judge(SAFE, [0.1, 0.1, 0.1001]).certified
    assert judge(Constraint("safe", "above", 0.2), [0.1, 0.1]).verdict == "violated"


# --- the multipliers ---------------------------------------------------------------------------------------------------------------


def test_last_multiplier_and_cap():
    def end(*multipliers, cap, kind="above"):
        history = {f"safe_{kind}": [Moment(i, value, None) for i, value in enumerate(multipliers)]}
        return judge(Constraint("safe", kind, 0.0), [0.0, 1.0], history=history, cap=cap)

    got = end(1.0, 5.0, 3.0, cap=5.0)
    assert (got.multiplier, got.at_cap) == (3.0, False)
    assert end(1.0, 4.9999999, cap=5.0).at_cap
    assert end(1.0, -5.0, cap=5.0, kind="equal").at_cap
    assert not end(1.0, 1e9, cap=math.inf).at_cap
    assert end(1.0, 5.0, cap=None).at_cap is None
    nothing = judge(SAFE, [0.0, 1.0], cap=5.0)
    assert (nothing.multiplier, nothing.at_cap, nothing.oscillation) == (None, None, None)


# --- what is written -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def report():
    rng = np.random.default_rng(5)
    rewards = np.column_stack([rng.normal(0.5, 0.2, 60), rng.normal(3.0, 1.0, 60)])
    constraints = [SAFE, Constraint("brief", "equal", 3.0)]
    history = {
        "safe_above": [Moment(step, 2.0 + math.sin(step), 0.1 * step) for step in range(12)],
        "brief_equal": [Moment(step, -1.0, None) for step in range(12)],
    }
    ids = [i // 2 for i in range(60)]
    return ConstraintReport.measure(
        constraints, rewards, ["safe", "brief"], prompt_ids=ids, history=history, cap=1.0, tolerance=1.0
    )


def test_saves_json_and_markdown(report, tmp_path):
    report.save(tmp_path / "new")
    content = json.loads((tmp_path / "new" / "constraints.json").read_text())
    assert content == json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (content["held"], content["certified"], content["schema_version"]) == (True, True, 1)
    first, second = content["constraints"]
    assert (first["objective"], first["kind"], first["threshold"]) == ("safe", "above", 0.0)
    assert (first["verdict"], first["n_prompts"], first["n_completions"]) == ("held", 30, 60)
    assert second["oscillation"] == {"amplitude": 0.0, "relative": 0.0, "turns": 0}
    assert content["history"]["brief_equal"][0] == [0, -1.0, None]
    assert (tmp_path / "new" / "constraints.md").read_text() == report.to_markdown()


def test_markdown_says_what_is_certified_by_what(report):
    assert (
        "the one-sided bound in brackets, a t bound widened by the skew of the rewards, lies on" in report.to_markdown()
    )


def test_markdown_is_a_table(report):
    lines = [line for line in report.to_markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    safe, brief = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert safe[:2] == ["safe above 0", "30 (60 completions)"]
    assert safe[4] == "held"
    assert safe[5].startswith("yes (≥ 0.4")
    assert brief[0] == "brief equal 3 ± 1"
    assert brief[6:] == ["-1 (at the cap)", "± 0 (0%), 0 turns"]


def test_json_has_no_infinity(report):
    open_ended = ConstraintReport(report.results, report.level, report.delta, report.history, math.inf)
    assert json.loads(json.dumps(open_ended.to_json(), allow_nan=False))["cap"] is None


def test_markdown_without_a_history_and_alike_prompts():
    text = ConstraintReport.measure([SAFE], [[1.0], [1.0]], ["safe"]).to_markdown()
    assert "| safe above 0 | 2 | 1 | 1 to 1 | held | no (≥ 1; prompts all alike) |  |  |" in text


def test_doctests():
    results = doctest.testmod(constraint_report)
    assert results.attempted > 0
    assert results.failed == 0


# --- refusals --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraints", "rewards", "options", "message"),
    [
        ([], [[1.0], [2.0]], {}, "needs at least one constraint"),
        ([Constraint("saef", "above", 0)], [[1.0], [2.0]], {}, "unknown objective 'saef': did you mean 'safe'"),
        ([SAFE, Constraint("safe", "above", 1.0)], [[1.0], [2.0]], {}, "given twice: safe above 0, safe above 1"),
        ([SAFE], [[NAN], [NAN], [NAN]], {}, "objective 'safe' is not known in every row of 3"),
        ([SAFE], [[NAN], [1.0], [NAN]], {}, "'safe' is not known for all prompts but one of 3: 'safe above 0'"),
        ([SAFE], [[1.0], [2.0]], {"prompt_ids": [7, 7]}, "can't be judged on fewer than 2 prompts"),
        ([SAFE], [[1.0]], {}, "fewer than 2 prompts"),
        ([SAFE], [], {}, r"rewards must be \[N, 1\] for safe, found \[0\]"),
        ([SAFE], [[1.0, 2.0]], {}, r"rewards must be \[N, 1\] for safe, found \[1, 2\]"),
        ([SAFE], [[1.0], [-math.inf]], {}, "reward 'safe' is infinite"),
        ([SAFE], [[1.0], [2.0]], {"prompt_ids": [7]}, "1 prompt_ids for 2 rows"),
        ([SAFE], [[1.0], [2.0]], {"level": 1.0}, "level must be above 0.5 and below 1, found 1.0"),
        ([SAFE], [[1.0], [2.0]], {"delta": 0.5}, "delta must be above 0 and below 0.5"),
        ([SAFE], [[1.0], [2.0]], {"delta": NAN}, "delta must be above 0"),
        ([SAFE], [[1.0], [2.0]], {"history": {"safe_below": [Moment(0, 1.0, 0.0)]}}, "history 'safe_above': did you"),
        ([Constraint("safe", "equal", 0)], [[1.0], [2.0]], {"tolerance": -1}, "tolerance of 'safe equal 0' must be at"),
    ],
)
def test_refusals(constraints, rewards, options, message):
    with pytest.raises(InputError, match=message):
        ConstraintReport.measure(constraints, rewards, ["safe"], **options)
