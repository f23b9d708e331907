import json
import socket
import threading
import time

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign.serving.engine import Engine

HALF = {"weights": {"helpful": 0.5, "brief": 0.5}}
PREFERENCES = [
    {"helpful": 0.7, "brief": 0.3},
    "helpful=1.0",
    {"weights": {"brief": 1.0}},
    "direction:helpful=0.8,brief=-0.6",
]


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def post(server, path="/v1/completions", **body):
    return httpx.post(server.url + path, json=body, timeout=120)


def events(text):
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


# ---- completions


@pytest.mark.parametrize("preference", PREFERENCES)
def test_a_completion_is_what_the_policy_generates(policy, client, preference):
    answer = client.completions.create(
        model="tiny", prompt="w1 w2", max_tokens=12, temperature=0, extra_body={"preference": preference}
    )
    [expected] = policy.generate(["w1 w2"], [preference], max_new_tokens=12, do_sample=False)
    assert answer.choices[0].text == expected
    assert answer.object == "text_completion"
    assert answer.model == "tiny"
    assert answer.usage.prompt_tokens == 2
    assert answer.usage.total_tokens == 2 + answer.usage.completion_tokens


def test_the_effective_preference_is_echoed_with_every_objective(client):
    def echo(**body):
        return client.completions.create(model="tiny", prompt="w1", max_tokens=1, extra_body=body).preference

    assert echo(preference="brief=1") == {"weights": {"helpful": 0.0, "brief": 1.0}}
    assert echo(preference={"helpful": 0.7, "brief": 0.3}) == {"weights": {"helpful": 0.7, "brief": 0.3}}
    assert echo(preference={"direction": {"brief": -1}}) == {"direction": {"helpful": 0.0, "brief": -1.0}}
    assert echo() == HALF
    assert echo(preference=None) == HALF


def test_an_unknown_objective_is_a_400_that_names_the_valid_ones(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt="w1", extra_body={"preference": {"helpfull": 1.0}})
    error = caught.value
    assert error.status_code == 400
    assert error.param == "preference"
    assert error.body["message"] == (
        "preference: unknown objective 'helpfull': did you mean 'helpful'? Valid: helpful, brief"
    )
    assert error.body["type"] == "invalid_request_error"


def test_several_prompts_and_answers_come_in_order(policy, client):
    prompts = ["w1 w2 w3", "w4", "w5 w6"]
    answer = client.completions.create(model="tiny", prompt=prompts, n=2, max_tokens=6, temperature=1.2, seed=5)
    assert [c.index for c in answer.choices] == list(range(6))
    assert answer.usage.prompt_tokens == 6
    for i, prompt in enumerate(prompts):
        one = client.completions.create(model="tiny", prompt=prompt, max_tokens=6, temperature=1.2, seed=5)
        assert one.choices[0].text == answer.choices[2 * i].text
        assert answer.choices[2 * i].text != answer.choices[2 * i + 1].text
    ids = policy.encode(prompts)
    for prompt in (ids, ids[0]):
        same = client.completions.create(model="tiny", prompt=prompt, n=2, max_tokens=6, temperature=1.2, seed=5)
        assert same.choices[1].text == answer.choices[1].text


def test_streamed_and_whole_answers_are_the_same(client):
    request = {
        "model": "tiny",
        "prompt": ["w1 w2", "w7"],
        "n": 2,
        "max_tokens": 20,
        "seed": 3,
        "extra_body": {"preference": "brief=1"},
    }
    whole = client.completions.create(**request)
    texts, reasons, chunks = [""] * 4, [None] * 4, []
    for chunk in client.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        chunks.append(chunk)
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [c.text for c in whole.choices]
    assert reasons == [c.finish_reason for c in whole.choices]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].preference == whole.preference == {"weights": {"helpful": 0.0, "brief": 1.0}}
    assert len({chunk.id for chunk in chunks}) == 1


