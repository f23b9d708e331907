import threading

import matplotlib
import pytest
from matplotlib.figure import Figure

from frontier import InputError
from frontier.plot.static.canvas import picture_style, write_picture

STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF", ".PNG": b"\x89PNG"}


def draw():
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "r$_1$ & <b>")
    figure.text(0.1, 0.1, "one $ and another $")
    return figure


@pytest.mark.parametrize("suffix", STARTS)
def test_suffix_decides_the_format(tmp_path, suffix):
    path = write_picture(draw, tmp_path / "new" / f"a{suffix}", 50)
    assert path.read_bytes().startswith(STARTS[suffix])
    assert [p.name for p in path.parent.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_equal_pictures_have_equal_bytes(tmp_path, suffix):
    one, two = (write_picture(draw, tmp_path / f"{i}{suffix}", 50).read_bytes() for i in range(2))
    assert one == two


def test_text_of_vectors_stays_text(tmp_path):
    text = write_picture(draw, tmp_path / "a.svg", 50).read_text()
    assert "r$_1$ &amp; &lt;b&gt;" in text  # no formula, no paths
    assert "one $ and another $" in text
    assert b"/Type /Font" in write_picture(draw, tmp_path / "a.pdf", 50).read_bytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", "did you mean '.png'"),
        ("a.pgn", "did you mean '.png'"),
        ("a.webp", r"Valid: \.png, \.svg, \.pdf"),
        ("a", r"suffix of a: .* Valid: \.png"),
    ],
)
def test_refuses_other_suffixes_before_it_draws(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        write_picture(lambda: pytest.fail("was drawn"), tmp_path / name, 50)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dpi", [0, -5, 1e9, 150.5, True, "150"])
def test_refuses_resolutions_that_are_none(tmp_path, dpi):
    with pytest.raises(InputError, match="dpi must be a whole number from 1 to 1200"):
        write_picture(draw, tmp_path / "a.png", dpi)


def test_a_failure_leaves_the_old_picture(tmp_path):
    path = write_picture(draw, tmp_path / "a.png", 50)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_picture(lambda: 1 / 0, path, 50)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_callers_style_neither_matters_nor_is_touched(tmp_path):
    first = write_picture(draw, tmp_path / "a.png", 50).read_bytes()
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red", "text.color": "green"}):
        second = write_picture(draw, tmp_path / "b.png", 50).read_bytes()
        assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["text.parse_math"]) == (30, True)
    assert first == second


def test_threads_take_turns():
    seen = []

    def other():
        with picture_style():
            seen.append("other")

    with picture_style():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        seen.append("own")
    thread.join()
    assert seen == ["own", "other"]
