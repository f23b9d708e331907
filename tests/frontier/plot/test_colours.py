import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from frontier.plot.colours import BASE, SCALE, SERIES, UNKNOWN, colours_of, mix, on_scale, triangle_cells

# What is left of linear RGB without one kind of cone (Machado et al., 2009, doi.org/10.1109/TVCG.2009.113, severity 1), and on a grey printer.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "grey": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour, sight):
    """CIELAB of a colour as someone sees it; distances of about 2 are just noticeable."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
    xyz = TO_XYZ @ np.clip(SEEN[sight] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("sight", "least"), [*((sight, 20) for sight in list(SEEN)[:4]), ("grey", 10)])
@pytest.mark.parametrize("palette", [SERIES, BASE])
def test_palettes_stay_apart_for_all_eyes_and_in_grey(palette, sight, least):
    for a, b in itertools.combinations(palette, 2):
        assert np.linalg.norm(lab(a, sight) - lab(b, sight)) >= least, (a, b)


def test_the_simulation_tells_red_from_green_only_with_all_cones():
    red, green = "#b06050", "#80783f"
    with_cones, without = (np.linalg.norm(lab(red, s) - lab(green, s)) for s in ("all cones", "deuteranopia"))
    assert with_cones > 30 > 15 > without


@pytest.mark.parametrize("sight", SEEN)
def test_scale_keeps_its_order_for_all_eyes(sight):
    rising = [lab(on_scale(x), sight)[0] for x in np.linspace(0, 1, 11)]
    assert all(b - a > 1 for a, b in itertools.pairwise(rising))


def test_series_are_seen_on_white():
    assert all(lab("#ffffff", sight)[0] - lab(colour, sight)[0] > 15 for colour in SERIES for sight in SEEN)


def lightness(colour):
    """Relative luminance, sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("k", range(3))
def test_a_vertex_has_its_own_hue(k):
    assert mix(BASE, np.eye(3)[k]) == BASE[k]


def test_mixing_depends_on_shares_only():
    assert mix(BASE, [1, 2, 1]) == mix(BASE, [0.25, 0.5, 0.25])
    assert mix(["#336699"] * 2, [0.3, 0.7]) == "#336699"
    assert mix(["#000000", "#ffffff"], [0.5, 0.5]) == "#636363"  # OKLab's middle grey


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_mixtures_are_colours_of_lightness_in_between(shares):
    colour = mix(BASE, shares)
    assert len(colour) == 7
    assert min(map(lightness, BASE)) - 0.01 <= lightness(colour) <= max(map(lightness, BASE)) + 0.01


def test_base_hues_stay_apart_in_grey():
    for a, b in itertools.combinations(BASE, 2):
        light, dark = sorted([lightness(a), lightness(b)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 1.5


def test_scale_is_plasma_and_rises_in_lightness():
    plasma = colormaps["plasma"]
    for colour in SCALE:
        assert min(np.abs(np.subtract(to_rgb(colour), to_rgb(to_hex(plasma(i)))).max()) for i in range(256)) < 0.02
    rising = [lightness(on_scale(x)) for x in np.linspace(0, 1, 50)]
    assert all(a <= b + 0.004 for a, b in itertools.pairwise(rising))
    assert (on_scale(0), on_scale(1), on_scale(7)) == (SCALE[0], SCALE[-1], SCALE[-1])


def test_colours_of_rows():
    two = np.array([[0.0, 1.0], [1.0, 0.0], [np.nan, np.nan], [0.0, 0.0]])
    assert colours_of(two, 0) == [SCALE[0], SCALE[-1], UNKNOWN, UNKNOWN]
    assert colours_of(two[:2], 1) == [SCALE[-1], SCALE[0]]
    assert colours_of(np.array([[0.0, 0.0, 2.0]]), 0) == [BASE[2]]


def test_triangle_key_fills_the_triangle():
    cells = triangle_cells(6)
    assert len(cells) == 36
    area = sum(abs(np.linalg.det(np.c_[c, np.ones(3)])) / 2 for c, _ in cells)
    assert area == pytest.approx(np.sqrt(3) / 4)
    corner = min(cells, key=lambda cell: np.linalg.norm(cell[0].mean(axis=0)))  # objective 1 is at (0, 0)
    assert min(BASE, key=lambda b: np.abs(np.subtract(to_rgb(b), to_rgb(corner[1]))).sum()) == BASE[0]
