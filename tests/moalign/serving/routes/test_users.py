import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from sqlalchemy import text

from moalign.preference import Preference
from moalign.serving.access import Access, add_key

from .conftest import heads, make_front

MORE_HELPFUL = {"prompt": "w9", "chosen": "w1 w1 w1 w2 w3", "rejected": "w2"}
BRIEFER = {"prompt": "w9", "chosen": "w2", "rejected": "w1 w1 w1 w2 w3"}


def weights(answer):
    return {name: value["mean"] for name, value in answer["weights"].items()}


def greedy(ask, **fields):
    return ask("/v1/completions", prompt="w1 w2 w3", max_tokens=12, temperature=0, **fields).json()


def test_feedback_moves_a_users_next_answers_and_nobody_elses(ask, policy):
    before = greedy(ask, user="ann")
    assert before["preference_source"] == "default"
    for _ in range(12):
        ann = ask("/v1/feedback", user="ann", **MORE_HELPFUL).json()
        bob = ask("/v1/feedback", user="bob", **BRIEFER).json()
    assert weights(ann)["helpful"] > 0.6 > 0.4 > weights(bob)["helpful"]
    assert ann["weights"]["helpful"]["low"] < weights(ann)["helpful"] < ann["weights"]["helpful"]["high"]
    assert (ann["object"], ann["user"], ann["judgements"], ann["level"]) == ("user.preference", "ann", 12, 0.9)
    for name, known in (("ann", ann), ("bob", bob)):
        answer = greedy(ask, user=name)
        assert answer["preference_source"] == "user"
        assert answer["preference"] == known["preference"]
        [expected] = policy.generate(["w1 w2 w3"], known["preference"], max_new_tokens=12, do_sample=False)
        assert answer["choices"][0]["text"] == expected
    assert greedy(ask, user="ann")["choices"][0]["text"] != greedy(ask, user="bob")["choices"][0]["text"]
    for fields in ({"user": "carl"}, {}):
        same = greedy(ask, **fields)
        assert (same["preference"], same["preference_source"]) == (before["preference"], "default")
        assert same["choices"] == before["choices"]
    named = greedy(ask, user="ann", preference="brief=1")
    assert (named["preference_source"], named["preference"]["weights"]["brief"]) == ("request", 1.0)


def test_thumbs_and_preferences_count_too(ask):
    for _ in range(8):
        liked = ask("/v1/feedback", user="dora", prompt="w9", completion="w1 " * 6, rating="up").json()
    assert weights(liked)["helpful"] > 0.55
    for _ in range(8):
        found = ask(
            "/v1/feedback", user="eve", chosen_preference={"brief": 1}, rejected_preference={"helpful": 1}
        ).json()
    assert weights(found)["brief"] > 0.6
    assert [row["kind"] for row in ask("/v1/users/eve", "GET").json()["feedback"]] == ["preferences"] * 8


def test_everything_is_shown_and_deleted(ask):
    ask("/v1/feedback", user="fay", **BRIEFER)
    learned = ask("/v1/feedback", user="fay", **MORE_HELPFUL).json()
    shown = ask("/v1/users/fay", "GET").json()
    assert shown["object"] == "user"
    assert shown["stored"] == "differences of rewards, no text; the name only as a keyed hash"
    assert [row["differences"] for row in shown["feedback"]] == [
        {"helpful": -3.0, "brief": 4.0},
        {"helpful": 3.0, "brief": -4.0},
    ]
    assert shown["weights"] == learned["weights"]
    assert "w9" not in json.dumps(shown)
    gone = ask("/v1/users/fay", "DELETE").json()
    assert gone == {"object": "user.deleted", "user": "fay", "deleted": True, "judgements": 2}
    for method in ("GET", "DELETE"):
        answer = ask("/v1/users/fay", method)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "user_not_found")
    assert greedy(ask, user="fay")["preference_source"] == "default"


@pytest.mark.parametrize(
    "name", ["a/b", "../v1/models", "ümlaut 😀", "a?b#c", "%2F", "x" * 256, "علی\u200cرضا", "x/", " "]
)
def test_any_name_finds_its_user(ask, name):
    assert ask("/v1/feedback", user=name, **BRIEFER).json()["user"] == name
    path = "/v1/users/" + quote(name, safe="")
    assert ask(path, "GET").json()["user"] == name
    assert ask(path, "DELETE").status_code == 200
    assert ask(path, "DELETE").status_code == 404


@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", "a\x00b", ".", ".."])
def test_names_that_are_none(ask, name):
    answer = ask("/v1/feedback", user=name, **BRIEFER)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "user")
    if name:
        gone = name in (".", "..")  # from the address, before the server sees it
        assert gone or ask("/v1/users/" + quote(name, safe=""), "GET").status_code in (400, 404)
        assert ask("/v1/completions", prompt="w1", user=name, max_tokens=1).status_code == 400


def test_an_empty_name_is_nobody(ask):
    answer = greedy(ask, user="")
    assert answer["preference_source"] == "default"
    assert answer["choices"] == greedy(ask)["choices"]


def test_many_at_once_are_all_counted(ask):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: ask("/v1/feedback", user=f"many{i % 2}", **BRIEFER), range(20)))
    assert [ask(f"/v1/users/many{i}", "GET").json()["judgements"] for i in range(2)] == [10, 10]


