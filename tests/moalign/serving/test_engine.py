import dataclasses
import random
import threading
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moalign.serving.engine import Engine
from moalign.serving.request import (
    EngineStopped,
    FieldError,
    GenerationFailed,
    GenerationRequest,
    GenerationTimeout,
    QueueFull,
)


def make_request(seed=0, length=4, max_tokens=8, temperature=0.0, weight=0.5, **more):
    prompt = random.Random(seed).choices(range(6, 60), k=length)
    return GenerationRequest(prompt, torch.tensor([weight, 1 - weight]), max_tokens, temperature, seed=seed, **more)


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Gate:
    """Stops the engine before its forwards until opened."""

    def __init__(self, engine, monkeypatch):
        self.open = threading.Event()
        self.reached = threading.Event()
        self.fail = False
        forward = engine._batch._forward

        def gated(*args):
            self.reached.set()
            assert self.open.wait(120)
            if self.fail:
                self.fail = False
                raise RuntimeError("broken step")
            return forward(*args)

        monkeypatch.setattr(engine._batch, "_forward", gated)


@pytest.fixture
def gate(engine, monkeypatch):
    gate = Gate(engine, monkeypatch)
    yield gate
    gate.open.set()


def test_greedy_equals_the_policys_generate(policy, engine):
    requests = [make_request(seed, 3 + seed, 20, weight=seed / 5) for seed in range(6)]
    expected = policy.generate_ids(
        [r.prompt_ids for r in requests], torch.stack([r.weights for r in requests]), max_new_tokens=20, do_sample=False
    )
    assert [list(answer.token_ids) for [answer] in engine.generate(requests)] == expected


def test_a_late_request_joins_the_running_batch(engine, hold):
    held, events, then = hold(engine, steps=5), [], []
    first = engine.submit([make_request(1, max_tokens=100)], events.append)
    wait_until(lambda: len(events) == 6)
    late = engine.submit([make_request(2, max_tokens=3)], lambda _: then.append(len(events)))
    held.release()
    wait_until(lambda: late.done and first.done)
    assert then[0] == 6
    assert then[-1] <= 9  # the short one was not held up by the long one
    wait_until(
        lambda: engine.stats().tokens == len(events) + 3
    )  # counted when the step ends, just after the last event


def test_cancelling_frees_the_row_and_the_queue(engine, gate):
    running = [engine.submit([make_request(s, max_tokens=100)], lambda e: None) for s in range(1, 4)]
    assert gate.reached.wait(120)
    waiting = engine.submit([make_request(9, n=100)], lambda e: None)
    with pytest.raises(QueueFull):
        engine.submit([make_request(10, n=100)], lambda e: None)
    waiting.cancel()
    engine.submit([make_request(10, n=100)], lambda e: None).cancel()
    for ticket in running:
        ticket.cancel()
    gate.open.set()
    wait_until(lambda: engine.stats().running == engine.stats().waiting == 0)
    assert engine.stats().tokens < 10


def test_the_queue_is_bounded_and_takes_all_or_none(policy, monkeypatch):
    with Engine(policy, max_batch_size=1, max_waiting=3) as engine:
        gate = Gate(engine, monkeypatch)
        tickets = [engine.submit([make_request()], lambda e: None)]
        assert gate.reached.wait(120)
        tickets.append(engine.submit([make_request(), make_request()], lambda e: None))
        with pytest.raises(QueueFull, match=r"2 answers wait already and 3 may \(max_waiting\)"):
            engine.submit([make_request(), make_request()], lambda e: None)
        assert engine.stats().waiting == 2
        with pytest.raises(FieldError, match=r"n: 4 answers asked for at once .*queues 3"):
            engine.submit([make_request(n=4)], lambda e: None)
        assert engine.stats().accepted == 3  # those that were refused do not count
        gate.open.set()
        wait_until(lambda: all(t.done for t in tickets))


def test_a_failing_step_fails_its_requests_and_the_engine_goes_on(engine, gate, caplog):
    events = []
    engine.submit([make_request(1)], events.append)
    gate.fail = True
    gate.open.set()
    wait_until(lambda: events)
    assert isinstance(events[0], GenerationFailed)
    assert "broken step" in caplog.text
    expected = engine.generate([make_request(2)])
    # while decoding: everything in the batch fails, the next batch is right
    events.clear()
    gate.open.clear()
    gate.reached.clear()

    def heard(event):
        events.append(event)
        gate.fail = gate.fail or len(events) == 7

    tickets = [engine.submit([make_request(s, max_tokens=50)], heard) for s in (3, 5)]
    gate.open.set()
    wait_until(lambda: all(t.done for t in tickets))
    assert sum(isinstance(e, GenerationFailed) for e in events) == 2
    assert engine.generate([make_request(2)]) == expected


