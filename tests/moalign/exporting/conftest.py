"""A bundle beside its base, and a measured front of its objectives."""

import shutil

import pytest

from frontier.front import FrontPoint, ParetoFront
from moalign.policy import SteerablePolicy


@pytest.fixture(scope="session")
def policy(tiny_base, plain_adapters, tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    shutil.copytree(tiny_base, root / "base")
    made = SteerablePolicy.from_pretrained(root / "base", adapters=plain_adapters)
    made.training = {"method": "clp"}
    return made


@pytest.fixture(scope="session")
def bundle(policy, tmp_path_factory):
    """Read only."""
    from pathlib import Path

    folder = Path(policy.base.config.name_or_path).parent / "bundle"
    policy.save_pretrained(folder)
    return folder


@pytest.fixture
def front():
    """Rewards linear in the weights up to a bend of 0.5 in the middle."""
    values = [(0.0, (0.0, 4.0)), (0.5, (2.5, 2.5)), (1.0, (4.0, 0.0))]
    points = [FrontPoint(r, (0.1, 0.2), 64, {"weights": {"helpful": w, "brief": 1 - w}}) for w, r in values]
    return ParetoFront(("helpful", "brief"), tuple(points))
