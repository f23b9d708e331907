"""A server with a measured front and reward heads: what a bundle has that was trained, measured and kept its rewards."""

import httpx
import pytest

from frontier.front import FrontPoint, ParetoFront
from moalign.serving.rewards import RewardHeads
from reward_heads.functions import FunctionReward

NAMES = ("helpful", "brief")


def make_front():
    rows = [(0.0, (0.0, 4.0)), (0.5, (3.0, 3.0)), (1.0, (4.0, 0.0))]
    points = [FrontPoint(r, (0.5, 0.5), 9, {"weights": {"helpful": w, "brief": 1 - w}}, 0.1) for w, r in rows]
    return ParetoFront(NAMES, tuple(points), reference_policy=FrontPoint((1.0, 2.0), (0.1, float("nan")), 9))


REWARD = FunctionReward(
    {
        "helpful": lambda prompt, completion: float(completion.split().count("w1")),
        "brief": lambda prompt, completion: None if "?" in completion else -float(len(completion.split())),
    }
)


def heads(policy):
    return RewardHeads(REWARD, policy.objectives)


@pytest.fixture(scope="module")
def full(start_server, policy):
    with start_server(policy, front=make_front(), heads=heads) as server:
        server.wait_until_ready()
        yield server


class Asker:
    """Sends JSON to a server."""

    def __init__(self, server):
        self.server = server

    def __call__(self, path, method="POST", headers=None, **body):
        sent = {"json": body} if method == "POST" else {}
        return httpx.request(method, self.server.url + path, headers=headers, timeout=60, **sent)


@pytest.fixture
def ask(full):
    return Asker(full)


@pytest.fixture(scope="session")
def asker():
    return Asker
