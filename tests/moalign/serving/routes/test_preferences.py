import pytest


def test_a_constraint_becomes_a_preference_with_what_to_expect(ask):
    answer = ask("/v1/preferences/pick", maximize="helpful", subject_to={"brief": {">=": 2}})
    assert answer.status_code == 200
    found = answer.json()
    assert found["object"] == "preference.pick"
    assert found["preference"] == {"weights": {"helpful": 0.5, "brief": 0.5}}
    assert found["point"] == 1
    assert found["expected"]["helpful"]["mean"] == 3.0
    assert found["expected"]["helpful"]["low"] < 3.0 < found["expected"]["helpful"]["high"]
    assert "best on helpful" in found["reason"]
    used = ask("/v1/completions", prompt="w1", max_tokens=2, preference=found["preference"])
    assert used.json()["preference"] == found["preference"]


def test_what_to_expect_at_weights(ask):
    found = ask("/v1/preferences/pick", preference="helpful=0.75,brief=0.25").json()
    assert found["point"] is None
    assert {name: value["mean"] for name, value in found["expected"].items()} == {"helpful": 3.5, "brief": 1.5}


@pytest.mark.parametrize(
    ("wish", "weights"),
    [
        ({"aspiration": {"helpful": 3, "brief": 3}}, {"helpful": 0.5, "brief": 0.5}),
        ({"maximize": "brief"}, {"helpful": 0.0, "brief": 1.0}),
        ('{"maximize": "helpful", "subject_to": {"brief": {">=": 1}}}', {"helpful": 0.5, "brief": 0.5}),
    ],
)
def test_completions_take_a_wish(ask, policy, wish, weights):
    answer = ask("/v1/completions", prompt="w1 w2", max_tokens=8, temperature=0, preference=wish).json()
    assert answer["preference"] == {"weights": weights}
    assert answer["preference_source"] == "request"
    assert answer["choices"][0]["text"] == policy.generate(["w1 w2"], weights, max_new_tokens=8, do_sample=False)[0]


def refused(answer, status, param, code, message):
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code), error
    assert message in error["message"]


def test_wishes_that_cannot_be(ask, server, asker):
    infeasible = {"maximize": "helpful", "subject_to": {"brief": {">=": 5}}}
    refused(ask("/v1/preferences/pick", **infeasible), 400, "subject_to", "infeasible", "Point 0 comes nearest")
    answer = ask("/v1/completions", prompt="w1", preference=infeasible)
    refused(answer, 400, "preference", "infeasible", "helpful 0 to 4, brief 0 to 4")
    for body, param, message in [
        ({}, "preference", "give either a wish"),
        ({"maximize": "helpful", "preference": "brief=1"}, "preference", "give either a wish"),
        ({"maximize": "helpful", "confidence": 0.9}, "confidence", "subject_to"),
        ({"maximize": "helpfull"}, "maximize", "did you mean 'helpful'"),
        ({"aspirations": {}}, "aspirations", "did you mean 'aspiration'"),
        ({"preference": {"helpful": 3}}, "preference", "must sum to 1"),
        ({"preference": {"direction": {"brief": -1}}}, "preference", "only where it was measured"),
    ]:
        answer = ask("/v1/preferences/pick", **body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param)
        assert message in error["message"]
    bare = asker(server)
    refused(bare("/v1/preferences/pick", maximize="helpful"), 404, None, "no_front", "no measured front")
    refused(bare("/v1/completions", prompt="w1", preference=infeasible), 404, None, "no_front", "no measured front")
