import doctest
import subprocess
import sys

import pytest

import moalign.scalarize


def test_every_public_name_loads():
    for name in moalign.scalarize.__all__:
        assert getattr(moalign.scalarize, name).__name__ == name
    assert set(moalign.scalarize.__all__) <= set(dir(moalign.scalarize))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Liner"):
        moalign.scalarize.Liner


@pytest.mark.parametrize("module", ["moalign.scalarize", "moalign.scalarize.group_normalisation"])
def test_docstring_examples(module):
    __import__(module)
    result = doctest.testmod(sys.modules[module])
    assert result.attempted
    assert not result.failed


def test_importing_the_package_loads_no_torch():
    code = "import sys, moalign.scalarize; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_torchjd_is_loaded_on_first_use_only():
    code = "import sys, moalign.scalarize.gradient_aggregation; sys.exit('torchjd' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
