import asyncio
import json
import math

import httpx
import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.remote import JudgePrompt, PrincipleJudge, RemoteError, Retry
from reward_heads.saved import load_reward, save_reward
from reward_heads.vector_reward import VectorReward

PRINCIPLES = {"kind": "The reply is kind.", "short": "The reply is short."}
BASE = "http://judge.test/v1"
NAN = math.nan
KEY = "sk-very-secret-1234"


def with_log_probabilities(p, text="Yes"):
    top = [{"token": "Yes", "logprob": math.log(p)}, {"token": "No", "logprob": math.log(1 - p)}]
    content = [{"token": "Yes", "logprob": math.log(p), "top_logprobs": top}]
    return {
        "choices": [
            {
                "message": {"role": "assistant", "content": text},
                "logprobs": {"content": content},
                "finish_reason": "stop",
            }
        ]
    }


def plain(text, **more):
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}]}


class Model:
    """A judge: `answer(question, body)` gives the JSON to answer with, or an httpx response."""

    def __init__(self, answer):
        self.answer = answer
        self.bodies = []
        self.requests = []

    def __call__(self, request):
        body = json.loads(request.content)
        self.requests.append(request)
        self.bodies.append(body)
        found = self.answer(body["messages"][-1]["content"], body)
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)


def judge(model, principles=PRINCIPLES, **options):
    return PrincipleJudge(principles, BASE, "judge-7b", transport=httpx.MockTransport(model), **options)


def knows(question, body):
    """Kind replies have a heart; short ones are short."""
    if "is kind" in question:
        return with_log_probabilities(0.9 if "♥" in question else 0.2)
    return with_log_probabilities(0.75)


def test_probabilities_of_yes():
    model = Model(knows)
    reward = judge(model)
    assert isinstance(reward, VectorReward)
    assert reward.objectives == ("kind", "short")
    scores = reward.score(["p", "p"], ["♥", "grr"])
    assert_close(scores, torch.tensor([[0.9, 0.75], [0.2, 0.75]]))
    assert len(model.bodies) == 4
    assert str(model.requests[0].url) == f"{BASE}/chat/completions"
    body = model.bodies[0]
    assert (body["model"], body["temperature"], body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (
        "judge-7b",
        0,
        True,
        20,
        4,
    )
    assert reward.score([], []).shape == (0, 2)


def test_log_odds():
    scores = judge(Model(knows), output="log_odds").score(["p"], ["♥"])
    assert_close(scores, torch.tensor([[math.log(9), math.log(3)]]))


def test_a_judgement_says_how_it_was_made():
    found = judge(Model(knows)).judge(["p"], ["♥"])
    assert found[0]["kind"].probability == pytest.approx(0.9)
    assert (found[0]["kind"].method, found[0]["kind"].problem, found[0]["kind"].text) == ("logprobs", None, "Yes")


def test_samples_where_there_are_no_log_probabilities():
    said = iter(["No", "Yes", "Yes.", " yes", "Perhaps"])
    model = Model(lambda question, body: plain(next(said)))
    reward = judge(model, {"kind": "The reply is kind."}, n_samples=4)
    with pytest.warns(UserWarning, match=f"{BASE}/chat/completions: no log-probabilities .*answers 4 times instead"):
        found = reward.judge(["p"], ["c"])
    # the first answer, which lacked log-probabilities, was at temperature 0 and does not count: yes, yes, yes, unreadable
    assert found[0]["kind"].method == "samples"
    assert found[0]["kind"].probability == pytest.approx((3 + 1) / (3 + 2))
    assert [body["temperature"] for body in model.bodies] == [0, 1, 1, 1, 1]
    assert [body.get("seed") for body in model.bodies] == [None, 0, 1, 2, 3]
    assert "logprobs" not in model.bodies[-1]


def test_an_endpoint_that_refuses_the_request_for_them(recwarn):
    def answer(question, body):
        if "logprobs" in body:
            return httpx.Response(400, json={"error": "logprobs are not supported"})
        return plain("Yes")

    model = Model(answer)
    reward = judge(model, {"kind": "The reply is kind."}, n_samples=1)
    assert reward.score(["p", "q"], ["c", "c"]).tolist() == [[pytest.approx(2 / 3)]] * 2
    asked = sum("logprobs" in body for body in model.bodies)
    assert asked <= 2  # once it is known, it is not asked again
    reward.score(["r"], ["c"])
    assert sum("logprobs" in body for body in model.bodies) == asked
    assert [str(w.message) for w in recwarn if "logprobs are not supported" in str(w.message)]
    with pytest.raises(RemoteError, match=r"no log-probabilities .*choose method='samples'"):
        judge(Model(answer), method="logprobs").score(["p"], ["c"])


def test_samples_from_the_start():
    model = Model(lambda question, body: plain("No"))
    assert judge(model, {"kind": "The reply is kind."}, method="samples", n_samples=1).score(
        ["p"], ["c"]
    ).item() == pytest.approx(1 / 3)
    assert [body["temperature"] for body in model.bodies] == [0]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (plain(None, finish_reason="content_filter"), "refused"),
        (
            {"choices": [{"message": {"content": None, "refusal": "I can't judge this."}, "finish_reason": "stop"}]},
            "refused",
        ),
        (
            plain("As an AI", logprobs={"content": [{"token": "As", "logprob": -0.01, "top_logprobs": []}]}),
            "neither yes nor no",
        ),
        (
            plain(
                "<think>Hm",
                logprobs={"content": [{"token": "<think>", "logprob": 0.0}, {"token": "Hm", "logprob": 0.0}]},
            ),
            "cut off",
        ),
    ],
)
def test_no_answer_is_not_known_and_said(answer, problem):
    reward = judge(Model(lambda question, body: answer if "is kind" in question else with_log_probabilities(0.75)))
    with pytest.warns(UserWarning, match=rf"1 of 2 judgements are not known \(NaN\): {problem}"):
        scores = reward.score(["p"], ["c"])
    assert_close(scores, torch.tensor([[NAN, 0.75]]), equal_nan=True)
    assert (reward.unreadable, reward.failures) == (1, 0)
    assert reward.judge(["p"], ["c"])[0]["kind"].problem == problem


