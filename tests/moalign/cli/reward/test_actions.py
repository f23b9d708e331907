import importlib

import pytest

from moalign.cli.reward import ACTIONS


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_help_page(moalign, action):
    code, out, _ = moalign("reward", action, "--help")
    assert code == 0
    assert f"usage: moalign reward {action}" in out
    assert importlib.import_module(f"moalign.cli.reward.{action}").command().name == f"reward {action}"


def test_without_an_action_all_are_listed(moalign):
    assert moalign("reward")[0] == 2
    code, out, _ = moalign("reward", "--help")
    assert code == 0
    for action, summary in ACTIONS.items():
        assert action in out
        assert summary in out


def test_an_unknown_action_is_refused_with_the_nearest(refused):
    assert "unknown action of moalign reward 'evalute': did you mean 'evaluate'" in refused("reward", "evalute")


def test_options_without_an_action_are_those_of_train(refused):
    assert "train_data" in refused("reward", "--model", "somewhere")
