import pytest
from fastapi.testclient import TestClient

from moalign.serving.access.host import OWN_NAMES
from moalign.serving.api import create_app


@pytest.fixture(scope="module")
def client(policy):
    return TestClient(create_app(policy, model_name="tiny", hosts=[*OWN_NAMES, "127.0.0.5"]))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:8000", "localhost.:80", "127.0.0.1", "127.0.0.1:51000", "[::1]", "[::1]:8000", "127.0.0.5:1"],
)  # fmt: skip
def test_own_names(client, host):
    assert client.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "127.0.0.2", "[::2]:8000", "::1", "", ":8000",
     "localhost:80:90", "localhost:x", "testserver"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/models", "/", "/health/live", "/nothing"])
def test_names_of_others(client, host, path):
    for method in ("GET", "POST", "OPTIONS"):
        answer = client.request(method, path, headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "host_not_allowed")
    assert "127.0.0.1, 127.0.0.5, [::1], localhost" in answer.json()["error"]["message"]


def test_two_hosts_or_none(client):
    for headers in ([("Host", "localhost"), ("Host", "evil.example")], [("Host", "localhost"), ("Host", "localhost")]):
        assert client.get("/health/live", headers=headers).status_code == 421


def test_whoever_does_not_say_its_names_answers_to_all(policy):
    client = TestClient(create_app(policy, model_name="tiny"))
    assert client.get("/health/live", headers={"Host": "anything.example"}).status_code == 200
