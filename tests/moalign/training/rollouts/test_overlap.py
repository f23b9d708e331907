"""A reward that is told completions as they end: chunks that no timing changes, errors that arrive, the settings of the calling thread, and no thread left."""

import threading
from contextvars import ContextVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moalign.training.rollouts.overlap import THREAD, OverlappedReward
from reward_heads import FunctionReward

from .together import LIMIT, Broken, Together, left_alive, nothing_left, read


@given(st.integers(1, 14), st.data())
def test_chunks_are_the_same_whichever_rows_end_first(size, data):
    rows = data.draw(st.lists(st.lists(st.integers(0, 25), max_size=5), min_size=1, max_size=12))
    order = data.draw(st.permutations(range(len(rows))))
    prompts, reward = [f"p{i}" for i in range(len(rows))], Together()
    overlapped = OverlappedReward(reward, size)
    with overlapped.rollout(prompts, read) as ended:
        for row in order:
            ended(row, rows[row])
    found = overlapped.score(prompts, read(rows))
    cuts = [slice(start, start + size) for start in range(0, len(rows), size)]
    plain = Together()
    assert torch.equal(found, torch.cat([plain.score(prompts[cut], read(rows[cut])) for cut in cuts]))
    assert sorted(map(str, reward.calls)) == sorted(map(str, plain.calls))
    assert set(reward.threads) == {THREAD}
    assert not left_alive()


def test_without_a_rollout_it_is_the_reward_itself():
    reward = Together()
    found = OverlappedReward(reward, 1).score(["p", "q"], ["a", "bb"])
    assert torch.equal(found, Together().score(["p", "q"], ["a", "bb"]))
    assert reward.threads == ["MainThread"]


def test_texts_that_were_changed_meanwhile_are_scored_as_they_are(caplog):
    reward = Together()
    overlapped = OverlappedReward(reward, 1)
    for _ in range(2):
        with overlapped.rollout(["p", "q"], read) as ended:
            ended(1, [1])
            ended(0, [0])
        found = overlapped.score(["p", "q"], ["a", "changed"])
        assert torch.equal(found, Together().score(["p", "q"], ["a", "changed"]))
    assert caplog.text.count("changed after the rollout") == 1
    assert nothing_left()


def test_a_rollout_that_does_not_tell_of_every_row_is_not_waited_for():
    with (
        pytest.raises(RuntimeError, match="1 of its rows have not ended"),
        OverlappedReward(Together(), 2).rollout(["p", "q"], read) as ended,
    ):
        ended(0, [0])
    assert nothing_left()


def test_the_reward_is_never_called_twice_at_once():
    """Not even by the next one to ask after a rollout was given up in the middle of a chunk."""
    inside, most, entered = [], [], threading.Event()

    class Slow(Together):
        def score(self, prompts, completions):
            inside.append(1)
            most.append(len(inside))
            entered.set()
            threading.Event().wait(0.05)
            inside.pop()
            return super().score(prompts, completions)

    def give_up():
        with overlapped.rollout(["p", "q"], read) as ended:
            ended(0, [0])
            ended(1, [1])
            assert entered.wait(LIMIT)
            raise Broken

    overlapped = OverlappedReward(Slow(), 1)
    with pytest.raises(Broken):
        give_up()
    overlapped.score(["p"], ["a"])
    assert nothing_left()
    assert most == [1, 1]  # the second chunk was not scored at all


SETTINGS = {
    "plain": lambda: torch.enable_grad(),
    "no_grad": lambda: torch.no_grad(),
    "inference": lambda: torch.inference_mode(),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_other_thread_computes_as_this_one(name):
    def here():
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.get_default_device(),
            torch.get_num_threads(),
            (torch.ones(2, 2) @ torch.ones(2, 2)).dtype,
        )

    class Looks(Together):
        def score(self, prompts, completions):
            found.append(here())
            return torch.zeros(1, 2, device="cpu")

    found, threads = [], torch.get_num_threads()
    overlapped = OverlappedReward(Looks(), 1)
    torch.set_num_threads(3)
    try:
        with SETTINGS[name]():
            expected = here()
            with overlapped.rollout(["p"], read) as ended:
                ended(0, [0])
        overlapped.score(["p"], ["a"])
    finally:
        torch.set_num_threads(threads)
    assert found == [expected]


def test_context_variables_are_those_of_the_trainer():
    variable, found = ContextVar("asked_for", default="nobody"), []
    variable.set("run 7")
    reward = FunctionReward({"helpful": lambda p, c: found.append(variable.get()) or 0.0})
    overlapped = OverlappedReward(reward, 1)
    with overlapped.rollout(["p"], read) as ended:
        ended(0, [0])
    overlapped.score(["p"], ["a"])
    assert found == ["run 7"]


def test_a_reward_that_failed_ends_the_rollout():
    class Fails(Together):
        def score(self, prompts, completions):
            raise Broken

    def roll():
        with OverlappedReward(Fails(), 1).rollout(["p", "q"], read) as ended:
            ended(0, [0])
            assert nothing_left()
            told.append(0)
            ended(1, [1])
            told.append(1)

    told = []
    with pytest.raises(Broken):
        roll()
    assert told == [0]