@pytest.mark.parametrize(
    "answer",
    [{}, {"choices": []}, plain(3), [1], plain("Yes", logprobs={"content": [{"token": "Yes", "logprob": 3.0}]})],
)
def test_garbage_is_refused_with_the_address(answer):
    with pytest.raises(RemoteError, match=rf"^{BASE}/chat/completions: expected .* found"):
        judge(Model(lambda question, body: answer)).score(["p"], ["c"])


def test_a_failed_question_can_be_missing(clock):
    def answer(question, body):
        return httpx.Response(500) if "is kind" in question else with_log_probabilities(0.75)

    model = Model(answer)
    reward = judge(model, on_failure="missing", retry=Retry(attempts=2), clock=clock)
    with pytest.warns(UserWarning, match=r"1 of 2 judgements .*status 500"):
        assert_close(reward.score(["p"], ["c"]), torch.tensor([[NAN, 0.75]]), equal_nan=True)
    assert len(model.bodies) == 3
    assert reward.failures == 1
    with pytest.raises(RemoteError, match=r"status 500 .*attempt 2 of 2"):
        judge(model, retry=Retry(attempts=2), clock=clock).score(["p"], ["c"])


def test_a_judge_that_hangs():
    async def hang(request):
        await asyncio.sleep(30)

    with pytest.raises(RemoteError, match=r"no answer within 0.03 s"):
        judge(hang, timeout=0.03, retry=Retry(attempts=1)).score(["p"], ["c"])


def test_a_new_principle_asks_nothing_again(tmp_path):
    model = Model(knows)
    one = {"kind": PRINCIPLES["kind"]}
    first = judge(model, one, cache=tmp_path / "scores").score(["p", "p"], ["♥", "♥"])
    assert len(model.bodies) == 1  # the same text once
    again = judge(model, cache=tmp_path / "scores").score(["p"], ["♥"])
    assert len(model.bodies) == 2
    assert again[0, 0] == first[0, 0]
    judge(model, one, cache=tmp_path / "scores", output="log_odds").score(["p"], ["♥"])
    assert len(model.bodies) == 2
    judge(model, one, cache=tmp_path / "scores", prompt=JudgePrompt(system="Be strict.")).score(["p"], ["♥"])
    assert len(model.bodies) == 3


def test_further_fields_of_the_request():
    model = Model(knows)
    judge(model, request={"max_tokens": None, "max_completion_tokens": 9, "top_p": 0.5}).score(["p"], ["c"])
    assert "max_tokens" not in model.bodies[0]
    assert (model.bodies[0]["max_completion_tokens"], model.bodies[0]["top_p"]) == (9, 0.5)


