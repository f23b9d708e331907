import json
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import permutations
from typing import ClassVar

import pytest
import torch

from benchmarks.serving.context import Context
from benchmarks.serving.latency import percentile
from benchmarks.serving.load import Answer, Ask, closed_loop, open_loop, workload
from benchmarks.serving.models import NAMES, Merged, Size, policy, quiet, save
from benchmarks.serving.peers import in_static_batches, one_by_one
from benchmarks.serving.rounds import shuffled_rounds
from benchmarks.serving.server import Server
from moalign.serving.engine import Engine
from moalign.serving.request import GenerationRequest

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

SIZE = Size(hidden=64, layers=1, vocabulary=200, context=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    quiet()
    return save(tmp_path_factory.mktemp("serving"), SIZE)


def asks(count, mixed=True):
    return workload(count, 3, mixed=mixed, vocabulary=SIZE.vocabulary, prompt=(3, 9), answer=(2, 8))


def in_the_engine(served, some):
    """Each request alone in its own words: what everybody else has to answer too."""
    with Engine(served, max_batch_size=4) as engine:
        requests = [
            GenerationRequest(
                served.encode([ask.prompt])[0],
                torch.tensor([ask.preference[name] for name in NAMES]),
                max_tokens=ask.max_tokens,
                temperature=0,
            )
            for ask in some
        ]
        return [answer.text for [answer] in engine.generate(requests)]


def test_every_contender_answers_the_same_and_the_base_differs(folder):
    some, served = asks(5), policy(folder, "all")
    own = in_the_engine(served, some)
    assert [len(text.split()) for text in own] == [ask.max_tokens for ask in some]
    assert in_static_batches(served, some, 2) == own
    merged = Merged(policy(folder, "all"))
    assert one_by_one(merged, some) == own
    assert one_by_one(merged, some) == own  # what was merged before leaves nothing behind
    assert in_the_engine(policy(folder, "base"), some) != own


def test_the_base_has_no_adapters_and_no_preference(folder):
    base = policy(folder, "base")
    assert not [name for name, _ in base.model.named_parameters() if "lora" in name]
    some = asks(3)
    assert in_the_engine(base, some) == in_the_engine(base, asks(3, mixed=False))


def test_mixed_and_same_differ_in_weights_alone():
    mixed, same = asks(20), asks(20, mixed=False)
    assert [(a.prompt, a.max_tokens) for a in mixed] == [(a.prompt, a.max_tokens) for a in same]
    assert len({tuple(a.preference.values()) for a in mixed}) == 20
    assert len({tuple(a.preference.values()) for a in same}) == 1
    for ask in mixed + same:
        assert sum(ask.preference.values()) == pytest.approx(1)
        assert min(ask.preference.values()) >= 0


class Counting(BaseHTTPRequestHandler):
    """Answers with as many words as are asked for, or `short` fewer, and knows how many requests were in flight at once."""

    lock = threading.Lock()
    full = threading.Event()
    flying = most = short = 0
    expected = 1
    preferences: ClassVar[Counter] = Counter()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = type(self)
        with kind.lock:
            kind.flying += 1
            kind.most = max(kind.most, kind.flying)
            kind.preferences["preference" in body] += 1
            if kind.flying >= kind.expected:
                kind.full.set()
        kind.full.wait(20)  # nobody is answered before so many have asked
        with kind.lock:
            kind.flying -= 1
        count = body["max_tokens"] - kind.short
        usage = {"completion_tokens": count}
        if body.get("stream"):
            events = [{"choices": [{"text": "w "}]}] * count + [{"choices": [], "usage": usage}]
            sent = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        else:
            sent = json.dumps({"choices": [{"text": "w " * count}], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def counting():
    handler = type("Handler", (Counting,), {"full": threading.Event(), "preferences": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield handler, Server(f"http://127.0.0.1:{http.server_port}", "counting", 0)
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("stream", [False, True])
def test_a_closed_loop_keeps_as_many_in_flight_as_there_are_clients(counting, stream):
    handler, server = counting
    handler.expected = 3
    some = asks(7)
    answers = closed_loop(server, some, 3, stream=stream)
    assert handler.most == 3
    assert [a.tokens for a in answers] == [len(a.text.split()) for a in answers] == [a.max_tokens for a in some]
    assert handler.preferences == {True: 7}
    closed_loop(server, some[:1], 1, stream=stream, extra=False)
    assert handler.preferences == {True: 7, False: 1}


def test_an_open_loop_waits_for_nobody(counting):
    handler, server = counting
    handler.expected = 6  # a closed loop of fewer clients would never get there
    some = asks(6)
    assert [a.tokens for a in open_loop(server, some, 1000.0, 0)] == [a.max_tokens for a in some]
    assert handler.most == 6


def test_an_answer_that_ends_early_is_no_result(counting):
    handler, server = counting
    handler.short = 1
    with pytest.raises(RuntimeError, match="an answer has 4 tokens, 5 were asked for"):
        closed_loop(server, [Ask("w1", 5, dict.fromkeys(NAMES, 1 / 3))], 1)


def test_rounds_give_everybody_every_place_and_the_first_is_not_counted():
    calls = []
    seconds = shuffled_rounds({name: partial(calls.append, name) for name in "abc"}, 40)
    rounds = [calls[i : i + 3] for i in range(0, len(calls), 3)]
    assert [sorted(one) for one in rounds] == [["a", "b", "c"]] * 41
    assert {tuple(one) for one in rounds} == set(permutations("abc"))
    assert {name: len(some) for name, some in seconds.items()} == {"a": 40, "b": 40, "c": 40}


def test_times_of_an_answer():
    answer = Answer("a b c", 3, asked=1.0, first=1.5, last=2.5)
    assert answer.ttft == 0.5
    assert answer.tpot == 0.5  # two further tokens in one second


def test_percentile_is_the_nearest_rank():
    assert percentile([1, 2, 3, 4], 50) == 2
    assert percentile(list(range(1, 21)), 95) == 19
    assert percentile([7], 95) == 7


def test_models_are_written_once(tmp_path):
    context = Context(tmp_path, None, quick=True)
    written = context.tiny()
    marker = written / "marker"
    marker.touch()
    assert context.models() == written  # the quick run times the same one
    assert marker.exists()


@pytest.mark.slow
def test_memory_is_read_of_a_real_server(tmp_path):
    from benchmarks.serving import memory

    [row] = memory.rows(Context(tmp_path, None, quick=True))
    assert row.id == "memory.growth"
    assert row.value is not None
    assert -0.5 < row.value < 0.5
