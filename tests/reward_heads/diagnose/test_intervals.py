import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from frontier.errors import InputError
from reward_heads.diagnose import Resampling, wilson
from reward_heads.diagnose.intervals import bootstrap, cluster_ids, mean_interval


@given(st.integers(1, 200), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(n, data, level):
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_clusters_get_numbers():
    assert cluster_ids(["b", "a", "b"], 3).tolist() == [0, 1, 0]
    assert cluster_ids(None, 3).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="found 1 clusters and 2 rows"):
        cluster_ids(["a"], 2)


def test_mean_interval_is_the_bootstrap_of_the_mean():
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(size=300), np.arange(300) // 3
    fast = mean_interval(values, clusters)
    low, high = bootstrap(lambda rows: float(values[rows].mean()), clusters)
    assert (fast.low, fast.high) == pytest.approx((float(low), float(high)))
    # The standard error of the mean of 100 clusters' means, by hand.
    error = values.reshape(100, 3).mean(1).std(ddof=1) / 10
    assert fast.high - fast.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_covers_at_its_nominal_rate_with_clusters():
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(200):
        common = np.repeat(rng.normal(size=60), 5)
        found = mean_interval(common + rng.normal(size=300), np.arange(300) // 5, Resampling(resamples=200, seed=seed))
        inside += found.low <= 0 <= found.high
    assert 180 <= inside <= 199


def test_one_cluster_has_no_interval():
    found = mean_interval(np.ones(4), np.zeros(4, dtype=np.int64))
    assert found.value == 1
    assert np.isnan(found.low)
