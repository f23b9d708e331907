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
    reserved = bucket.reserve(1, 6, 10)
    assert bucket.wait(1, 6, 10) == pytest.approx(10)
    bucket.settle(reserved, 0, 6, 10)
    assert bucket.wait(1, 6, 10) == pytest.approx(0)


def test_a_limit_that_changes():
    bucket = Bucket(60)
    bucket.take(10, 10, 0)
    assert bucket.wait(1, 20, 0) == 0
    assert bucket.wait(1, 5, 0) == 72  # 6 too many, at 5 a minute


def test_nothing_is_saved_beyond_the_limit():
    bucket = Bucket(60)
    bucket.settle(bucket.reserve(5, 5, 0), 0, 5, 10_000)
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


def test_what_was_forgotten_does_not_come_back():
    bucket = Bucket(60)
    first = bucket.reserve(1000, 1000, 0)
    bucket.take(1000, 1000, 60)  # of the first nothing is left
    bucket.settle(first, 10, 1000, 60)
    assert bucket.wait(1000, 1000, 60) == 60


def test_of_a_part_that_was_forgotten_the_rest_comes_back():
    bucket = Bucket(60)
    first = bucket.reserve(100, 100, 0)
    bucket.take(60, 100, 36)  # 60 of 100 were forgotten, so this fits
    bucket.settle(first, 30, 100, 36)
    # With 30 instead of 100 the bucket was empty after 18 seconds, and holds the 60 alone.
    assert bucket.wait(40, 100, 36) == 0
    assert bucket.wait(50, 100, 36) == pytest.approx(6)


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 10), st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=40
    )
)
def test_settled_reservations_never_leave_less_than_what_was_needed_from_the_start(steps):
    """Against a bucket that knew all needs beforehand."""
    bucket, knowing, now, open_ones = Bucket(60), Bucket(60), 0.0, []
    for pause, amount, part, lasts in steps:
        now += pause
        if bucket.wait(amount, 10, now) == 0:
            open_ones.append([bucket.reserve(amount, 10, now), amount * part, lasts])
            knowing.take(amount * part, 10, now)
        for one in [one for one in open_ones if one[2] <= 0]:
            bucket.settle(one[0], one[1], 10, now)
            open_ones.remove(one)
        for one in open_ones:
            one[2] -= 1
        assert bucket.wait(10, 10, now) >= knowing.wait(10, 10, now) - 1e-6
    for reserved, needed, _ in open_ones:
        bucket.settle(reserved, needed, 10, now)
    assert bucket.wait(10, 10, now) >= knowing.wait(10, 10, now) - 1e-6
