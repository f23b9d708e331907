import matplotlib.image
import numpy as np
import pytest

from frontier.errors import InputError
from moalign.constraint_history import Moment
from moalign.constraint_report import ConstraintReport
from moalign.scalarize.lagrangian import Constraint

CONSTRAINTS = [Constraint("safe", "above", 0.0), Constraint("brief", "below", 3.0), Constraint("calm", "equal", 1.0)]


def make(count, steps=30, cap=2.0, means=True):
    constraints = CONSTRAINTS[:count]
    rewards = np.random.default_rng(0).normal(1.0, 1.0, (40, 3))
    history = {
        f"{c.objective}_{c.kind}": [Moment(10 * i, 1 + i / 30, i / 15 if means else None) for i in range(steps)]
        for c in constraints
    }
    return ConstraintReport.measure(
        constraints, rewards, ["safe", "brief", "calm"], history=history, cap=cap, tolerance=0.5
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_writes_a_row_of_panels_per_constraint(tmp_path, count):
    path = make(count).plot(tmp_path / "new" / "constraints.png", dpi=60)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [p.name for p in path.parent.iterdir()] == ["constraints.png"]
    height, width, _ = matplotlib.image.imread(path).shape
    assert width == 660
    assert height == pytest.approx(60 * (0.75 + 2.6 * count), abs=2)


def test_draws_what_it_is_given(tmp_path):
    def picture(name, **given):
        return make(1, **given).plot(tmp_path / name, dpi=60).read_bytes()

    plain = picture("a.png")
    assert picture("b.png") == plain
    assert picture("c.png", cap=None) != plain
    assert picture("d.png", means=False) != plain


def test_a_cap_far_away_does_not_press_the_path_flat(tmp_path):
    far, none = (make(1, cap=cap).plot(tmp_path / f"{cap}.png", dpi=60).read_bytes() for cap in (1e6, float("inf")))
    assert far == none


def test_a_single_step(tmp_path):
    assert make(2, steps=1, cap=None).plot(tmp_path / "one.png", dpi=60).exists()


def test_refuses_a_report_without_a_history(tmp_path):
    report = ConstraintReport.measure(CONSTRAINTS[:1], [[1.0], [2.0]], ["safe"])
    with pytest.raises(InputError, match="give history=read_history"):
        report.plot(tmp_path / "none.png")
    assert list(tmp_path.iterdir()) == []
