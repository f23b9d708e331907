import asyncio
import json
import math
import threading

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import CombinedReward, FunctionReward, as_reward_funcs, rules
from reward_heads.remote import HTTPReward, RemoteError, RequestRefused, Retry
from reward_heads.saved import load_reward, save_reward
from reward_heads.vector_reward import VectorReward

NAN = math.nan
ONCE = Retry(attempts=1)
KEY = "sk-very-secret-1234"


def test_scores_of_a_real_server(server):
    reward = HTTPReward(server.url, ["long"], batch_size=2)
    assert isinstance(reward, VectorReward)
    scores = reward.score(["p"] * 5, ["a", "bb", "ccc", "dddd", "eeeee"])
    assert_close(scores, torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]))
    assert sorted(len(body["completions"]) for body in server.bodies) == [1, 2, 2]
    assert reward.score([], []).shape == (0, 1)


def test_the_server_may_name_the_order_and_leave_scores_out(server):
    server.respond = lambda number, body: {"objectives": ["b", "a"], "scores": [[1, 2.5], [None, -1]]}
    scores = HTTPReward(server.url, ["a", "b"]).score(["p", "q"], ["x", "x"])
    assert_close(scores, torch.tensor([[2.5, 1.0], [-1.0, NAN]]), equal_nan=True)


def test_what_is_sent(server):
    message = [{"role": "user", "content": "Hi"}]
    HTTPReward(server.url, ["long"]).score([message], ["a"])
    assert server.bodies == [{"prompts": ["Hi"], "completions": ["a"]}]
    server.respond = lambda number, body: {"scores": [[1.0]]}
    HTTPReward(server.url, ["long"], raw=True).score([message], ["a"])
    assert server.bodies[1] == {"prompts": [message], "completions": ["a"]}


def test_a_text_that_comes_twice_is_sent_once(server):
    scores = HTTPReward(server.url, ["long"]).score(["p", "q", "p"], ["a", "a", "a"])
    assert server.bodies == [{"prompts": ["p", "q"], "completions": ["a", "a"]}]
    assert scores.tolist() == [[1.0]] * 3


GARBAGE = {
    "text": ((200, {}, b"<html>It works!</html>"), r"expected JSON, found '<html>It works!</html>'"),
    "a list": ([[1.0]], r'expected \{"scores": \[\[...\], ...\]\}, found \[\[1.0\]\]'),
    "no scores": ({"rewards": [[1.0]]}, "found {'rewards'"),
    "half the batch": ({"scores": [[1.0, 2.0]]}, r"expected 2 rows of scores, one for each text, found 1"),
    "one number a text": ({"scores": [1.0, 2.0]}, r"row 0: expected 2 numbers \(a, b\), found 1.0"),
    "a short row": ({"scores": [[1.0, 2.0], [1.0]]}, r"row 1: expected 2 numbers \(a, b\), found \[1.0\]"),
    "strings": (
        {"scores": [[1.0, 2.0], [1.0, "high"]]},
        r"row 1, objective 'b': expected a finite number or null, found 'high'",
    ),
    "booleans": ({"scores": [[True, 2.0], [1.0, 1.0]]}, r"row 0, objective 'a': .* found True"),
    "nan": ({"scores": [[NAN, 2.0], [1.0, 1.0]]}, r"row 0, objective 'a': .* found nan"),
    "infinity": ({"scores": [[math.inf, 2.0], [1.0, 1.0]]}, r"row 0, objective 'a': .* found inf"),
    "too large": ({"scores": [[10**400, 2.0], [1.0, 1.0]]}, r"row 0, objective 'a': .* found 1000"),
    "other objectives": ({"objectives": ["a", "c"], "scores": []}, r"expected the objectives a, b, found \['a', 'c'\]"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_refused_with_the_address(server, what):
    answer, message = GARBAGE[what]
    server.respond = lambda number, body: answer
    with pytest.raises(RemoteError, match=message) as caught:
        HTTPReward(server.url, ["a", "b"], retry=Retry(first_wait=0)).score(["p", "q"], ["x", "y"])
    assert str(caught.value).startswith(f"{server.url}: ")
    assert len(server.bodies) == 1  # asking again would not help


def test_garbage_can_be_missing(server):
    server.respond = lambda number, body: {"scores": [[1.0]]}  # half of each full batch
    reward = HTTPReward(server.url, ["a"], batch_size=2, on_failure="missing")
    with pytest.warns(
        UserWarning, match=r"2 of 3 rows are not known \(NaN\): http.*expected 2 rows of scores.* found 1"
    ):
        scores = reward.score(["p", "q", "r"], ["x", "y", "z"])
    assert_close(scores, torch.tensor([[NAN], [NAN], [1.0]]), equal_nan=True)
    assert reward.failures == 2


def test_errors_pass_and_a_busy_server_is_waited_for(server, clock):
    answers = {1: (500, {}, b"oops"), 2: (429, {"Retry-After": "5"}, b"slow down")}
    server.respond = lambda number, body: answers.get(number, {"scores": [[4.0]]})
    reward = HTTPReward(server.url, ["a"], retry=Retry(attempts=3, first_wait=1.0, seed=0), clock=clock)
    assert reward.score(["p"], ["x"]).tolist() == [[4.0]]
    assert len(server.bodies) == 3
    assert 0.5 <= clock.slept[0] <= 1.0
    assert clock.slept[1] == 5.0


def test_a_server_that_hangs_times_out(server):
    server.respond = lambda number, body: 0.15
    reward = HTTPReward(server.url, ["a"], timeout=0.05, retry=Retry(attempts=2, first_wait=0.0))
    with pytest.raises(RemoteError, match=r"no answer within 0.05 s \(attempt 2 of 2\)"):
        reward.score(["p"], ["x"])


def test_a_server_that_drips_times_out_too(server):
    """Each byte comes in time; the answer does not."""
    import httpx

    async def drip():
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=drip()))
    with pytest.raises(RemoteError, match=r"no answer within 0.06 s"):
        HTTPReward(server.url, ["a"], timeout=0.06, retry=ONCE, transport=transport).score(["p"], ["x"])


