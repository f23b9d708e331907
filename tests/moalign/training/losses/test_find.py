import pytest

from frontier.errors import InputError
from moalign.training.losses import (
    LOSSES,
    AlphaDivergence,
    DiscoPop,
    ForwardKL,
    Hinge,
    Ipo,
    Robust,
    Sigmoid,
    SimPo,
    find_loss,
)


def test_every_name_is_its_loss():
    assert {name: find_loss(name).name for name in LOSSES} == {name: name for name in LOSSES}
    assert {type(find_loss(name)) for name in LOSSES} == set(LOSSES.values())


def test_options_reach_the_loss():
    assert find_loss("robust", label_smoothing=0.2) == Robust(label_smoothing=0.2)
    assert find_loss("discopop", tau=0.2) == DiscoPop(tau=0.2)
    assert find_loss("simpo", gamma=1.2) == SimPo(gamma=1.2)
    assert find_loss("ipo", per_token=False) == Ipo(per_token=False)
    assert find_loss("hinge", divergence="forward_kl") == Hinge(ForwardKL())
    assert find_loss("hinge", divergence=ForwardKL()) == Hinge(ForwardKL())
    assert find_loss("sigmoid", divergence="alpha_divergence", alpha=0.2) == Sigmoid(AlphaDivergence(0.2))


def test_suggests_the_nearest_name():
    with pytest.raises(InputError, match="unknown loss 'sigmoyd': did you mean 'sigmoid'"):
        find_loss("sigmoyd")
    with pytest.raises(InputError, match="unknown option of loss 'robust' 'label_smothing': did you mean 'label_smoo"):
        find_loss("robust", label_smothing=0.1)
    with pytest.raises(InputError, match="unknown divergence 'js': "):
        find_loss("sigmoid", divergence="js")
    with pytest.raises(InputError, match="unknown divergence '3'"):
        find_loss("sigmoid", divergence=3)


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "sft"])
def test_says_why_some_of_trl_s_names_are_not_here(name):
    with pytest.raises(
        InputError, match=rf"no loss '{name}' here: it (sorts the batch|compares nothing).*Valid: sigmoid"
    ):
        find_loss(name)


def test_refuses_options_without_meaning():
    with pytest.raises(InputError, match="loss 'nca_pair' has no options, found 'tau'"):
        find_loss("nca_pair", tau=0.1)
    for name in ("nca_pair", "simpo"):
        with pytest.raises(InputError, match=f"loss '{name}' has no form for other divergences"):
            find_loss(name, divergence="forward_kl")
    with pytest.raises(InputError, match="alpha goes with divergence"):
        find_loss("sigmoid", alpha=0.3)
    with pytest.raises(InputError, match="alpha goes with divergence"):
        find_loss("sigmoid", divergence=AlphaDivergence(), alpha=0.3)
    with pytest.raises(InputError, match="only alpha_divergence has an option"):
        find_loss("sigmoid", divergence="forward_kl", alpha=0.3)
    with pytest.raises(InputError, match=r"label_smoothing must be in"):
        find_loss("cdpo", label_smoothing=0.7)