def test_without_usage_the_last_chunk_ends_the_answer_and_echoes_the_preference(server):
    chunks = events(post(server, prompt="w1 w2", max_tokens=3, stream=True, temperature=0).text)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert chunks[-1]["preference"] == HALF
    assert not any("usage" in chunk for chunk in chunks)


def test_stop_texts(client):
    whole = client.completions.create(model="tiny", prompt="w1 w2", max_tokens=30, seed=2).choices[0].text
    stop = whole[8:12]
    for stops in (stop, [stop, "nowhere"]):
        request = {"model": "tiny", "prompt": "w1 w2", "max_tokens": 30, "seed": 2, "stop": stops}
        cut = client.completions.create(**request).choices[0]
        assert (cut.text, cut.finish_reason) == (whole[: whole.index(stop)], "stop")
        assert "".join(c.choices[0].text for c in client.completions.create(**request, stream=True)) == cut.text


# ---- chat


def test_chat_whole_and_streamed(policy, client):
    messages = [{"role": "system", "content": "w9"}, {"role": "user", "content": [{"type": "text", "text": "w1 w2"}]}]
    request = {
        "model": "tiny",
        "messages": messages,
        "max_tokens": 15,
        "temperature": 0,
        "extra_body": {"preference": "helpful=0.2,brief=0.8"},
    }
    plain = [{"role": "system", "content": "w9"}, {"role": "user", "content": "w1 w2"}]
    [expected] = policy.generate([plain], "helpful=0.2,brief=0.8", max_new_tokens=15, do_sample=False)
    whole = client.chat.completions.create(**request)
    assert whole.choices[0].message.content == expected
    assert whole.choices[0].message.role == "assistant"
    assert whole.preference == {"weights": {"helpful": 0.2, "brief": 0.8}}
    chunks = list(client.chat.completions.create(**request, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].preference == whole.preference
    assert {c.object for c in chunks} == {"chat.completion.chunk"}


def test_chat_without_a_limit_fills_what_the_server_allows(server, client):
    messages = [{"role": "user", "content": "w1"}]
    longest = max(
        client.chat.completions.create(model="tiny", messages=messages, seed=s).usage.completion_tokens
        for s in range(8)
    )
    assert 16 < longest <= 100
    assert (
        client.chat.completions.create(model="tiny", messages=messages, max_completion_tokens=2).usage.completion_tokens
        <= 2
    )
    ids = [6] * 120
    assert (
        client.completions.create(model="tiny", prompt=ids, seed=1).usage.completion_tokens <= 8
    )  # 128 is the context


def test_chat_needs_a_template(server, policy, monkeypatch):
    monkeypatch.setattr(policy.tokenizer, "chat_template", None)
    answer = post(server, "/v1/chat/completions", messages=[{"role": "user", "content": "w1"}])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages"
    assert "no chat template" in answer.json()["error"]["message"]


def test_what_a_template_refuses_is_a_400(server, policy, monkeypatch):
    monkeypatch.setattr(policy.tokenizer, "chat_template", "{{ raise_exception('roles must alternate') }}")
    answer = post(server, "/v1/chat/completions", messages=[{"role": "user", "content": "w1"}])
    assert answer.status_code == 400
    assert "roles must alternate" in answer.json()["error"]["message"]


# ---- models, health


def test_models(server, client):
    [model] = client.models.list()
    assert model.id == "tiny"
    assert model.objectives == ["helpful", "brief"]
    assert model.default_preference == HALF
    assert client.models.retrieve("tiny").max_model_len == 128
    with pytest.raises(openai.NotFoundError, match="Served: tiny"):
        client.models.retrieve("../other")
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt", prompt="w1")
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_live_while_loading_ready_once_loaded(policy, start_server):
    gate = threading.Event()

    def load():
        assert gate.wait(120)
        return policy

    with start_server(load) as server:
        assert httpx.get(server.url + "/health/live", timeout=120).status_code == 200
        assert httpx.get(server.url + "/health/ready", timeout=120).status_code == 503
        answer = post(server, prompt="w1")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "still loading" in answer.json()["error"]["message"]
        gate.set()
        wait_until(lambda: httpx.get(server.url + "/health/ready", timeout=120).status_code == 200)
        server.service.drain(120)
        assert httpx.get(server.url + "/health/ready", timeout=120).status_code == 503
        assert httpx.get(server.url + "/health/live", timeout=120).status_code == 200
        assert post(server, prompt="w1").status_code == 503


def test_a_policy_that_does_not_load_leaves_the_reason(start_server):
    def load():
        raise InputError("the bundle is damaged")

    with start_server(load) as server:
        wait_until(lambda: server.service.failure is not None)
        assert httpx.get(server.url + "/health/ready", timeout=120).status_code == 503
    assert str(server.service.failure) == "the bundle is damaged"


# ---- wrong requests


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "is missing"),
        ({"prompt": 3}, "prompt", "must be a text, a list of texts, token ids or a list of token ids, found 3"),
        ({"prompt": [1, "a"]}, "prompt", "must be a text"),
        ({"prompt": []}, "prompt", "list is empty"),
        ({"prompt": [[]]}, "prompt", "no tokens"),
        ({"prompt": [999]}, "prompt", "token id 999 is not in the vocabulary, allowed: 0 to 61"),
        ({"prompt": "w1", "temprature": 0}, "temprature", "did you mean 'temperature'?"),
        ({"prompt": "w1", "temperature": "hot"}, "temperature", "valid number, found 'hot'"),
        ({"prompt": "w1", "temperature": 3}, "temperature", "less than or equal to 2, found 3"),
        ({"prompt": "w1", "max_tokens": 101}, "max_tokens", r"101, allowed: 100 (max_new_tokens)"),
        ({"prompt": "w1", "max_tokens": True}, "max_tokens", "valid integer"),
        ({"prompt": "w1 " * 60, "max_tokens": 90}, "max_tokens", "= 150 tokens, but the model's context is 128"),
        ({"prompt": "w1", "n": 7}, "n", "7 answers, allowed: 6 (max_choices)"),
        ({"prompt": ["w1"] * 7}, "n", "7 prompts x n 1"),
        ({"prompt": "w1", "stop": ["a", "b", "c"]}, "stop", "3 texts, allowed: 2"),
        ({"prompt": "w1", "stop": "a" * 21}, "stop", "21 characters, allowed: 20"),
        ({"prompt": "w1", "stop": ""}, "stop", "empty text"),
        ({"prompt": "w1", "stop": {"a": 1}}, "stop", "must be a text or a list of texts"),
        ({"prompt": "w1", "seed": 2**70}, "seed", "64 bits"),
        ({"prompt": "w1", "logprobs": 21}, "logprobs", "must be a whole number from 0 to 20, found 21"),
        ({"prompt": "w1", "logprobs": True}, "logprobs", "must be a whole number from 0 to 20, found True"),
        ({"prompt": "w1", "timeout": 0}, "timeout", "greater than 0, found 0"),
        ({"prompt": "w1", "user": "x" * 257}, "user", "at most 256 characters"),
        ({"prompt": "w1", "user": "a\n"}, "user", "no control characters"),
        ({"prompt": "w1", "echo": True}, "echo", "not supported"),
        ({"prompt": "w1", "stream_options": {"include_usages": True}}, "stream_options.include_usages", "include_usage"),
        ({"prompt": "w1", "preference": {"helpful": 0.9}}, "preference", "must sum to 1"),
        ({"prompt": "w1", "preference": {"helpful": -1, "brief": 2}}, "preference", "must not be negative"),
        ({"prompt": "w1", "preference": {"helpful": 1e308, "brief": 1e308}}, "preference", "sum"),
        ({"prompt": "w1", "preference": [0.5, 0.5]}, "preference", "must be an object"),
        ({"prompt": "w1", "preference": {f"o{i}": 1e-4 for i in range(1000)}}, "preference", "Valid: helpful, brief"),
        ({"prompt": "w1", "preference": "hеlpful=1"}, "preference", "Valid: helpful, brief"),  # a Cyrillic е
        ({"prompt": "w1", "preference": "helpful"}, "preference", "name=number"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(server, body, param, message):
    answer = post(server, **body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert message in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "messages.0.content", "text"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role", "'system', 'developer', 'user' or 'assistant'"),
        ({"messages": [{"role": "user", "contents": "x"}]}, "messages.0.contents", "did you mean 'content'"),
        ({"messages": [{"role": "user", "content": "w1"}], "tools": [{}]}, "tools", "not supported"),
        ({"messages": [{"role": "user", "content": "w1"}], "top_logprobs": 2}, "top_logprobs", "needs logprobs set to true"),
        ({"messages": [{"role": "user", "content": "w1"}], "logprobs": 2}, "logprobs", "valid boolean, found 2"),
        ({"messages": [{"role": "user", "content": "w1"}], "logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"messages": [{"role": "user", "content": "w1"}], "max_tokens": 1, "max_completion_tokens": 2},
         "max_completion_tokens", "two names of one field"),
    ],
)  # fmt: skip
def test_wrong_chats_are_named(server, body, param, message):
    answer = post(server, "/v1/chat/completions", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert message in answer.json()["error"]["message"]


def test_fields_at_their_neutral_values_are_fine(server):
    body = {
        "prompt": "w1",
        "max_tokens": 1,
        "frequency_penalty": 0.0,
        "presence_penalty": 0,
        "echo": False,
        "best_of": 1,
    }
    assert post(server, **body, logprobs=None, logit_bias={}, suffix=None, user="somebody").status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400), (b"", 400), (b"[]", 400), (b'"w1"', 400), (b"\xff\xfe", 400), (b"[" * 10_000, 400),
        (b'{"prompt": "w1", "temperature": NaN}', 400), (b'{"prompt": "w1", "preference": {"helpful": NaN}}', 400),
        (b'{"prompt": "w1", "preference": {"helpful": 1e999}}', 400), (b'{"prompt": "\\ud800"}', 400),
        (b'{"prompt": "w1", "preference": "\\ud800=1"}', 400), (b'{"prompt": "w1", "\\ud800": 1}', 400),
        (b'{"prompt": "w1", "{message}": 1}', 400), (b'{"prompt": "w1", "n": ' + b"9" * 5000 + b"}", 400),
        (b'{"prompt": "' + b"a" * 20_000 + b'"}', 413),
    ],
)  # fmt: skip
def test_odd_bodies_are_the_clients_fault(server, content, status):
    answer = httpx.post(
        f"{server.url}/v1/completions", content=content, headers={"Content-Type": "application/json"}, timeout=120
    )
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_large_body_without_a_length_is_cut_off(server):
    answer = httpx.post(f"{server.url}/v1/completions", content=(b"x" * 1000 for _ in range(30)), timeout=120)
    assert answer.status_code == 413
    assert "20000 bytes allowed (max_body_bytes)" in answer.json()["error"]["message"]


