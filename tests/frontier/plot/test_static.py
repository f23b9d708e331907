import sys

import matplotlib.image
import pytest

from frontier import InputError, plot_front


@pytest.mark.parametrize("k", [2, 3, 4])
def test_writes_a_picture(make_front, tmp_path, k):
    path = plot_front(make_front(k, 2), tmp_path / "new" / "front.png", picks={"knee": 1}, dpi=60)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [p.name for p in path.parent.iterdir()] == ["front.png"]
    height, width, _ = matplotlib.image.imread(path).shape
    assert 300 <= height <= 1200
    assert 500 <= width <= 1200


def test_several_fronts_and_no_picks(make_front, tmp_path):
    path = plot_front(
        {"steerable": make_front(2), "soups": make_front(2, best=0.5)}, tmp_path / "f.png", title="A & B", dpi=60
    )
    one = plot_front(make_front(2), tmp_path / "g.png", dpi=60)
    assert path.read_bytes() != one.read_bytes()


def test_the_same_front_gives_the_same_picture(make_front, tmp_path):
    first = plot_front(make_front(2), tmp_path / "a.png", dpi=60)
    assert first.read_bytes() == plot_front(make_front(2), tmp_path / "b.png", dpi=60).read_bytes()


def test_more_objectives_than_a_matrix_shows(tmp_path):
    from frontier import FrontPoint, ParetoFront

    names = tuple(f"o{i}" for i in range(8))
    front = ParetoFront(names, tuple(FrontPoint([float(i == k) for i in range(8)], [0.1] * 8, 8) for k in range(8)))
    assert plot_front(front, tmp_path / "f.png", dpi=60).exists()


def test_touches_no_global_state(make_front, tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    plot_front(make_front(2), tmp_path / "f.png", dpi=60)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_a_refusal_leaves_nothing(make_front, tmp_path):
    with pytest.raises(InputError):
        plot_front(make_front(2), tmp_path / "f.png", picks={"x": 99})
    assert list(tmp_path.iterdir()) == []
