import json
import math

import pytest
import torch
from asserts import assert_scalarizer, cases, near
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.max_min import MaxMin, soft_min

NAN = math.nan
means = st.lists(st.floats(-5, 5), min_size=3, max_size=3)


def test_hand_computed():
    s = MaxMin(["a", "b"], rate=math.log(2))
    assert s.update([1.0, 0.0]) == pytest.approx((1 / 3, 2 / 3))  # a's weight is halved
    assert s.update([0.0, 2.0]) == pytest.approx((2 / 3, 1 / 3))  # b's is quartered: 1/3 against 2/3 / 4
    assert_close(s(torch.tensor([3.0, 6.0])), torch.tensor(4.0))
    assert s.average_weights == pytest.approx((0.5, 0.5))


def test_the_preference_does_not_matter():
    s, rewards = MaxMin(["a", "b"]), torch.tensor([1.0, 3.0])
    assert s(rewards, torch.tensor([1.0, 0.0])) == s(rewards, torch.tensor([0.0, 1.0])) == 2


@settings(deadline=None)
@given(cases())
def test_properties(case):
    def make(point, scale):
        s = MaxMin([str(u) for u in range(len(point))], rate=0.3 / scale, anchor=point.tolist(), floor=0.0)
        s.update([0.0] * len(point))  # uneven weights, by how far each anchor lies above 0
        return s

    assert_scalarizer(make, case)


def test_anchor_and_scale_make_the_groups_comparable():
    s = MaxMin(["a", "b"], "argmin", anchor=[10.0, -1.0], scale=[2.0, 0.5])
    assert s.anchored([12.0, -0.8]) == pytest.approx((1.0, 0.4))
    assert s.worst([12.0, -0.8]) == ("b", pytest.approx(0.4))
    s.update([12.0, -0.8])
    assert_close(s(torch.tensor([99.0, 0.0])), torch.tensor(2.0))


@settings(deadline=None)
@given(means)
def test_exponentiated_weights_become_the_argmin_as_the_rate_grows(values):
    lowest = sorted(values)
    if lowest[1] - lowest[0] < 1e-2:
        return
    s, hard = MaxMin("abc", rate=1e5, floor=0.0), MaxMin("abc", "argmin")
    assert s.update(values) == pytest.approx(hard.update(values))
    assert hard.weights[values.index(lowest[0])] == 1


@settings(deadline=None)
@given(means, means, st.sampled_from(["exponentiated", "argmin", "softmin"]))
def test_weights_stay_on_the_simplex_and_ignore_a_common_shift(first, second, mode):
    s, shifted = MaxMin("abc", mode, rate=0.5), MaxMin("abc", mode, rate=0.5)
    for values in (first, second):
        s.update(values)
        shifted.update([value + 1.0 for value in values])
    assert math.fsum(s.weights) == pytest.approx(1)
    assert min(s.weights) >= 0
    if mode != "argmin":  # a shift may round two values to the same
        assert s.weights == pytest.approx(shifted.weights, rel=1e-6)


def test_softmin_weights_are_the_gradient_of_soft_min():
    values = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    soft_min(values, 0.4).backward()
    assert MaxMin("abc", "softmin", temperature=0.4).update(values.detach()) == pytest.approx(values.grad.tolist())


