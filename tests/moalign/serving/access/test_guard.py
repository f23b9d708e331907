import asyncio

import pytest
from fastapi.testclient import TestClient

from moalign.serving.access import Access, add_key
from moalign.serving.api import create_app

BODY = {"prompt": "w1", "max_tokens": 3, "temperature": 0}
SAFE = {"preference": {"helpful": {"min": 0.4}}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("access") / "policy.yaml"
    limits = {
        "free": {}, "safe": SAFE, "models": {"paths": ["/v1/models"]}, "rated": {"requests_per_minute": 2},
        "short": {"max_tokens": 5}, "metered": {"tokens_per_minute": 20},
    }  # fmt: skip
    return {name: add_key(path, name, given) for name, given in limits.items()} | {"path": path}


@pytest.fixture(scope="module")
def client(policy, keys):
    app = create_app(policy, model_name="tiny", access=Access(keys["path"]), cors_origins=["https://a.example"])
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        client.app = app
        yield client


@pytest.fixture
def ask(client, keys):
    def ask(name, path="/v1/completions", **body):
        headers = {"Authorization": f"Bearer {keys[name]}"}
        return (
            client.get(path, headers=headers)
            if path != "/v1/completions"
            else client.post(path, json=BODY | body, headers=headers)
        )

    return ask


def error(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    return answer.json()["error"]["message"]


def test_no_key_and_a_wrong_one(client, keys):
    for headers, code in (
        ({}, "missing_api_key"),
        ({"Authorization": "Bearer"}, "missing_api_key"),
        ({"Authorization": "Bearer   "}, "missing_api_key"),
        ({"Authorization": f"Basic {keys['free']}"}, "missing_api_key"),
        ({"X-Api-Key": keys["free"]}, "missing_api_key"),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"Authorization": f"Bearer {keys['free']}x"}, "invalid_api_key"),
        ({"Authorization": b"Bearer \xff\xfe"}, "invalid_api_key"),
        ([("Authorization", f"Bearer {keys['free']}"), ("Authorization", "Bearer wrong")], "missing_api_key"),
    ):
        answer = client.post("/v1/completions", json=BODY, headers=headers)
        error(answer, 401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (
        client.post("/v1/completions", json=BODY, headers={"Authorization": f"bearer {keys['free']}"}).status_code
        == 200
    )


def test_the_body_of_a_stranger_is_not_read(client):
    sent = []

    async def receive():
        raise AssertionError("it was read")

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"/v1/completions", "query_string": b"",
        "headers": [(b"content-length", b"100000000")], "http_version": "1.1", "scheme": "http", "client": None, "server": None,
    }  # fmt: skip
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == 401


def test_a_range_holds_whoever_chose_the_preference(ask):
    assert ask("safe", preference="helpful=0.4,brief=0.6").status_code == 200
    assert ask("safe").status_code == 200  # the default is half and half
    for preference in ("helpful=0.3,brief=0.7", {"brief": 1}, {"direction": {"helpful": -1}}):
        answer = ask("safe", preference=preference)
        message = error(answer, 403, "preference_not_allowed")
        assert "allowed: helpful at least 0.4" in message
        assert answer.json()["error"]["param"] == "preference"
        assert ask("free", preference=preference).status_code == 200


def test_a_default_out_of_range_is_refused_too(policy, keys, tmp_path):
    path = tmp_path / "policy.yaml"
    key = add_key(path, "strict", {"preference": {"helpful": {"min": 0.6}}})
    with TestClient(create_app(policy, model_name="tiny", access=Access(path))) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        headers = {"Authorization": f"Bearer {key}"}
        for stream in (False, True):
            answer = client.post("/v1/completions", json=BODY | {"stream": stream}, headers=headers)
            assert "helpful 0.5, allowed: helpful at least 0.6" in error(answer, 403, "preference_not_allowed")


def test_paths(ask):
    assert ask("models", "/v1/models").status_code == 200
    assert ask("models", "/v1/models/tiny").status_code == 200
    assert "allowed: /v1/models" in error(ask("models"), 403, "path_not_allowed")
    error(ask("models", "/metrics"), 403, "path_not_allowed")
    error(ask("models", "/v1/models/../completions"), 403, "path_not_allowed")  # the client resolves the dots


def test_rates(ask):
    assert [ask("rated").status_code for _ in range(3)] == [200, 200, 429]
    answer = ask("rated", "/v1/models")
    error(answer, 429, "rate_exceeded")
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert ask("free").status_code == 200


def test_token_caps(ask):
    assert "6, allowed for this key: 5" in error(ask("short", max_tokens=6), 400, "invalid_value")
    assert ask("short", max_tokens=5).status_code == 200
    assert "allowed for this key: 20" in error(ask("metered", max_tokens=30), 403, "tokens_not_allowed")
    # 1 + 12 tokens, of which the unused come back; the ending token may come early
    used, answers = 0, []
    while not answers or answers[-1].status_code == 200:
        answers.append(ask("metered", max_tokens=12, temperature=1.5, seed=len(answers)))
        used += answers[-1].json()["usage"]["total_tokens"] if answers[-1].status_code == 200 else 0
    assert 8 <= used <= 20
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_concurrency_counts_until_the_last_byte(client, keys, tmp_path, policy):
    path = tmp_path / "policy.yaml"
    key = add_key(path, "one", {"concurrency": 1})
    app = create_app(policy, model_name="tiny", access=Access(path))
    with TestClient(app) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        headers = {"Authorization": f"Bearer {key}"}
        usage = app.state.service.access.usage(next(iter(app.state.service.access._policy.callers.values())))
        usage.running = 1
        refused = client.get("/v1/models", headers=headers)
        error(refused, 429, "concurrency_exceeded")
        assert refused.headers["Retry-After"] == "1"
        usage.running = 0
        for body in (BODY, BODY | {"stream": True}, BODY | {"prompt": 3}, BODY | {"max_tokens": 10**6}):
            client.post("/v1/completions", json=body, headers=headers)
            assert usage.running == 0


def test_a_page_of_another_origin(client, keys):
    asked = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert (
        client.options("/v1/completions", headers=asked).headers["access-control-allow-origin"] == "https://a.example"
    )
    assert (
        "access-control-allow-origin"
        not in client.options("/v1/completions", headers=asked | {"Origin": "https://b.example"}).headers
    )
    refused = client.get("/v1/models", headers={"Origin": "https://a.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-credentials" not in refused.headers


def test_without_cors_no_header_is_sent(policy):
    client = TestClient(create_app(policy, model_name="tiny"))
    answer = client.get("/health/live", headers={"Origin": "https://a.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_websocket_gets_in(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/completions"):
        pass
