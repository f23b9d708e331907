"""Online training whose rewards are computed while completions are generated: the numbers of the plain way, its texts, its errors; and it says so where it can't."""

import logging
import threading
import traceback

import pytest
import torch
from datasets import Dataset

from frontier.errors import InputError
from moalign.methods.clp import CLPTrainer
from moalign.training.rollouts import engine
from moalign.training.rollouts.overlap import THREAD, OverlappedReward
from reward_heads import FunctionReward

from .together import LIMIT, Broken, Together, left_alive, nothing_left


@pytest.fixture
def make(quick, tiny_base, tmp_path):
    def trainer(name="run", reward=None, policy=None, prompts=quick.prompts, **changes):
        config = quick.settings(tmp_path / name, **{"beta": 0.3, "temperature": 3.0} | changes)
        data = {"train_dataset": prompts, "eval_dataset": prompts.select(range(2))}
        return CLPTrainer(policy or str(tiny_base), reward or quick.reward, config, **data)

    return trainer


def roll_out(trainer, prompts=("a b", "c d e")):
    trainer.model.train()
    return trainer._generate_and_score_completions([{"prompt": p} for p in prompts for _ in range(4)])


def end(quick, trainer, folder):
    trainer.train()
    lines = [{k: v for k, v in line.items() if "time" not in k} for line in quick.metrics(folder)]
    return quick.parameters(trainer), lines


def assert_same(first, second):
    assert first[1] == second[1]
    for name, value in first[0].items():
        assert torch.equal(value, second[0][name]), name


@pytest.mark.parametrize("size", [8, 100])
def test_one_chunk_of_all_rows_is_the_plain_way_bit_for_bit(quick, make, tmp_path, size):
    plain = end(quick, make("plain", Together()), tmp_path / "plain")
    reward = Together()
    assert_same(plain, end(quick, make("chunk", reward, overlap_rewards=size), tmp_path / "chunk"))
    assert reward.threads == [THREAD] * 2
    assert not left_alive()


@pytest.mark.parametrize("size", [1, 3])
def test_a_reward_of_single_rows_is_the_plain_way_bit_for_bit(quick, make, tmp_path, size):
    plain = end(quick, make("plain"), tmp_path / "plain")
    assert_same(plain, end(quick, make("chunks", overlap_rewards=size), tmp_path / "chunks"))


def test_missing_rewards_stay_missing(make):
    partly = FunctionReward({"helpful": lambda p, c: None if p == "a b" else 1.0 * len(c), "brief": lambda p, c: None})
    found = {}
    for size in (0, 3):
        trainer = make(str(size), partly, overlap_rewards=size)
        torch.manual_seed(0)
        found[size] = (roll_out(trainer), trainer._metrics["train"])
    assert torch.equal(found[0][0]["advantages"], found[3][0]["advantages"])
    assert found[3][1]["missing/helpful"] == [0.5]
    assert not found[3][0]["advantages"][:4].any()


def test_a_resumed_run_is_bit_equal(quick, make, tmp_path):
    """With a reward whose values tell what else was in the chunk, and a last chunk that is smaller."""
    steps = {"max_steps": 4, "save_steps": 2, "save_strategy": "steps", "overlap_rewards": 3}
    whole = end(quick, make("whole", Together(), **steps), tmp_path / "whole")
    half = make("half", Together(), **steps)
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for name, value in whole[0].items():
        assert torch.equal(value, quick.parameters(half)[name]), name
    last = quick.metrics(tmp_path / "half")[-1]
    assert {k: v for k, v in last.items() if "time" not in k} == whole[1][-1]


def test_evaluation_overlaps_too(make):
    found = {}
    for size in (0, 4):
        reward = Together()
        trainer = make(str(size), reward, overlap_rewards=size, per_device_eval_batch_size=4)
        torch.manual_seed(0)
        metrics = trainer.evaluate()
        found[size] = {
            name: value for name, value in metrics.items() if "per_second" not in name and "time" not in name
        }
    assert set(reward.threads) == {THREAD}
    assert found[4] == found[0]


def test_a_chunk_is_scored_before_the_rollout_ends(make, monkeypatch):
    """The rollout does not take its fifth token before the first chunk's score is there."""
    scored, waited = threading.Event(), []

    class Tells(Together):
        def score(self, prompts, completions):
            try:
                return super().score(prompts, completions)
            finally:
                scored.set()

    reward = Tells()
    trainer = make(reward=reward, overlap_rewards=4)
    accept, ending = engine.RolloutRow.accept, trainer.policy.tokenizer.eos_token_id

    def accept_and_wait(row, token, logprobs=None):
        first_half = row.place < 4
        accept(row, ending if first_half else 5)  # the first group ends at once, the second runs to the limit
        if row.generated == 5:
            waited.append((scored.wait(LIMIT), len(reward.calls)))

    monkeypatch.setattr(engine.RolloutRow, "accept", accept_and_wait)
    output = roll_out(trainer)
    assert waited == [(True, 1)] * 4
    assert [prompt for prompt, _ in reward.calls[0]] == ["a b"] * 4
    assert output["completion_mask"].sum(1).tolist() == [1] * 4 + [6] * 4


