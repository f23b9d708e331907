import doctest
import subprocess
import sys

import pytest

import moalign.training.losses as losses


def test_every_public_name_loads():
    for name in losses.__all__:
        assert getattr(losses, name) is not None
    assert set(losses.__all__) <= set(dir(losses))
    assert set(losses.__all__) == set(losses._HOME)


def test_every_loss_and_divergence_is_public():
    for kind in (*losses.LOSSES.values(), *losses.DIVERGENCES.values()):
        assert getattr(losses, kind.__name__) is kind


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Sigmoyd"):
        losses.Sigmoyd


@pytest.mark.parametrize("module", ["", ".pair_scores", ".find"])
def test_docstring_examples(module):
    name = f"moalign.training.losses{module}"
    __import__(name)
    result = doctest.testmod(sys.modules[name])
    assert result.attempted
    assert not result.failed


def test_importing_the_package_loads_no_torch():
    code = "import sys, moalign.training.losses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
