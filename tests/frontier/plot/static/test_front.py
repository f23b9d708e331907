import dataclasses
import sys
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from frontier import FrontPoint, InputError, ParetoFront, plot_front
from frontier.plot.static.front import draw_front, region_notes
from frontier.plot.view import view_of


@pytest.mark.parametrize("k", [2, 3, 4])
def test_writes_a_picture(make_front, tmp_path, k):
    path = plot_front(make_front(k, 2), tmp_path / "new" / "front.png", picks={"knee": 1}, dpi=60)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [p.name for p in path.parent.iterdir()] == ["front.png"]
    height, width, _ = matplotlib.image.imread(path).shape
    assert 300 <= height <= 1200
    assert 500 <= width <= 1200


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_vectors(make_front, tmp_path, suffix):
    content = plot_front(make_front(2), tmp_path / f"front.{suffix}").read_bytes()
    if suffix == "svg":
        assert b">(raw units; higher is better)</text>" in content.replace(b"\n", b"")


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
    names = tuple(f"o{i}" for i in range(8))
    front = ParetoFront(names, tuple(FrontPoint([float(i == k) for i in range(8)], [0.1] * 8, 8) for k in range(8)))
    assert plot_front(front, tmp_path / "f.png", dpi=60).exists()


def test_touches_no_global_state(make_front, tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    plot_front(make_front(2), tmp_path / "f.png", dpi=60)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_the_iso_line_touches_the_best_point(make_front):
    front = make_front(2)
    figure = draw_front(view_of(front), "", {"helpful": 3, "brief": 1})
    (line,) = [line for line in figure.axes[1].lines if type(line).__name__ == "AxLine"]
    best = front.rewards[np.argmax(front.rewards @ [0.75, 0.25])]
    (x0, y0), (x1, y1) = line.get_xy1(), line.get_xy2()
    assert (x0, y0) == pytest.approx(best)
    assert 0.75 * (x1 - x0) + 0.25 * (y1 - y0) == pytest.approx(0)
    low, high = figure.axes[1].get_xlim()
    assert low > -1  # the line runs on, the panel doesn't
    assert high < 2


def test_ellipses_follow_what_is_known(make_front):
    front = make_front(2)  # its last point has no standard errors
    view = view_of(front)
    assert len(draw_front(view, "").axes[1].patches) == len(front.points) - 1
    (note,) = region_notes(view)[1:]
    assert "upright" in note
    assert "None where" in note
    bare = dataclasses.replace(front, points=front.points[-1:])
    assert len(draw_front(view_of(bare), "").axes[0].patches) == 0
    assert "not known" in region_notes(view_of(bare))[0]


def test_ellipses_lean_when_rewards_per_prompt_were_kept(with_prompts):
    front = with_prompts(correlation=-0.9)
    patch = draw_front(view_of(front), "").axes[1].patches[0]
    x, y = (patch.get_xy() - patch.get_xy().mean(axis=0)).T
    assert (x * y).sum() < 0
    assert "from the covariance over prompts" in region_notes(view_of(front))[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"picks": {"x": 99}}, "pick 'x'"),
        ({"iso": {"helpfull": 1}}, "did you mean 'helpful'"),
        ({"iso": {"helpful": 0}}, "a weight above 0"),
        ({"iso": {}}, "a weight above 0"),
    ],
)
def test_a_refusal_leaves_nothing(make_front, tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        plot_front(make_front(2), tmp_path / "f.png", **given)
    assert list(tmp_path.iterdir()) == []


def test_no_iso_line_beyond_two_objectives(make_front, tmp_path):
    with pytest.raises(InputError, match="needs two objectives, found 3; mark a point with picks"):
        plot_front(make_front(3), tmp_path / "f.png", iso={"helpful": 1})


def test_control_characters_do_not_break_an_svg(make_front, tmp_path):
    path = plot_front({"a\x01": make_front(2), "b": make_front(2)}, tmp_path / "f.svg", title="one\x0btwo\x00")
    assert "one two" in "".join(ElementTree.parse(path).getroot().itertext())
