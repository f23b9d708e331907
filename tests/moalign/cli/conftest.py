"""Bundles, prompts and rewards for the command line, all tiny."""

import json
import shutil
from pathlib import Path

import pytest

from moalign.cli import main

REWARD = '''
"""Rewards on the letters of the tiny model's vocabulary."""
from reward_heads import FunctionReward

reward = FunctionReward(
    {
        "helpful": lambda prompt, completion: float(completion.split().count("a") + completion.split().count("good")),
        "brief": lambda prompt, completion: -float(len(completion.split())),
        "warm": lambda prompt, completion: float(sum(w < "k" for w in completion.split())),
    }
)


def make():
    return reward


def not_a_reward(prompt):
    return 0.0


number = 3
'''


@pytest.fixture(scope="session")
def reward_file(tmp_path_factory):
    """`FILE.py:reward` with the objectives helpful, brief, warm."""
    path = tmp_path_factory.mktemp("rewards") / "letters.py"
    path.write_text(REWARD)
    return path


@pytest.fixture(scope="session")
def reward(reward_file):
    return f"{reward_file}:reward"


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [{"prompt": f"{a} {b}"} for a in "abcd" for b in "xyz"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def _saved_bundle(tmp_path_factory, tiny_base, plain_adapters):
    """A base and a bundle beside each other, as a run leaves them."""
    from moalign.policy import SteerablePolicy

    root = tmp_path_factory.mktemp("saved")
    shutil.copytree(tiny_base, root / "base")
    normalizer = {
        "objectives": ["helpful", "brief", "warm"],
        "location": [0.1, -5.0, 0.5],
        "scale": [1.0, 2.0, 3.0],
        "n": 8,
        "source": "a test",
    }
    policy = SteerablePolicy.from_pretrained(root / "base", adapters=plain_adapters)
    policy.normalizer = normalizer
    policy.training = {"method": "clp"}
    policy.save_pretrained(root / "bundle")
    return root


@pytest.fixture
def bundle(_saved_bundle, tmp_path) -> Path:
    """A bundle of this test's own, its base beside it."""
    shutil.copytree(_saved_bundle, tmp_path / "saved")
    return tmp_path / "saved" / "bundle"


@pytest.fixture
def front_of_three(tmp_path):
    """A folder with a measured front of three points over helpful and brief."""
    from frontier.front import FrontPoint, ParetoFront

    values = [(0.0, (0.1, 1.0)), (0.5, (0.8, 0.7)), (1.0, (1.0, 0.0))]
    points = [FrontPoint(r, (0.02, 0.03), 64, {"weights": {"helpful": w, "brief": 1 - w}}, kl=0.5) for w, r in values]
    ParetoFront(("helpful", "brief"), tuple(points)).save(tmp_path / "measured" / "front.json")
    return tmp_path / "measured"


@pytest.fixture
def moalign(capsys):
    """Run a command; gives (exit code, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(moalign):
    """Run a command that must be refused: exit code 2, one message, nothing on stdout; gives the message."""

    def call(*arguments):
        code, out, err = moalign(*arguments)
        assert code == 2, (code, out, err)
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("moalign: error: ")]
        assert len(lines) == 1, err
        return err

    return call
