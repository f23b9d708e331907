import math

import pytest

from benchmarks.agreement import worst_of
from benchmarks.report import at_most


@pytest.mark.parametrize("errors", [[math.nan, 0.1], [0.1, math.nan], [0.1, math.inf], []])
def test_what_is_not_finite_or_not_there_is_the_worst(errors):
    assert worst_of(errors) == math.inf
    assert not at_most(1e30, worst_of(errors))["holds"]


def test_the_largest():
    assert worst_of(x for x in (0.1, 0.3, 0.2)) == 0.3