CONVERSATIONS = [
    [{"role": "system", "content": "short"}, {"role": "user", "content": "a b"}],
    [{"role": "user", "content": "c"}],
]


@pytest.mark.parametrize("prompts", [["a b", "c d e"], CONVERSATIONS], ids=["texts", "conversations"])
@pytest.mark.parametrize("conditioning", ["adapter_mixture", "prompt"])
def test_the_texts_are_those_of_the_plain_way(quick, tiny_base, make, caplog, prompts, conditioning):
    judged = {}

    def seen(where):
        def function(prompt, completion):
            judged.setdefault(where, []).append((prompt, completion))
            return float(len(judged[where]))

        return FunctionReward({"helpful": function, "brief": lambda p, c: 0.0}, raw=True)

    options = {"conditioning": conditioning, "generation_kwargs": {"do_sample": False}}
    for size in (0, 8):
        policy = quick.policy(tiny_base, conditioning=conditioning)
        rows = Dataset.from_dict({"prompt": prompts * 4})
        trainer = make(str(size), seen(size), policy, rows, overlap_rewards=size, **options)
        roll_out(trainer, prompts)
    assert judged[8] == judged[0]
    assert [prompt for prompt, _ in judged[8]] == [p for p in prompts for _ in range(4)]
    assert "changed after the rollout" not in caplog.text


@pytest.mark.parametrize("when", [1, 2])
def test_an_exception_of_the_reward_arrives_as_itself(make, when):
    class Fails(Together):
        def score(self, prompts, completions):
            if len(self.calls) + 1 >= when:
                self.calls.append(None)
                raise Broken("no answer")
            return super().score(prompts, completions)

    reward = Fails()
    trainer = make(reward=reward, overlap_rewards=4)
    with pytest.raises(Broken, match="no answer") as caught:
        trainer.train()
    assert "in score" in "".join(traceback.format_exception(caught.value))
    assert len(reward.calls) == when  # and no further chunk
    assert nothing_left()


def test_infinite_rewards_stop_with_the_objective_named(make):
    infinite = FunctionReward({"helpful": lambda p, c: 0.0, "brief": lambda p, c: 0.0})
    infinite.score = lambda prompts, completions: torch.tensor([[0.0, float("inf")]] * len(prompts))
    with pytest.raises(InputError, match="'brief'"):
        make(reward=infinite, overlap_rewards=2).train()


def test_a_rollout_that_fails_cancels_what_is_pending(make, monkeypatch):
    """The first chunk is being scored, the second waits, and the rest never comes."""
    entered, go = threading.Event(), threading.Event()

    class Held(Together):
        def score(self, prompts, completions):
            entered.set()
            go.wait(LIMIT)
            return super().score(prompts, completions)

    reward = Held()
    trainer = make(reward=reward, overlap_rewards=2)
    accept, ending = engine.RolloutRow.accept, trainer.policy.tokenizer.eos_token_id

    def accept_or_fail(row, token, logprobs=None):
        accept(row, ending if row.place < 4 else 5)
        if row.generated == 3:
            assert entered.wait(LIMIT)
            raise Broken("no memory")

    monkeypatch.setattr(engine.RolloutRow, "accept", accept_or_fail)
    with pytest.raises(Broken, match="no memory"):
        roll_out(trainer)
    monkeypatch.undo()
    go.set()
    assert nothing_left()
    assert len(reward.calls) == 1
    roll_out(trainer)  # and the trainer goes on
    assert len(reward.calls) == 1 + 4
    assert not left_alive()


def test_a_failure_between_rollout_and_rewards_leaves_no_thread(make, monkeypatch):
    trainer = make(reward=Together(), overlap_rewards=8)
    monkeypatch.setattr(trainer, "_calculate_rewards", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        roll_out(trainer)
    assert nothing_left()


@pytest.mark.parametrize("changes", [{"rollout": "transformers"}, {"repetition_penalty": 1.2}], ids=str)
def test_rollouts_of_transformers_are_scored_at_the_end_with_a_warning(make, caplog, changes):
    reward = Together()
    with caplog.at_level(logging.WARNING):
        trainer = make(reward=reward, overlap_rewards=2, **changes)
        roll_out(trainer)
    assert caplog.text.count("overlap_rewards goes with the batching engine") == 1
    assert reward.threads == ["MainThread"]
    assert [len(call) for call in reward.calls] == [8]


def test_prompts_that_are_more_than_text_are_scored_at_the_end_with_one_warning(make, caplog):
    reward = Together()
    trainer = make(reward=reward, overlap_rewards=2)
    tokenize = trainer._tokenize_prompts
    trainer._tokenize_prompts = lambda prompts: (tokenize(prompts)[0], [None] * len(prompts), {})
    with caplog.at_level(logging.WARNING):
        roll_out(trainer)
        roll_out(trainer)
    assert caplog.text.count("overlap_rewards can't") == 1
    assert set(reward.threads) == {"MainThread"}


def test_refusals(quick, tmp_path):
    with pytest.raises(InputError, match=r"overlap_rewards is a number of completions, .* found -1"):
        quick.settings(tmp_path, overlap_rewards=-1)
    with pytest.raises(InputError, match="size must be at least 1, found 0"):
        OverlappedReward(Together(), 0)