def test_unknown_paths_and_methods_have_the_same_shape(server):
    for answer, status in (
        (httpx.get(server.url + "/v1/nothing", timeout=120), 404),
        (httpx.get(server.url + "/v1/completions", timeout=120), 405),
    ):
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


@given(st.dictionaries(st.sampled_from(["prompt", "n", "stop", "seed", "preference", "top_p", "stream", "max_tokens"]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3), max_leaves=5)))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_no_body_makes_the_server_fail(server, body):
    answer = httpx.post(
        f"{server.url}/v1/completions",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
        timeout=120,
    )
    assert answer.status_code in (200, 400)


# ---- load, failure, disconnects


def test_a_full_queue_is_a_429_with_retry_after(policy, start_server, monkeypatch):
    with start_server(policy, max_batch_size=1, max_waiting=1) as server:
        wait_until(lambda: server.service.ready)
        engine, gate = server.service.engine, threading.Event()
        stop(engine, gate, monkeypatch)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(post(server, prompt="w1", max_tokens=2))) for _ in range(2)
        ]
        threads[0].start()
        wait_until(lambda: engine.stats().running == 1)
        threads[1].start()
        wait_until(lambda: engine.stats().waiting == 1)
        refused = post(server, prompt="w1")
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["error"] == {
            "message": "the server is busy: 1 answers wait already and 1 may (max_waiting)",
            "type": "rate_limit_error", "param": None, "code": "queue_full",
        }  # fmt: skip
        assert post(server, prompt="w1", stream=True).status_code == 429
        with pytest.raises(openai.RateLimitError):
            server.client().completions.create(model="tiny", prompt="w1")
        gate.set()
        for thread in threads:
            thread.join(120)
        assert [a.status_code for a in answers] == [200, 200]