def test_soft_min_between_minimum_and_mean():
    values = torch.tensor([[1.0, 2.0, 6.0], [1.0, NAN, 5.0], [NAN, NAN, NAN]], dtype=torch.float64)
    near(soft_min(values, 1e-9)[:2], torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert_close(soft_min(values, 1e7)[:2], torch.tensor([3.0, 3.0], dtype=torch.float64), atol=1e-5, rtol=0)
    assert soft_min(values, 1.0)[2].isnan()
    assert_close(soft_min(torch.tensor([0.0, 0.0]), 2.0), torch.tensor(0.0))


def test_two_group_bandit_with_an_analytic_answer():
    # Two arms, uniform reference; group a gets 1 from the first, b gets 2 from the second. F is level at p = 2/3, where the tilted policy
    # p / (1 - p) = exp((w_a - 2 w_b) / beta) gives w_a = (2 + beta log 2) / 3.
    beta, s = 0.5, MaxMin(["a", "b"], rate=0.2)
    for _ in range(300):
        a, b = s.weights
        p = 1 / (1 + math.exp(-(a - 2 * b) / beta))  # the policy that is optimal for the signal
        s.update({"a": p, "b": 2 * (1 - p)})
    assert p == pytest.approx(2 / 3, abs=1e-6)
    assert s.weights[0] == pytest.approx((2 + beta * math.log(2)) / 3, abs=1e-6)


def test_the_argmin_chatters_where_exponentiated_weights_settle():
    hard, flips = MaxMin(["a", "b"], "argmin"), []
    for _ in range(20):
        a, b = hard.weights
        p = 1 / (1 + math.exp(-(a - 2 * b) / 0.5))
        flips.append(hard.update([p, 2 * (1 - p)]))
    assert len(set(flips[-2:])) == 2


def test_hand_computed_damping():
    s = MaxMin(["a", "b"], rate=math.log(2), proportional=math.log(2))
    assert s.update([1.0, 0.0]) == pytest.approx((1 / 5, 4 / 5))  # a's weight is halved, and halved again for now
    assert s.update([0.0, 0.0]) == pytest.approx((1 / 3, 2 / 3))  # the second half leaves no trace
    assert s.update([NAN, NAN]) == pytest.approx((1 / 3, 2 / 3))


def test_damping_stops_the_swings_of_a_policy_that_follows_with_a_delay():
    def swing(**options):
        s, p, path = MaxMin(["a", "b"], **options), 0.5, []
        for _ in range(150):
            a, b = s.weights
            p += (1 / (1 + math.exp(-(a - 2 * b) / 0.1)) - p) / 30  # a thirtieth of the way to the bandit's best policy
            s.update([p, 2 * (1 - p)])
            path.append(s.weights[0])
        return max(path[75:]) - min(path[75:])

    assert swing(rate=0.3) > 0.1
    assert swing(rate=0.3, proportional=1.0) < 0.001


def test_a_group_without_a_value_keeps_its_weight():
    s = MaxMin("abc", rate=1.0, floor=0.0)
    s.update([1.0, NAN, 0.0])
    assert s.weights[1] == pytest.approx(1 / 3)
    assert s.weights[2] / s.weights[0] == pytest.approx(math.e)
    before = s.weights
    assert s.update([NAN, NAN, NAN]) == before
    hard = MaxMin("abc", "argmin")
    hard.update([0.0, 1.0, 2.0])
    assert hard.update({"b": 1.0, "c": 0.5}) == (0.0, 0.0, 1.0)


def test_the_floor_lets_a_group_recover():
    s = MaxMin(["a", "b"], rate=1.0, floor=0.01)
    for _ in range(1000):
        s.update([5.0, 0.0])
    assert s.weights == pytest.approx((0.01, 0.99))
    for _ in range(3):
        s.update([0.0, 5.0])
    assert s.weights[0] > 0.98


def test_observe_takes_each_groups_mean_over_its_rows():
    s, same = MaxMin(["a", "b"]), MaxMin(["a", "b"])
    s.observe(torch.tensor([[1.0, NAN], [3.0, 0.5]]))
    same.update([2.0, 0.5])
    assert s.weights == same.weights
    assert s.metrics() == {"group_weight/a": s.weights[0], "group_weight/b": s.weights[1]}


@settings(deadline=None)
@given(st.lists(means, min_size=1, max_size=6), st.integers(0, 6))
def test_restored_from_json_it_goes_on_bit_by_bit_the_same(batches, cut):
    straight, first, second = (MaxMin("abc", rate=0.3) for _ in range(3))
    for values in batches:
        straight.update(values)
    for values in batches[:cut]:
        first.update(values)
    second.restore(json.loads(json.dumps(first.state())))
    for values in batches[cut:]:
        second.update(values)
    assert second.weights == straight.weights
    assert second.average_weights == straight.average_weights
    assert second.state() == straight.state()


def test_extreme_values_do_not_break_the_weights():
    s = MaxMin(["a", "b"], rate=1e3, floor=0.0)
    s.update([0.0, 1e6])
    s.update([1e6, 0.0])
    assert s.weights == (0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": ["a"]}, "at least two groups"),
        ({"groups": ["a", "a"]}, "different names"),
        ({"mode": "argmn"}, "did you mean 'argmin'"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"floor": 0.5}, "floor must be"),
        ({"proportional": -1.0}, "proportional must be at least 0"),
        ({"anchor": [0.0]}, "anchor must be 2 finite numbers"),
        ({"scale": [1.0, 0.0]}, "scale must be positive"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        MaxMin(**({"groups": ["a", "b"]} | arguments))


def test_refuses_bad_means_and_a_foreign_checkpoint():
    s = MaxMin(["young", "old"])
    with pytest.raises(InputError, match="group 'old' is infinite"):
        s.update([0.0, -math.inf])
    with pytest.raises(InputError, match="one mean per group"):
        s.update([0.0])
    with pytest.raises(InputError, match="did you mean 'young'"):
        s.update({"yong": 1.0})
    with pytest.raises(InputError, match="no group has a value"):
        s.worst([NAN, NAN])
    with pytest.raises(InputError, match="for 2 rewards"):
        s(torch.zeros(3))
    with pytest.raises(InputError, match="checkpoint is for the groups a, b"):
        s.restore(MaxMin(["a", "b"]).state())
    with pytest.raises(InputError, match="temperature"):
        soft_min(torch.zeros(2), 0.0)
