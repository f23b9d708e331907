"""Clients that people already use talk to the server unchanged: curl, OpenAI's and LangChain's."""

import json
import math
import shutil
import subprocess

import pytest

QUESTION = [{"role": "user", "content": "w1 w2"}]
BRIEF = {"weights": {"helpful": 0.0, "brief": 1.0}}


def judge(client, user, times=10):
    """Feedback through the client's own means for what OpenAI does not have."""
    body = {"user": user, "chosen_preference": {"brief": 1}, "rejected_preference": {"helpful": 1}}
    for _ in range(times):
        found = client.post("/feedback", cast_to=object, body=body)
    return found


@pytest.fixture(scope="module")
def with_front(start_server, policy):
    from frontier.front import FrontPoint, ParetoFront

    rows = [(0.0, (0.0, 4.0)), (1.0, (4.0, 0.0))]
    points = [FrontPoint(r, (0.1, 0.1), 9, {"weights": {"helpful": w, "brief": 1 - w}}) for w, r in rows]
    with start_server(policy, front=ParetoFront(("helpful", "brief"), tuple(points))) as server:
        server.wait_until_ready()
        yield server


# ---- openai


def test_openais_client_tells_logprobs_of_a_completion(policy, client):
    request = {"model": "tiny", "prompt": "w1 w2", "max_tokens": 6, "temperature": 0, "logprobs": 3}
    whole = client.completions.create(**request).choices[0]
    told = whole.logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.text_offset) > 0
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert top[token] == logprob == max(top.values())  # greedy
        assert len(top) == 3
        assert sum(math.exp(value) for value in top.values()) <= 1 + 1e-4
    pieces = [chunk.choices[0].logprobs for chunk in client.completions.create(**request, stream=True)]
    assert [t for piece in pieces if piece for t in piece.tokens] == told.tokens
    assert [t for piece in pieces if piece for t in piece.token_logprobs] == told.token_logprobs


def test_openais_client_tells_logprobs_of_a_chat(client):
    request = {"model": "tiny", "messages": QUESTION, "max_tokens": 5, "seed": 1, "logprobs": True, "top_logprobs": 2}
    content = client.chat.completions.create(**request).choices[0].logprobs.content
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in content)
    chunks = list(client.chat.completions.create(**request, stream=True))
    streamed = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert streamed == content
    bare = client.chat.completions.create(**{**request, "top_logprobs": None}).choices[0].logprobs.content
    assert [token.logprob for token in bare] == [token.logprob for token in content]
    assert all(token.top_logprobs == [] for token in bare)


def test_openais_client_goes_on_with_an_answer_as_it_came(client, policy):
    """The usual loop of a chat: append the message that was returned, and the next question."""
    options = {"model": "tiny", "temperature": 0, "max_tokens": 5}
    first = client.chat.completions.create(messages=QUESTION, **options).choices[0].message
    turns = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": "w3"}]
    expected = client.chat.completions.create(messages=turns, **options).choices[0].message.content
    for back in (first, first.model_dump()):  # the second with every field that the client knows, as null
        messages = [*QUESTION, back, {"role": "user", "content": "w3"}]
        assert client.chat.completions.create(messages=messages, **options).choices[0].message.content == expected


