import pytest
from scipy.stats import t as student


def test_the_front_as_measured(ask):
    found = ask("/v1/front", "GET").json()
    assert (found["object"], found["objectives"], found["units"]) == ("front", ["helpful", "brief"], "raw")
    point = found["points"][1]
    assert point["preference"] == {"weights": {"helpful": 0.5, "brief": 0.5}}
    assert point["rewards"] == {"helpful": 3.0, "brief": 3.0}
    width = 0.5 * student.ppf(0.975, 8)
    assert point["interval"]["brief"] == pytest.approx([3 - width, 3 + width])
    assert [p["dominated"] for p in found["points"]] == [False] * 3
    assert all(p["offered"] for p in found["points"])
    assert found["reference_policy"]["interval"]["brief"] == [None, None]
    assert set(found["reference_point"]) == {"helpful", "brief"}
    assert all(found["reference_point"][name] <= 0.0 for name in ("helpful", "brief"))


def test_a_bundle_without_one(server, asker):
    answer = asker(server)("/v1/front", "GET")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_front")
