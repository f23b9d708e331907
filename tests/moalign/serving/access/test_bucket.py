import pytest
from hypothesis import given
from hypothesis import strategies as st

from moalign.serving.access.bucket import Bucket


def test_worked_out_by_hand():
    bucket = Bucket(60)
    assert bucket.wait(6, 6, 0) == 0
    bucket.take(6, 6, 0)
    assert bucket.wait(1, 6, 0) == 10  # 6 a minute are one in 10 seconds
    assert bucket.wait(1, 6, 4) == pytest.approx(6)
    assert bucket.wait(1, 6, 10) == pytest.approx(0)
    assert bucket.wait(2, 6, 10) == pytest.approx(10)
    bucket.give_back(4)
    assert bucket.wait(5, 6, 10) == pytest.approx(0)


def test_a_limit_that_changes():
    bucket = Bucket(60)
    bucket.take(10, 10, 0)
    assert bucket.wait(1, 20, 0) == 0
    assert bucket.wait(1, 5, 0) == 72  # 6 too many, at 5 a minute


def test_nothing_is_saved_beyond_the_limit():
    bucket = Bucket(60)
    bucket.give_back(100)
    assert bucket.wait(5, 5, 10_000) == 0
    bucket.take(5, 5, 10_000)
    assert bucket.wait(1, 5, 10_000) == 12


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10)), max_size=60))
def test_no_minute_sees_more_than_a_full_bucket_and_what_flowed_in(steps):
    bucket, now, taken = Bucket(60), 0.0, []
    for pause, amount in steps:
        now += pause
        wait = bucket.wait(amount, 10, now)
        if wait == 0:
            bucket.take(amount, 10, now)
            taken.append((now, amount))
        else:
            assert bucket.wait(amount, 10, now + wait + 1e-6) == 0
    for begin, _ in taken:
        assert sum(amount for at, amount in taken if begin <= at <= begin + 60) <= 20 + 1e-6