def test_fields_that_change_nothing_are_taken_and_others_refused(client):
    from openai import BadRequestError

    def ask(message=None, **fields):
        return client.chat.completions.create(
            model="tiny", messages=[{**QUESTION[0], **(message or {})}], max_tokens=1, extra_body=fields
        )

    for fields in (
        {"parallel_tool_calls": None, "safety_identifier": None, "service_tier": None, "prompt_cache_key": None},
        {"parallel_tool_calls": True, "safety_identifier": "x", "service_tier": "auto", "prompt_cache_key": "x"},
        {"parallel_tool_calls": False, "service_tier": "default"},
    ):
        ask(**fields)
    ask({"annotations": [], "audio": None, "function_call": None, "refusal": None, "tool_calls": []})
    for message, fields, name in (
        (None, {"service_tier": "flex"}, "service_tier"),
        (None, {"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"refusal": "no"}, {}, "refusal"),
        ({"tool_calls": [{"id": "1"}]}, {}, "tool_calls"),
        ({"tool_call": None}, {}, "tool_call"),
    ):
        with pytest.raises(BadRequestError, match=name):
            ask(message, **fields)


def test_openais_client_reads_offsets_that_point_into_the_text(client):
    choice = client.completions.create(model="tiny", prompt="w1 w2", max_tokens=8, seed=3, logprobs=0).choices[0]
    told = choice.logprobs
    words = [(at, word) for at, word in zip(told.text_offset, told.tokens, strict=True) if not word.startswith("<")]
    assert len(words) > 1
    # A word that is decoded alone lacks the space that stands before it in the text, so lengths of tokens do not add up.
    assert [choice.text[at:].split()[0] for at, _ in words] == [word for _, word in words]


def test_openais_clients_user_gets_what_their_feedback_taught(with_front):
    client = with_front.client()
    learned = judge(client, "ann")

    def ask(user):
        return client.chat.completions.create(model="tiny", messages=QUESTION, user=user, temperature=0, max_tokens=8)

    assert ask("ann").preference == learned["preference"]
    assert ask("ann").preference_source == "user"
    assert ask("bob").preference_source == "default"
    [*_, last] = client.chat.completions.create(model="tiny", messages=QUESTION, user="ann", stream=True, max_tokens=2)
    assert (last.preference, last.preference_source) == (learned["preference"], "user")


# ---- curl


def curl(url, *arguments):
    done = subprocess.run(["curl", "-sS", "-m", "60", url, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(with_front):
    def post(path, body):
        header = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
        return curl(with_front.url + path, *header)

    answer = json.loads(post("/v1/completions", {"prompt": "w1", "max_tokens": 3, "preference": "brief=1"}))
    assert (answer["preference"], answer["preference_source"]) == (BRIEF, "request")
    lines = post("/v1/completions", {"prompt": "w1", "max_tokens": 3, "stream": True}).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert json.loads(lines[0].removeprefix("data: "))["object"] == "text_completion"
    picked = json.loads(post("/v1/preferences/pick", {"maximize": "brief"}))
    assert picked["preference"] == BRIEF
    post("/v1/feedback", {"user": "curly", "chosen_preference": "brief=1", "rejected_preference": "helpful=1"})
    assert json.loads(curl(with_front.url + "/v1/users/curly"))["judgements"] == 1
    assert json.loads(curl(with_front.url + "/v1/users/curly", "-X", "DELETE"))["deleted"]
    assert len(json.loads(curl(with_front.url + "/v1/front"))["points"]) == 2


# ---- LangChain


@pytest.fixture
def chat(with_front):
    langchain = pytest.importorskip("langchain_openai")

    def make(**options):
        return langchain.ChatOpenAI(
            base_url=f"{with_front.url}/v1", api_key="none", model="tiny", max_retries=0, **options
        )

    return make


def test_langchain_chats(chat, policy):
    model = chat(temperature=0, max_tokens=9, extra_body={"preference": BRIEF})
    [expected] = policy.generate([QUESTION], BRIEF, max_new_tokens=9, do_sample=False)
    answer = model.invoke("w1 w2")
    assert answer.content == expected
    assert (
        answer.usage_metadata["total_tokens"]
        == answer.usage_metadata["input_tokens"] + answer.usage_metadata["output_tokens"]
    )
    assert "".join(chunk.content for chunk in model.stream("w1 w2")) == expected
    assert [a.content for a in model.batch(["w1 w2"] * 3)] == [expected] * 3


def test_langchain_tells_logprobs(chat):
    answer = chat(temperature=0, max_tokens=3, seed=1, logprobs=True, top_logprobs=2).invoke("w1 w2")
    content = answer.response_metadata["logprobs"]["content"]
    assert content
    assert all(token["top_logprobs"][0]["logprob"] == token["logprob"] for token in content)


def test_langchains_user_gets_what_their_feedback_taught(chat, with_front, policy):
    learned = judge(with_front.client(), "lana")
    told = policy.generate([QUESTION], learned["preference"], max_new_tokens=12, do_sample=False)[0]
    default = policy.generate([QUESTION], policy.default_preference, max_new_tokens=12, do_sample=False)[0]
    options = {"temperature": 0, "max_tokens": 12}
    assert chat(**options, model_kwargs={"user": "lana"}).invoke("w1 w2").content == told
    assert chat(**options, model_kwargs={"user": "mona"}).invoke("w1 w2").content == default
    assert told != default


def test_langchain_completes(with_front, policy):
    langchain = pytest.importorskip("langchain_openai")
    options = {"base_url": f"{with_front.url}/v1", "api_key": "none", "model": "tiny", "max_retries": 0}
    model = langchain.OpenAI(**options, temperature=0, max_tokens=7, extra_body={"preference": "helpful=1"})
    [expected] = policy.generate(["w1 w2"], "helpful=1", max_new_tokens=7, do_sample=False)
    assert model.invoke("w1 w2") == expected
