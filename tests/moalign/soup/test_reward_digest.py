import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from moalign.cli.sources import load_reward
from moalign.soup.reward_digest import reward_digest
from reward_heads import CombinedReward, FunctionReward, rules
from reward_heads.cache import CachedReward

FILE = '''
import helpers
from reward_heads import FunctionReward

KIND = {"please", "thanks", "sorry", "glad"}  # a set of texts has another order in every process
WORTH = 2.0


def kind(prompt, completion):
    """How kind."""
    return WORTH * sum(word in KIND for word in completion.split()) + helpers.bonus(completion)


reward = FunctionReward({"kind": kind, "brief": lambda prompt, completion: -float(len(completion))})
'''
HELPERS = "def bonus(text):\n    return 0.5 * text.count('!')\n\n\ndef unused():\n    return 1\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the reward file and what it imports, and gives the digest of the reward."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file that changes within a second would be read from it

    def digest(file=FILE, helpers=HELPERS):
        (tmp_path / "helpers.py").write_text(helpers)
        (tmp_path / "own.py").write_text(file)
        sys.modules.pop("helpers", None)
        return reward_digest(load_reward(f"{tmp_path}/own.py:reward"))

    return digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WORTH = 2.0", "WORTH = 3.0"),
        ('"glad"', '"happy"'),
        ("-float(len(completion))", "-float(len(prompt))"),
        ("WORTH * sum", "WORTH + sum"),
        ("0.5 * text", "0.6 * text"),
    ],
)
def test_another_constant_or_another_formula_is_another_reward(write, old, new):
    assert write() == write()
    assert write(FILE.replace(old, new), HELPERS.replace(old, new)) != write()


def test_what_a_reward_does_not_use_is_no_part_of_it(write):
    moved = FILE.replace("KIND =", "# A comment.\nOTHER = 1\nKIND =")
    assert write(moved, HELPERS.replace("return 1", "return 2")) == write()


def test_the_same_in_every_process(write, tmp_path):
    expected = write()
    program = "import sys; from moalign.cli.sources import load_reward; from moalign.soup.reward_digest import *; print(reward_digest(load_reward(sys.argv[1])))"
    asked = [sys.executable, "-c", program, f"{tmp_path}/own.py:reward"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == expected


def test_settings_inside_a_combined_reward():
    def made(worst, names=("a", "b")):
        sentiment = rules.Sentiment({"good": 1.0, "bad": worst})
        return CombinedReward([FunctionReward({names[0]: sentiment}), FunctionReward({names[1]: rules.brevity})])

    first = reward_digest(made(-1.0))
    assert first == reward_digest(made(-1.0))
    assert first != reward_digest(made(-2.0))
    assert first != reward_digest(made(-1.0, ("a", "c")))


def test_a_changed_weight_is_another_reward():
    torch.manual_seed(0)
    model = nn.Linear(300, 2)
    reward = SimpleNamespace(objectives=("a", "b"), model=model)
    before = reward_digest(reward)
    assert reward_digest(SimpleNamespace(objectives=("a", "b"), model=model)) == before
    model.weight.data[1, 17] += 1e-6
    assert reward_digest(reward) != before


def test_what_a_cache_holds_is_no_part_of_a_reward():
    inner = FunctionReward({"a": lambda prompt, completion: float(len(completion)), "b": rules.brevity})
    cached = CachedReward(inner)
    before = reward_digest(cached)
    cached.score(["p", "p"], ["x", "x"])
    assert reward_digest(cached) == before
    assert reward_digest(CachedReward(inner, max_entries=5)) != before


def test_a_reward_that_holds_itself():
    reward = SimpleNamespace(objectives=("a",))
    reward.own = reward
    assert reward_digest(reward) != reward_digest(SimpleNamespace(objectives=("a",), own=None))