def test_a_failing_listener_hurts_nobody_else(engine, gate):
    def broken(event):
        raise RuntimeError("gone")

    ticket = engine.submit([make_request(1, max_tokens=50)], broken)
    events = []
    other = engine.submit([make_request(2, max_tokens=6)], events.append)
    gate.open.set()
    wait_until(lambda: other.done and ticket.done)
    assert len(events) == 6
    assert events[-1].finish_reason == "length"


def test_the_cache_bound_holds_and_nothing_starves(policy):
    with Engine(policy, max_batch_size=16, max_total_tokens=100) as engine:
        cells, rows = [], []
        forward = engine._batch._forward

        def watched(*args):
            logits = forward(*args)
            cells.append(engine._batch.cache.slots * engine._batch.cache.capacity)
            rows.append(len(engine._batch.rows))
            return logits

        engine._batch._forward = watched
        requests = [make_request(s, 1 + s % 9, 5 + 5 * (s % 8), weight=0.3) for s in range(30)]
        answers = engine.generate([*requests, make_request(99, 60, 40)])
    assert len(answers) == 31
    assert max(cells) <= 100
    assert max(rows) > 1


def test_closing_drains_then_aborts(policy, monkeypatch):
    engine = Engine(policy)
    events = []
    ticket = engine.submit([make_request(1, max_tokens=30)], events.append)
    engine.close(drain_seconds=120)
    assert ticket.done
    assert events[-1].finish_reason == "length"
    assert not engine.ready
    with pytest.raises(EngineStopped, match="shutting down"):
        engine.submit([make_request()], events.append)

    engine = Engine(policy)
    gate = Gate(engine, monkeypatch)
    events.clear()
    engine.submit([make_request(1)], events.append)
    assert gate.reached.wait(120)
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: engine._worker.aborting)
    gate.open.set()
    closing.join(120)
    assert isinstance(events[-1], GenerationFailed)
    assert "before the answer was finished" in str(events[-1])


def test_a_timeout_ends_what_runs_and_what_waits(policy, monkeypatch):
    with Engine(policy, max_batch_size=1) as engine:
        gate = Gate(engine, monkeypatch)
        heard = {"running": [], "waiting": [], "patient": []}
        engine.submit([make_request(1, max_tokens=100, timeout=500.0)], heard["running"].append)
        assert gate.reached.wait(120)
        engine.submit([make_request(2, timeout=500.0)], heard["waiting"].append)
        [running], [waiting] = engine._batch.rows, engine._worker.waiting
        assert running.deadline <= waiting.deadline <= time.monotonic() + 500
        running.deadline = waiting.deadline = time.monotonic()
        patient = engine.submit([make_request(3, timeout=500.0)], heard["patient"].append)
        gate.open.set()
        wait_until(lambda: patient.done)
        wait_until(lambda: engine.stats().running == engine.stats().waiting == 0)
    assert isinstance(heard["running"][-1], GenerationTimeout)
    assert isinstance(heard["running"][-1], GenerationFailed)
    assert str(heard["waiting"][0]).endswith("timeout = 500.0 seconds: 0 of at most 8 tokens were generated")
    assert len(heard["waiting"]) == 1
    assert heard["patient"][-1].finish_reason == "length"


def test_logprobs_are_those_of_the_policy(policy, engine):
    request = make_request(3, 5, 6, temperature=1.3, weight=0.2, top_k=20, logprobs=3)
    [[answer]] = engine.generate([request])
    expected, _ = policy.token_log_probs([request.prompt_ids], [answer.token_ids], request.weights[None])
    assert [t.token_id for t in answer.logprobs] == list(answer.token_ids)
    torch.testing.assert_close(
        torch.tensor([t.logprob for t in answer.logprobs]), expected[0].detach(), atol=1e-4, rtol=1e-4
    )
    assert all(len(t.top) == 3 and t.top[0].logprob >= t.logprob for t in answer.logprobs)
    [[silent]] = engine.generate([dataclasses.replace(request, logprobs=None)])
    assert silent.logprobs == ()
    assert silent.token_ids == answer.token_ids


def test_a_long_prompt_does_not_stall_the_others(policy, monkeypatch):
    with Engine(policy, max_prefill_tokens=8, prefix_tokens=0) as engine:
        gate, widths = Gate(engine, monkeypatch), []
        gate.open.set()
        forward = engine._batch._forward

        def watched(ids, positions, window):
            widths.append(tuple(ids.shape))
            return forward(ids, positions, window)

        engine._batch._forward = watched
        events = []

        def heard(event):
            events.append(event)
            if len(events) == 4:
                gate.open.clear()  # no further before the long one is there

        running = engine.submit([make_request(1, 4, max_tokens=60)], heard)
        wait_until(lambda: len(events) == 4)
        before = len(widths)
        late = engine.submit([make_request(2, 64, max_tokens=1)], lambda _: None)
        gate.open.set()
        wait_until(lambda: late.done)
        chunks = [i for i, (_, width) in enumerate(widths[before:]) if width > 1]
        assert len(chunks) == 8  # 64 tokens, 8 at a time
        assert all(b - a == 2 for a, b in pairwise(chunks))  # a token for the running row after each
        running.cancel()


