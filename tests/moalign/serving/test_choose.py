import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from frontier.prompt_rewards import PromptRewards
from moalign.serving.choose import choose, front_of
from moalign.serving.errors import ApiError
from moalign.serving.schemas import ChooseBody


def make_front(shift=0.0):
    points = []
    for i in range(9):
        w = i / 8
        rewards = (10 * (1 - (1 - w) ** 2) ** 0.5 + shift, -3 + (1 - w**2) ** 0.5)
        weights = {"weights": {"helpful": w, "brief": 1 - w}}
        points.append(FrontPoint(rewards, (0.2, float("nan")), 64, weights, extra={"sample": f"w{i}"}))
    return ParetoFront(("helpful", "brief"), tuple(points))


@pytest.fixture(scope="module")
def choosing(start_server, policy):
    with start_server(policy, front=make_front()) as server:
        server.wait_until_ready()
        yield server


def post(server, path="/v1/preferences/choose", **body):
    return httpx.post(server.url + path, json=body, timeout=120)


@pytest.fixture(scope="module")
def mixed(start_server, policy):
    """A front whose first two points, better than all others, were measured at no preference."""
    soups = FrontPoint((20.0, 20.0), (0.2, 0.2), 64), FrontPoint((19.0, 21.0), (0.2, 0.2), 64)
    front = ParetoFront(("helpful", "brief"), (*soups, *make_front().points))
    with start_server(policy, front=front) as server:
        server.wait_until_ready()
        yield server


def test_only_points_that_can_be_asked_for_are_compared_under_their_numbers_in_the_front(mixed):
    shown = httpx.get(mixed.url + "/v1/front", timeout=120).json()["points"]
    assert [point["offered"] for point in shown] == [False, False] + [True] * 9
    for response in talk(mixed, lambda rewards: rewards["helpful"]):
        seen = [response["choice"], *(response["question"] or {}).values()]
        for point in seen:
            assert point["preference"] == shown[point["index"]]["preference"]
            assert point["rewards"] == shown[point["index"]]["rewards"]
            assert point["index"] >= 2
    answer = post(mixed, "/v1/completions", prompt="w1", max_tokens=1, preference=response["choice"]["preference"])
    assert answer.status_code == 200


def test_a_front_that_offers_nothing_is_a_404(start_server, policy):
    bare = ParetoFront(("helpful", "brief"), tuple(FrontPoint((i, -i), (0.1, 0.1), 9) for i in range(3)))
    with start_server(policy, front=bare) as server:
        server.wait_until_ready()
        refused(post(server), 404, None, "no point of this bundle's front")


def talk(server, prefer, **settings):
    """A whole conversation; all responses."""
    found = [post(server, **settings).json()]
    while not found[-1]["done"]:
        a, b = (found[-1]["question"][name]["rewards"] for name in "ab")
        answer = "a" if prefer(a) > prefer(b) else "b"
        found.append(post(server, state=found[-1]["state"], answer=answer).json())
    return found


def test_a_conversation_ends_in_a_preference_that_a_completion_takes(choosing):
    found = talk(choosing, lambda rewards: rewards["helpful"])
    choice = found[-1]["choice"]
    assert choice["index"] in (7, 8)
    assert choice["questions"] == len(found) - 1 <= 12
    assert found[-1]["question"] is None
    assert choice["weights"]["helpful"]["mean"] > 0.6
    answer = post(choosing, "/v1/completions", prompt="w1", max_tokens=2, preference=choice["preference"])
    assert answer.status_code == 200
    assert answer.json()["preference"] == choice["preference"]


def test_a_question_shows_two_points_of_the_front(choosing):
    found = post(choosing).json()
    front = make_front()
    assert found["object"] == "preference.choice"
    for name in "ab":
        shown = found["question"][name]
        point = front.points[shown["index"]]
        assert shown["rewards"] == dict(zip(front.objectives, point.rewards, strict=True))
        assert shown["standard_error"] == {"helpful": 0.2, "brief": None}
        assert shown["preference"] == point.preference
        assert shown["sample"] == f"w{shown['index']}"


def test_it_asks_what_the_elicitation_asks(choosing):
    """The server keeps nothing: the same conversation in Python, without it."""
    from frontier.choose.elicit import Elicitation

    own = Elicitation(make_front(), model="linear", max_questions=4, seed=3, regret=0.0)
    for response in talk(choosing, lambda r: r["brief"], utility="linear", max_questions=4, seed=3, regret=0.0)[:-1]:
        question = own.question()
        assert [response["question"][name]["index"] for name in "ab"] == [question.a, question.b]
        front = make_front()
        better = front.points[question.a].rewards[1] > front.points[question.b].rewards[1]
        own.answer(question, "a" if better else "b")
    assert own.question() is None


def test_conversations_do_not_disturb_each_other(choosing):
    goals = [lambda r: r["helpful"], lambda r: r["brief"]] * 2
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda goal: talk(choosing, goal, max_questions=5), goals))
    assert together == [talk(choosing, goal, max_questions=5) for goal in goals[:2]] * 2


def test_cant_tell_is_an_answer_and_asking_again_repeats_the_question(choosing):
    first = post(choosing).json()
    assert post(choosing, state=first["state"]).json() == first
    second = post(choosing, state=first["state"], answer="cant_tell").json()
    assert second["choice"]["questions"] == 1
    assert second["question"] != first["question"]


def refused(response, status, param, message):
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param), error
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_a_bundle_without_a_front_is_a_404(server):
    refused(post(server), 404, None, "this bundle has no measured front")


