import doctest
import subprocess
import sys

import pytest

import frontier
import frontier.errors
import frontier.front
from frontier.measure import dominance, indicators


def test_the_shortest_program_runs():
    assert doctest.testmod(frontier).attempted > 0
    assert doctest.testmod(frontier).failed == 0


@pytest.mark.parametrize("module", [frontier.errors, frontier.front, dominance, indicators])
def test_examples_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_hypervolume_examples_run():
    # `frontier.measure.hypervolume` as an attribute is the function; the module is reached by its name.
    assert doctest.testmod(sys.modules["frontier.measure.hypervolume"]).failed == 0


@pytest.mark.parametrize("name", frontier.__all__)
def test_every_name_is_there(name):
    assert getattr(frontier, name) is not None
    assert name in dir(frontier)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="paretofront"):
        frontier.paretofront


def test_import_is_light():
    heavy = ("torch", "matplotlib", "plotly", "pandas", "scipy", "numpy", "moocore")
    code = f"import sys, frontier; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