def test_a_connection_that_is_closed_without_an_answer(server):
    server.respond = lambda number, body: 0.0 if number == 1 else {"scores": [[1.0]]}
    assert HTTPReward(server.url, ["a"], retry=Retry(first_wait=0.0)).score(["p"], ["x"]).tolist() == [[1.0]]


def test_nobody_listens():
    with pytest.raises(RemoteError, match=r"^http://127.0.0.1:9/score: ConnectError"):
        HTTPReward("http://127.0.0.1:9/score", ["a"], retry=ONCE).score(["p"], ["x"])


def test_a_lost_right_is_raised_even_where_failures_are_missing(server):
    server.respond = lambda number, body: (401, {}, b"who are you?")
    with pytest.raises(RequestRefused, match="status 401 Unauthorized, 'who are you"):
        HTTPReward(server.url, ["a"], on_failure="missing").score(["p"], ["x"])


def test_the_deadline_is_for_the_whole_call(server, clock):
    server.respond = lambda number, body: (503, {"Retry-After": "4"}, b"")
    reward = HTTPReward(server.url, ["a"], batch_size=1, concurrency=1, deadline=6.0, on_failure="missing", clock=clock)
    with pytest.warns(UserWarning, match="3 of 3 rows"):
        assert reward.score(["p"] * 3, ["x", "y", "z"]).isnan().all()
    assert clock.slept == [4.0]  # 8 seconds would be too many; the other requests fail at their first error
    assert len(server.bodies) == 4


def test_bounded_concurrency(server):
    barrier = threading.Barrier(3, timeout=60)

    def respond(number, body):
        barrier.wait()  # opens only if three run at a time
        return {"scores": [[1.0]] * len(body["completions"])}

    server.respond = respond
    HTTPReward(server.url, ["a"], batch_size=1, concurrency=3).score(["p"] * 9, [str(i) for i in range(9)])
    assert server.most_at_once == 3


def test_within_a_running_loop_and_from_several_threads(server):
    reward = HTTPReward(server.url, ["long"])

    async def within():
        return reward.score(["p"], ["aa"]), await reward.score_async(["p"], ["aaa"])

    blocking, awaited = asyncio.run(within())
    assert (blocking.item(), awaited.item()) == (2.0, 3.0)
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: reward.score(["p"], ["x" * i]).item()}))
        for i in range(1, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: float(i) for i in range(1, 7)}


def test_a_cache_survives_the_process_and_knows_the_model(server, tmp_path):
    def fresh(**options):
        return HTTPReward(server.url, ["long"], cache=tmp_path / "scores.sqlite", **options)

    first = fresh().score(["p", "p"], ["a", "bb"])
    assert fresh().score(["p", "p", "p"], ["bb", "a", "say it"]).tolist() == [[2.0], [1.0], [6.0]]
    assert [body["completions"] for body in server.bodies] == [["a", "bb"], ["say it"]]
    assert fresh(version="2").score(["p"], ["a"]).equal(first[:1])
    assert len(server.bodies) == 3
    assert b"say it" not in (tmp_path / "scores.sqlite").read_bytes()  # hashes, not texts


