"""What the server promises above all: an answer is the one that its request gets alone, whatever else goes on."""

import functools
import random
import threading

import torch

from moalign.serving.engine import Engine
from moalign.serving.request import Delta, GenerationRequest

HEADS = [[10 + i for i in range(40)], [50 - i for i in range(34)], [7] * 20]
MIXES = [torch.tensor(w) for w in ([0.7, 0.3], [0.3, 0.7], [1.0, 0.0])]


def make_requests(rng, count):
    """Random preferences, prompts, lengths and ways to sample; some prompts begin alike, with the same weights or with others."""
    requests = []
    for seed in range(count):
        head = rng.choice([[], [], *HEADS])
        prompt = head[: rng.randint(0, len(head))] + rng.choices(range(6, 60), k=rng.randint(1, 30))
        weight = rng.uniform(-0.3, 1.3)
        requests.append(
            GenerationRequest(
                prompt,
                rng.choice([torch.tensor([weight, 1 - weight]), *MIXES]),
                rng.randint(1, 30),
                rng.choice([0.0, 0.0, 0.8, 1.4]),
                rng.choice([1.0, 0.8]),
                rng.choice([None, 12]),
                seed,
                n=rng.choice([1, 1, 1, 2]),
            )
        )
    return requests


def answers_of(engine, requests, given_up, rng):
    """Texts and tokens of `requests`, which arrive one by one, when so many pieces of answers as drawn for each were delivered; so do those that are given up at their first piece.

    They are submitted in the engine's own thread: who meets whom in the batch does not depend on how fast anything is.
    """
    found = [[("", ())] * request.n for request in requests]
    arrivals = sorted((rng.randint(0, 700), i) for i in range(len(requests) + len(given_up)))
    state = {"pieces": 0, "open": 0}
    everything = threading.Event()

    def arrive():
        while arrivals and (arrivals[0][0] <= state["pieces"] or not state["open"]):
            _, i = arrivals.pop(0)
            request = (*requests, *given_up)[i]
            state["open"] += request.n
            tickets[i] = engine.submit([request], functools.partial(hear, i, request.n))
        if not arrivals and not state["open"]:
            everything.set()

    def hear(i, n, event):
        assert isinstance(event, Delta), event
        state["pieces"] += 1
        if i < len(requests):
            text, tokens = found[i][event.choice]
            found[i][event.choice] = (text + event.text, tokens + event.token_ids)
            state["open"] -= event.finish_reason is not None
        else:
            state["open"] -= n
            tickets[i].cancel()
        arrive()

    tickets = {}
    begin = GenerationRequest([6], torch.zeros(2), 2, 0.0)
    engine.submit([begin], lambda _: arrive())
    assert everything.wait(300)
    return found


def test_64_requests_in_one_batch_get_what_each_gets_alone(policy):
    """With prompts in chunks, beginnings remembered and forgotten, cancellations in between, and a full cache."""
    rng = random.Random(0)
    requests = make_requests(rng, 64)
    with Engine(policy, max_batch_size=1, prefix_tokens=0) as engine:
        alone = engine.generate(requests)

    shapes, evicted = [], []
    with Engine(policy, max_batch_size=7, max_total_tokens=500, max_prefill_tokens=24, prefix_tokens=160) as engine:
        batch = engine._batch
        forward = batch._forward

        def watched(ids, positions, window):
            shapes.append((tuple(ids.shape), positions.min().item() > 0))
            return forward(ids, positions, window)

        batch._forward = watched
        remember = batch.prefixes.remember

        def remembered(*args):
            before = set(batch.prefixes._blocks)
            remember(*args)
            evicted.extend(before - set(batch.prefixes._blocks))

        batch.prefixes.remember = remembered
        together = answers_of(engine, requests, make_requests(rng, 12), rng)
        assert engine.stats().reused_tokens > 50
        assert engine.stats().cache_bytes <= 500 * engine.position_bytes
    assert together == [[(c.text, c.token_ids) for c in answers] for answers in alone]
    # It did happen: beginnings were forgotten, prompts went in pieces, several at once, and rows were decoded together.
    assert len(evicted) > 10
    assert any(width > 1 and later for (_, width), later in shapes)
    assert any(rows > 1 and width > 1 for (rows, width), _ in shapes)
    assert max(rows for (rows, width), _ in shapes if width == 1) >= 4


def test_greedy_tokens_are_those_of_transformers_generate(policy):
    """An independent computation, one prompt at a time, against chunks, a shared batch and remembered beginnings."""
    rng = random.Random(1)
    requests = [r for r in make_requests(rng, 60) if r.temperature == 0][:24]
    with Engine(policy, max_batch_size=5, max_prefill_tokens=16, prefix_tokens=200) as engine:
        found = [[list(c.token_ids) for c in answers] for answers in engine.generate([*requests, *requests])]
        assert engine.stats().reused_tokens > 0
    for i, request in enumerate(requests):
        [expected] = policy.generate_ids(
            [request.prompt_ids], request.weights[None], max_new_tokens=request.max_tokens, do_sample=False
        )
        assert found[i] == found[i + len(requests)] == [expected] * request.n