def test_a_full_disk_is_a_503_and_answers_go_on(start_server, policy, asker, tmp_path):
    with start_server(
        policy, front=make_front(), heads=heads, database=str(tmp_path / "users.db"), keep_texts=True
    ) as server:
        ask = asker(server)
        server.wait_until_ready()
        known = ask("/v1/feedback", user="ann", **BRIEFER).json()
        assert ask("/v1/users/ann", "GET").json()["feedback"][0]["texts"]["chosen"] == "w2"
        database = server.service.users.store.database
        with database.reading() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar()
            connection.execute(text(f"PRAGMA max_page_count={pages}"))
        answer = ask("/v1/feedback", user="ann", **{**BRIEFER, "prompt": "w9 " * 20_000})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (503, "users_unavailable", "server_error")
        assert error["message"] == "the users' database cannot be used now; answers are made without it"
        assert answer.headers["Retry-After"] == "30"
        assert greedy(ask, user="ann")["preference"] == known["preference"]
        assert greedy(ask, user="new")["preference_source"] == "default"


def test_a_database_that_is_gone_leaves_the_default(start_server, policy, asker, tmp_path):
    path = tmp_path / "users.db"
    with start_server(policy, front=make_front(), heads=heads, database=str(path)) as server:
        ask = asker(server)
        server.wait_until_ready()
        ask("/v1/feedback", user="ann", **BRIEFER)
        assert greedy(ask, user="ann")["preference_source"] == "user"
        server.service.users.close()
        for file in tmp_path.iterdir():
            file.write_bytes(b"no database" * 100)
        assert greedy(ask, user="ann")["preference_source"] == "default"
        error = ask("/v1/feedback", user="ann", **BRIEFER).json()["error"]
        assert (error["code"], "file is not" in error["message"]) == ("users_unavailable", False)  # the driver's words
        assert ask("/v1/users/ann", "GET").status_code == 503


def test_two_servers_on_one_database_know_the_same_users(start_server, policy, asker, tmp_path):
    options = {"front": make_front(), "heads": heads, "database": str(tmp_path / "users.db")}
    with start_server(policy, **options) as one, start_server(policy, **options) as two:
        first, second = asker(one), asker(two)
        one.wait_until_ready()
        two.wait_until_ready()
        first("/v1/feedback", user="ann", **BRIEFER)
        learned = second("/v1/feedback", user="ann", **BRIEFER).json()
        assert learned["judgements"] == 2
        assert greedy(first, user="ann")["preference"] == learned["preference"]
        second("/v1/users/ann", "DELETE")
        assert greedy(first, user="ann")["preference_source"] == "default"


def test_keys_have_users_of_their_own(start_server, policy, asker, tmp_path):
    file = tmp_path / "policy.yaml"
    keys = {name: add_key(file, name) for name in ("shop", "forum")}
    with start_server(policy, front=make_front(), heads=heads, access=Access(file)) as server:
        server.wait_until_ready()
        ask = asker(server)
        shop, forum = ({"Authorization": f"Bearer {key}"} for key in keys.values())
        assert ask("/v1/feedback", user="ann", **BRIEFER).status_code == 401
        assert ask("/v1/feedback", headers=shop, user="ann", **BRIEFER).status_code == 200
        assert ask("/v1/users/ann", "GET", headers=forum).status_code == 404
        assert ask("/v1/users/ann", "DELETE", headers=forum).status_code == 404
        assert ask("/v1/users/ann", "GET", headers=shop).status_code == 200
        assert greedy(ask, headers=forum, user="ann")["preference_source"] == "default"
        assert greedy(ask, headers=shop, user="ann")["preference_source"] == "user"


def test_a_thumb_is_against_what_the_key_lets_answers_be(start_server, policy, asker, tmp_path):
    """The posterior is all brief; the key keeps answers at half or more of helpful, where 3 and 3 are expected."""
    file = tmp_path / "policy.yaml"
    key = add_key(file, "shop", {"preference": {"helpful": {"min": 0.5}}})
    with start_server(policy, front=make_front(), heads=heads, access=Access(file)) as server:
        server.wait_until_ready()
        ask, shop = asker(server), {"Authorization": f"Bearer {key}"}
        for _ in range(12):
            ask("/v1/feedback", headers=shop, user="ann", **BRIEFER)
        assert greedy(ask, headers=shop, user="ann")["preference"]["weights"] == pytest.approx(
            {"helpful": 0.5, "brief": 0.5}
        )
        ask("/v1/feedback", headers=shop, user="ann", prompt="w9", completion="w1 w1 w2", rating="down")
        last = ask("/v1/users/ann", "GET", headers=shop).json()["feedback"][-1]
        assert last["differences"] == {"helpful": 2 - 3.0, "brief": -3 - 3.0}


class Gate:
    def preferences(self, prompts):
        return [Preference.only("helpful")] * len(prompts)


def test_a_thumb_names_the_preference_that_a_gate_chose(start_server, policy, asker):
    thumb = {"user": "ann", "prompt": "w9", "completion": "w1 w1 w2", "rating": "down"}
    with start_server(policy, front=make_front(), heads=heads, gate=lambda _: Gate()) as server:
        server.wait_until_ready()
        ask = asker(server)
        answer = ask("/v1/feedback", **thumb)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "preference")
        assert "a gate chose it" in error["message"]
        assert greedy(ask, user="ann")["preference_source"] == "gate"
        assert ask("/v1/feedback", **thumb, preference={"helpful": 1}).json()["judgements"] == 1
        # Now the user is known, and answers come from there.
        assert greedy(ask, user="ann")["preference_source"] == "user"
        assert ask("/v1/feedback", **thumb).json()["judgements"] == 2
