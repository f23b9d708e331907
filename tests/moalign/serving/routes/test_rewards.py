import pytest


def test_texts_are_scored(ask):
    found = ask("/v1/rewards", prompt="w9", completions=["w1 w1 w2", "?", "w1"]).json()
    assert (found["object"], found["objectives"], found["units"]) == ("rewards", ["helpful", "brief"], "raw")
    assert found["data"] == [
        {"index": 0, "rewards": {"helpful": 2.0, "brief": -3.0}},
        {"index": 1, "rewards": {"helpful": 0.0, "brief": None}},
        {"index": 2, "rewards": {"helpful": 1.0, "brief": -1.0}},
    ]
    one = ask("/v1/rewards", prompt=[{"role": "user", "content": "w9"}], completion="w1").json()
    assert [row["rewards"] for row in one["data"]] == [{"helpful": 1.0, "brief": -1.0}]
    pairs = ask("/v1/rewards", prompts=["w8", "w9"], completions=["w1", "w2 w3"]).json()
    assert [row["rewards"]["brief"] for row in pairs["data"]] == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "prompt", "give either prompt or prompts"),
        ({"prompt": "w1"}, "completion", "give either completion or completions"),
        ({"prompt": "w1", "prompts": ["w1"], "completion": "w1"}, "prompt", "give either prompt or prompts"),
        ({"prompts": ["w1"], "completions": ["w1", "w2"]}, "prompts", "1 prompts for 2 completions"),
        ({"prompt": "w1", "completions": []}, "completions", "the list is empty"),
        ({"prompt": "w1", "completions": ["w1"] * 65}, "completions", "65 texts, allowed: 64"),
        ({"prompt": 3, "completion": "w1"}, "prompt", "must be a text or a list of messages"),
        ({"prompt": "w1", "completion": "w1", "heads": 1}, "heads", "unknown field 'heads'"),
    ],
)
def test_wrong_requests(ask, body, param, message):
    answer = ask("/v1/rewards", **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert message in error["message"]


def test_a_bundle_without_heads(server, asker):
    answer = asker(server)("/v1/rewards", prompt="w1", completion="w2")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_reward_heads")