def test_failures_are_not_cached_and_what_came_before_them_is(server):
    server.respond = lambda number, body: (
        {"scores": [[1.0]]} if body["completions"] != ["bad"] or number > 3 else (400, {}, b"")
    )
    reward = HTTPReward(server.url, ["a"], batch_size=1, concurrency=1, cache=":memory:")
    with pytest.raises(RemoteError, match="status 400"):
        reward.score(["p"] * 3, ["x", "bad", "y"])
    assert len(server.bodies) == 2
    server.respond = lambda number, body: {"scores": [[1.0]]}
    assert reward.score(["p"] * 3, ["x", "bad", "y"]).tolist() == [[1.0]] * 3
    assert [body["completions"][0] for body in server.bodies[2:]] == ["bad", "y"]


def test_the_key_is_sent_and_stands_nowhere(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    reward = HTTPReward(server.url, ["long"], api_key_env="MY_KEY", cache=tmp_path / "scores.sqlite")
    reward.score(["p"], ["a"])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    save_reward(reward, tmp_path / "saved")
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()
    assert KEY not in str(vars(reward))


def test_comes_back_from_a_folder(server, tmp_path):
    reward = HTTPReward(
        server.url, ["a", "b"], version="7", raw=True, batch_size=3, concurrency=2, timeout=1.5, deadline=9.0, retry=Retry(2, 0.1, 4.0),
        on_failure="missing", api_key_env="MY_KEY", api_key_header="X-Key",
    )  # fmt: skip
    save_reward(reward, tmp_path / "r")
    with pytest.warns(UserWarning, match=rf"the key in \$MY_KEY, will be sent to {server.url}"):
        loaded = load_reward(tmp_path / "r")
    assert isinstance(loaded, HTTPReward)
    kept = ("objectives", "version", "raw", "batch_size", "on_failure")
    assert [getattr(loaded, name) for name in kept] == [getattr(reward, name) for name in kept]
    ours, theirs = vars(reward.endpoint) | {"clock": None}, vars(loaded.endpoint) | {"clock": None}
    assert ours == theirs
    assert server.bodies == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"urll": 1}, "unknown field 'urll': did you mean 'url'"),
        ({"objectives": None}, "field 'objectives' is missing"),
        ({"timeout": "long"}, "timeout must be a positive number of seconds, found 'long'"),
        ({"attempts": "2"}, "attempts must be a whole number"),
        ({"kind": "htp"}, "unknown kind of remote reward 'htp': did you mean 'http'"),
        ({"schema_version": 9}, "'schema_version' must be 1, found 9"),
    ],
)
def test_refuses_a_wrong_file(tmp_path, change, message):
    HTTPReward("http://host.test", ["a"]).save_pretrained(tmp_path)
    path = tmp_path / "remote.json"
    content = json.loads(path.read_text()) | change
    path.write_text(
        json.dumps({name: value for name, value in content.items() if value is not None or name == "deadline"})
    )
    if "objectives" not in change:
        content["api_key_env"] = None
        path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        load_reward(tmp_path)
    assert "remote.json" in str(caught.value)


def test_refuses_wrong_arguments():
    with pytest.raises(InputError, match="batch_size must be a whole number"):
        HTTPReward("http://host.test", ["a"], batch_size=0)
    with pytest.raises(InputError, match="at least one objective"):
        HTTPReward("http://host.test", [])
    with pytest.raises(InputError, match="on_failure must be one of"):
        HTTPReward("http://host.test", ["a"], on_failure="skip")


def test_lengths_must_agree(server):
    with pytest.raises(InputError, match="found 1 prompts and 2 completions"):
        HTTPReward(server.url, ["a"]).score(["p"], ["c", "d"])


def test_fits_with_the_other_rewards(server):
    reward = CombinedReward([HTTPReward(server.url, ["long"]), FunctionReward({"brief": rules.brevity})])
    long, brief = as_reward_funcs(reward)
    assert (long(prompts=["p"], completions=["one two"]), brief(prompts=["p"], completions=["one two"])) == (
        [7.0],
        [-2.0],
    )
    assert len(server.bodies) == 1