def test_wrong_requests(choosing):
    state = post(choosing).json()["state"]
    refused(post(choosing, answer="a"), 400, "answer", "needs the state")
    refused(post(choosing, state=state, answer="="), 400, "answer", "'a', 'b' or 'cant_tell'")
    refused(post(choosing, state=state, max_questions=3), 400, "max_questions", "is set when a conversation begins")
    refused(post(choosing, max_questions=51), 400, "max_questions", "less than or equal to 50")
    refused(post(choosing, utility="cubic"), 400, "utility", "'linear', 'gp' or 'auto'")
    refused(post(choosing, states={}), 400, "states", "did you mean 'state'?")
    refused(post(choosing, model="other"), 404, "model", "does not exist")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.clear(), "expected the fields question and elicitation"),
        (lambda s: s.update(question=[0, 99]), "question must be two candidates or null"),
        (lambda s: s.update(question=[0, True]), "question must be two candidates or null"),
        (lambda s: s.update(elicitation=3), "the state of an elicitation must be an object"),
        (lambda s: s["elicitation"].update(schema="x"), "must have schema 'frontier.Elicitation'"),
        (lambda s: s["elicitation"]["candidates"][0].__setitem__(0, 5.0), "about another front"),
        (lambda s: s["elicitation"]["candidates"].__setitem__(0, "x"), "candidates must be rows of numbers"),
        (
            lambda s: s["elicitation"]["settings"].update(samples=2**15),
            "samples is not for the client to set: found 32768",
        ),
        (lambda s: s["elicitation"]["settings"].update(samples=256), "samples is not for the client to set: found 256"),
        (lambda s: s["elicitation"]["settings"].update(criterion="eubo"), "criterion is not for the client to set"),
        (lambda s: s["elicitation"]["settings"].update(criterion=[]), "unknown criterion"),
        (lambda s: s["elicitation"]["settings"].update(regret=None), "regret must be a number"),
        (
            lambda s: s["elicitation"]["answers"].update(rationality=1e4),
            "the model of the answers is not for the client",
        ),
        (lambda s: s["elicitation"]["answers"].update(tie=10**400), "tie must be a number"),
        (lambda s: s["elicitation"]["candidates"][0].__setitem__(0, 10**400), "candidates must be rows of numbers"),
        (lambda s: s["elicitation"]["settings"].update(max_questions=200), "50 questions are allowed"),
        (lambda s: s["elicitation"]["settings"].update(samples=1e9), "samples must be a whole number"),
        (lambda s: s["elicitation"]["answers"].update(lapse="x"), "lapse must be a number"),
        (lambda s: s["elicitation"].update(history=[{"a": 0, "b": 1, "answer": "c"}]), "unknown answer 'c'"),
        (lambda s: s["elicitation"].update(history=[{"a": 0, "b": 1}]), "field 'answer' is missing"),
        (lambda s: s["elicitation"].update(history=[{"a": 0, "b": 1, "answer": "a"}] * 2), "were compared before"),
    ],
)
def test_a_state_that_was_changed(choosing, change, message):
    state = post(choosing).json()["state"]
    change(state)
    refused(post(choosing, state=state, answer="a"), 400, "state", message)


def test_a_state_is_small(choosing):
    states = [response["state"] for response in talk(choosing, lambda r: r["brief"])]
    assert max(len(json.dumps(state)) for state in states) < 4000


def test_the_front_of_a_bundle(tmp_path):
    assert front_of(tmp_path) is None
    make_front().save(tmp_path / "front.json")
    assert front_of(tmp_path).objectives == ("helpful", "brief")
    samples = PromptRewards(("helpful", "brief"), [[[0, 1], [1, 2]], [[2, 0], [3, 0]]], ("x", "y"))
    ParetoFront.of_prompt_rewards(samples).save(tmp_path / "front.json")
    (tmp_path / "front.prompts.safetensors").unlink()  # no question needs them
    assert front_of(tmp_path).rewards.tolist() == [[0.5, 1.5], [2.5, 0]]
    (tmp_path / "front.json").write_text("{")
    with pytest.raises(InputError, match="not a readable front"):
        front_of(tmp_path)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([(1.0, 2.0)], "at least 2 candidates, found 1"),
        ([(float(i),) * 2 for i in range(600)], "it has 600 points"),
        ([(float(i), -float(i)) for i in range(257)], "it has 257 points with 2 objectives, allowed: 256 points"),
    ],
)
def test_a_front_that_nobody_can_be_asked_about(rewards, message):
    front = ParetoFront(("helpful", "brief"), tuple(FrontPoint(r, (0.1, 0.1), 8) for r in rewards))
    for body in (ChooseBody(), ChooseBody(state={})):
        with pytest.raises(ApiError, match=message) as found:
            choose(front, body)
        assert (found.value.status, found.value.code, found.value.param) == (409, "no_choice", None)


def test_errors_do_not_send_back_what_a_client_sent(choosing):
    state = post(choosing).json()["state"]
    state["question"] = ["x" * 10_000]
    response = post(choosing, state=state)
    refused(response, 400, "state", "question must be two candidates or null")
    assert len(response.json()["error"]["message"]) < 400


def test_conversations_leave_the_threads_to_completions(choosing, monkeypatch):
    """However many choose, one at a time is computed."""
    from moalign.serving.routes import preferences

    running, most, lock = [0], [0], threading.Lock()

    def slow(*arguments):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return choose(*arguments)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(preferences, "choose", slow)
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda _: post(choosing).status_code, range(12)))
    assert (codes, most) == ([200] * 12, [1])