def test_the_default_cache_is_derived_from_memory_and_bounded_by_what_can_be_used(policy):
    with Engine(policy, max_batch_size=3) as engine:
        # 2 layers x (keys + values) x 2 heads x 8 wide x 4 bytes; 3 rows x 128 positions of context
        assert engine.position_bytes == 2 * 2 * 2 * 8 * 4
        assert engine.max_total_tokens == 3 * 128
        assert engine.prefix_tokens == 96
        assert engine.stats().cache_bytes == 0
        engine.generate([make_request(1)])
        assert 0 < engine.stats().cache_bytes <= 3 * 128 * engine.position_bytes


def test_memory_stays_within_the_bound_whatever_comes(policy):
    with Engine(policy, max_batch_size=4, max_total_tokens=256, prefix_tokens=64) as engine:
        rng = random.Random(5)
        for round_ in range(12):
            engine.generate([make_request(100 * round_ + i, rng.randint(1, 40), rng.randint(1, 20)) for i in range(6)])
            stats = engine.stats()
            assert stats.cache_bytes <= 256 * engine.position_bytes
            assert stats.prefix_tokens <= 64
        assert stats.prefix_tokens == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 100, "max_tokens": 29}, r"max_tokens: a prompt of 100 tokens \+ max_tokens 29 = 129 tokens.*128 \(max_pos"),
        ({"length": 100, "max_tokens": 10}, "cache holds 105"),
        ({"prompt_ids": [6, 62]}, "prompt: token id 62 is not in the vocabulary, allowed: 0 to 61"),
        ({"prompt_ids": [-1]}, "prompt: token id -1"),
        ({"weights": torch.ones(3)}, "preference: 3 weights for 2 objectives"),
    ],
)  # fmt: skip
def test_what_can_never_be_done_is_refused_with_the_field(policy, change, message):
    fields = {"prompt_ids": [6] * change.pop("length", 1), "weights": torch.ones(2), **change}
    with Engine(policy, max_total_tokens=105 if "105" in message else 10_000) as engine:
        with pytest.raises(FieldError, match=message):
            engine.submit([GenerationRequest(**fields)], lambda e: None)
        engine.generate([make_request(length=60, max_tokens=45)])  # 105: exactly at the limit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_ids", []), ("max_tokens", 0), ("temperature", -0.1), ("temperature", float("nan")), ("top_p", 0.0),
        ("top_p", 1.1), ("top_k", 0), ("n", 0), ("logprobs", 21), ("timeout", 0.0), ("timeout", float("inf")), ("stop", ("a", "")), ("seed", 2**64), ("weights", torch.tensor([torch.nan])),
    ],
)  # fmt: skip
def test_requests_refuse_bad_values(field, value):
    fields = {"prompt_ids": [1], "weights": torch.ones(2), field: value}
    with pytest.raises(FieldError) as error:
        GenerationRequest(**fields)
    assert error.value.field == {"prompt_ids": "prompt", "weights": "preference"}.get(field, field)


@pytest.mark.parametrize("limit", ["max_batch_size", "max_waiting", "max_total_tokens", "max_prefill_tokens"])
def test_engine_limits_must_be_positive(policy, limit):
    with pytest.raises(FieldError, match=f"{limit}: must be at least 1, found 0"):
        Engine(policy, **{limit: 0})


@given(st.integers(-(2**63), 2**64 - 1))
@settings(deadline=None, max_examples=10)
def test_seeds_repeat(policy, seed):
    with Engine(policy) as engine:
        request = GenerationRequest([6, 7], torch.tensor([0.5, 0.5]), 6, 1.5, seed=seed)
        assert engine.generate([request]) == engine.generate([request])


def test_without_a_seed_answers_differ(policy, engine):
    requests = [GenerationRequest([6, 7], torch.tensor([0.5, 0.5]), 12, 1.5) for _ in range(4)]
    assert len({answer.token_ids for [answer] in engine.generate(requests)}) == 4


def test_a_top_k_is_a_number_of_32_bits(policy):
    weights = torch.tensor([0.5, 0.5])
    with pytest.raises(FieldError, match=r"top_k: must be from 1 to 2147483647, found 9223372036854775808"):
        GenerationRequest([6], weights, top_k=2**63)
    with Engine(policy) as engine:
        [[answer]] = engine.generate([GenerationRequest([6], weights, 3, top_k=2**31 - 1, seed=1)])
        assert engine.generate([GenerationRequest([6], weights, 3, seed=1)]) == [[answer]]