def test_bounded_concurrency():
    running = most = 0

    async def answer(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return httpx.Response(200, json=with_log_probabilities(0.5))

    judge(answer, concurrency=2).score(["p"] * 4, list("abcd"))
    assert most == 2


def test_over_a_real_connection_within_a_running_loop(server):
    server.respond = lambda number, body: with_log_probabilities(0.6)
    reward = PrincipleJudge(PRINCIPLES, server.url.removesuffix("/score") + "/v1/", "m")

    async def within():
        return reward.score(["p"], ["c"]), await reward.score_async(["p"], ["c"])

    blocking, awaited = asyncio.run(within())
    assert_close(blocking, torch.tensor([[0.6, 0.6]]))
    assert_close(awaited, blocking)


def test_the_key_is_sent_and_stands_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    model = Model(knows)
    reward = judge(model, api_key_env="MY_KEY")
    reward.score(["p"], ["c"])
    assert model.requests[0].headers["authorization"] == f"Bearer {KEY}"
    save_reward(reward, tmp_path)
    assert KEY not in (tmp_path / "remote.json").read_text()
    assert KEY not in str(vars(reward))


def test_comes_back_from_a_folder(tmp_path):
    reward = judge(
        Model(knows), output="log_odds", method="samples", n_samples=3, min_mass=0.2, max_tokens=9, top_logprobs=5, request={"top_p": 1},
        prompt=JudgePrompt(system="é", yes=("ja",), no=("nein",)), concurrency=2, timeout=3.0, deadline=7.0, retry=Retry(2, 0.1, 1.0),
        on_failure="missing",
    )  # fmt: skip
    save_reward(reward, tmp_path)
    loaded = load_reward(tmp_path)
    assert isinstance(loaded, PrincipleJudge)
    compared = set(vars(reward)) - {"endpoint", "cache"}
    assert {name: getattr(loaded, name) for name in compared} == {name: getattr(reward, name) for name in compared}
    left_out = {"clock": None, "transport": None}
    assert vars(loaded.endpoint) | left_out == vars(reward.endpoint) | left_out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"principles": ["kind"]}, "principles must be a mapping"),
        ({"prompt": {"system": "", "user": "{principle}", "yes": ["y"], "no": ["n"]}}, "must have the place"),
        ({"prompt": 3}, r"remote\.json"),
        ({"prompt": {"sytem": ""}}, "sytem"),
        ({"metod": "auto"}, "unknown field 'metod': did you mean 'method'"),
        ({"n_samples": 0}, "n_samples must be"),
    ],
)
def test_refuses_a_wrong_file(tmp_path, change, message):
    judge(Model(knows)).save_pretrained(tmp_path)
    path = tmp_path / "remote.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as caught:
        load_reward(tmp_path)
    assert "remote.json" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"principles": {"kind": " "}}, "principle of objective 'kind' must be a statement"),
        ({"principles": {}}, "at least one objective"),
        ({"model": ""}, "model must be the judge's name"),
        ({"base_url": "judge.test"}, "url must be an address"),
        ({"base_url": None}, "base_url must be an address"),
        ({"base_url": f"{BASE}?key={KEY}"}, "base_url must be an address without a query"),
        ({"output": "odds"}, "output must be one of probability, log_odds"),
        ({"method": "guess"}, "method must be one of auto, logprobs, samples"),
        ({"n_samples": 0}, "n_samples must be a whole number"),
        ({"min_mass": 0.0}, r"min_mass must be in \(0, 1\]"),
        ({"request": {"stop": {1, 2}}}, "request must hold JSON values"),
    ],
)
def test_refuses(wrong, message):
    with pytest.raises(InputError, match=message):
        PrincipleJudge(**{"principles": PRINCIPLES, "base_url": BASE, "model": "m", **wrong})


@pytest.mark.parametrize("method", ["auto", "logprobs"])
def test_one_empty_answer_changes_nothing_for_the_others(method):
    empty = plain("", logprobs={"content": []}, finish_reason="length")
    reward = judge(
        Model(lambda question, body: empty if "is kind" in question else knows(question, body)), method=method
    )
    with pytest.warns(UserWarning, match=r"1 of 2 judgements are not known \(NaN\): cut off") as warned:
        assert_close(reward.score(["p"], ["c"]), torch.tensor([[NAN, 0.75]]), equal_nan=True)
    assert len(warned) == 1
    assert reward.judge(["q"], ["c"])[0]["short"].method == "logprobs"
