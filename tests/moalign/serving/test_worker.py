import logging
import time

import pytest
import torch

from moalign.policy import SteerablePolicy
from moalign.serving.engine import Engine
from moalign.serving.request import EngineStopped, GenerationFailed, GenerationRequest


def make_request(max_tokens=8, **more):
    return GenerationRequest([6, 7, 8], torch.tensor([0.5, 0.5]), max_tokens, 0.0, **more)


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_a_killed_worker_fails_its_rows_and_serves_those_that_waited(policy, hold, hold_restart, caplog):
    with Engine(policy, max_batch_size=1, restart_delay=0.0) as engine:
        expected = engine.generate([make_request()])
        hold(engine, steps=5)
        restart = hold_restart(engine)
        running, waiting = [], []
        engine.submit([make_request(120)], running.append)
        later = engine.submit([make_request()], waiting.append)
        until(lambda: len(running) == 6)
        engine.kill_worker()
        until(lambda: not engine.ready)
        assert isinstance(running[-1], GenerationFailed)
        with pytest.raises(EngineStopped, match="starting again after a failure"):
            engine.submit([make_request()], running.append)
        restart.set()
        until(lambda: engine.ready)
        until(lambda: later.done)
        assert tuple(t for delta in waiting for t in delta.token_ids) == expected[0][0].token_ids
        assert engine.generate([make_request()]) == expected
        assert engine.stats().restarts == 1
    assert "the engine's thread died" in caplog.text


def test_restarts_are_bounded_and_then_nobody_waits_for_ever(policy, hold, caplog):
    with Engine(policy, max_restarts=2, restart_delay=0.0) as engine:
        for restarts in (1, 2):
            engine.kill_worker()
            until(lambda n=restarts: engine.stats().restarts == n and engine.ready)
        events = []
        hold(engine)
        ticket = engine.submit([make_request(120)], events.append)
        engine.kill_worker()
        until(lambda: ticket.done and not engine.ready)
        assert isinstance(events[-1], GenerationFailed)
        until(lambda: engine._worker.state == "stopped")
        with pytest.raises(EngineStopped, match="has stopped"):
            engine.submit([make_request()], events.append)
    assert "died 3 times within 60 seconds" in caplog.text


def test_old_deaths_are_forgiven(policy):
    with Engine(policy, max_restarts=1, restart_window=0.0, restart_delay=0.0) as engine:
        for restarts in (1, 2, 3):
            engine.kill_worker()
            until(lambda n=restarts: engine.stats().restarts == n and engine.ready)


def test_steps_that_keep_failing_get_a_new_batch(policy, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)
    with Engine(policy, restart_delay=0.0) as engine:
        broken = engine._batch

        def fail(*_):
            raise RuntimeError("broken for good")

        monkeypatch.setattr(broken, "_forward", fail)
        for _ in range(3):
            with pytest.raises(GenerationFailed):
                engine.generate([make_request()])
        until(lambda: engine.ready and engine.stats().restarts == 1)
        assert engine._batch is not broken
        assert len(engine.generate([make_request()])[0][0].token_ids) == 8


def test_closing_while_it_starts_again(policy):
    engine = Engine(policy, restart_delay=600.0)
    engine.kill_worker()
    until(lambda: not engine.ready)
    engine.close()
    assert not engine._worker._thread.is_alive()
    assert engine._worker.state == "stopped"


def test_several_engines_of_one_policy_end_in_any_order(model_folders):
    # A policy of its own: others may be served by whoever came before.
    adapters = {name: model_folders / name for name in ("helpful", "brief")}
    policy = SteerablePolicy.from_pretrained(model_folders / "base", adapters=adapters, device="cpu")
    layer = next(iter(policy.mixture.layers.values()))
    first, second = Engine(policy), Engine(policy)
    assert layer.frozen is not None
    first.close()
    assert layer.frozen is not None
    second.close()
    second.close()
    assert layer.frozen is None


def test_stopped_tells_an_engine_that_gave_up_from_one_that_was_closed(policy):
    with Engine(policy, max_restarts=0) as engine:
        assert not engine.stopped
        engine.kill_worker()
        until(lambda: engine.stopped)
    assert not engine.stopped
    closed = Engine(policy)
    closed.close()
    assert not closed.stopped