def stop(engine, gate, monkeypatch):
    """No forward before the gate opens."""
    forward = engine._batch._forward

    def held(*args):
        assert gate.wait(120)
        return forward(*args)

    monkeypatch.setattr(engine._batch, "_forward", held)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_a_client_that_disconnects_cancels_its_work(policy, start_server, hold, monkeypatch, stream, started):
    with start_server(policy, max_batch_size=2) as server:
        wait_until(lambda: server.service.ready)
        engine, gate = server.service.engine, threading.Event()
        if not started:
            stop(engine, gate, monkeypatch)
        else:
            hold(engine, steps=3)
        body = json.dumps({"prompt": "w1 w2", "max_tokens": 120, "n": 2, "stream": stream, "seed": 1, "temperature": 2})
        connection = socket.create_connection(server.socket.getsockname())
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        wait_until(lambda: engine.stats().running == 2)
        rows = list(engine._batch.rows)
        connection.close()
        wait_until(lambda: rows[0].ticket.done)
        gate.set()
        wait_until(lambda: engine.stats().running == 0)
        assert engine.stats().tokens <= 8  # of 240


def test_failures_are_a_500_or_an_event_and_the_server_goes_on(policy, start_server, monkeypatch):
    with start_server(policy) as server:
        wait_until(lambda: server.service.ready)
        engine = server.service.engine
        forward, calls = engine._batch._forward, []

        def broken(*args):
            calls.append(1)
            if len(calls) in (1, 4):
                raise RuntimeError("secret reason")
            return forward(*args)

        monkeypatch.setattr(engine._batch, "_forward", broken)
        answer = post(server, prompt="w1")
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "secret" not in answer.text
        answer = post(server, prompt="w1 w2", stream=True, seed=0, temperature=2)
        assert answer.status_code == 200
        chunks = events(answer.text)
        assert chunks[-1]["error"]["code"] == "generation_failed"
        assert chunks[0]["choices"][0]["text"]
        calls[:] = [1] * 2
        with pytest.raises(openai.APIError, match="failed while generating"):
            list(server.client().completions.create(model="tiny", prompt="w1 w2", stream=True, seed=0, temperature=2))
        assert post(server, prompt="w1").status_code == 200


def test_unforeseen_errors_tell_nothing_of_the_inside(policy, start_server, monkeypatch):
    with start_server(policy) as server:
        wait_until(lambda: server.service.ready)
        monkeypatch.setattr(Engine, "stream", lambda *a: 1 / 0)
        answer = post(server, prompt="w1")
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "division" not in answer.text


def test_mixed_preferences_at_once_give_what_each_gives_alone(server, client):
    def ask(i):
        return client.completions.create(
            model="tiny", prompt=f"w{i} w{i + 1}", max_tokens=25, seed=i, temperature=(i % 3) * 0.6,
            extra_body={"preference": {"helpful": i / 11, "brief": 1 - i / 11}},
        ).choices[0].text  # fmt: skip

    alone = [ask(i) for i in range(12)]
    together = [None] * 12
    threads = [threading.Thread(target=lambda i=i: together.__setitem__(i, ask(i))) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert together == alone
