"""What strangers and clever clients try."""

import asyncio
import json
import re
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from moalign.serving.access import Access, add_key
from moalign.serving.access.guard import OPEN_PATHS
from moalign.serving.api import create_app
from moalign.serving.service import Limits


@pytest.fixture(scope="module")
def locked(policy, tmp_path_factory):
    """A client of a server with a policy file, and a key."""
    path = tmp_path_factory.mktemp("security") / "policy.yaml"
    key = add_key(path, "walker")
    limits = Limits(max_new_tokens=8, max_body_bytes=300_000)
    with TestClient(
        create_app(policy, model_name="tiny", access=Access(path), limits=limits), raise_server_exceptions=False
    ) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        client.key = {"Authorization": f"Bearer {key}"}
        yield client


def routes(app):
    """Every registered endpoint, parameters filled with something."""
    for route in app.routes:
        path = re.sub(r"{[^}]*}", "x", route.path)
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, path


def is_open(method, path):
    return method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith("/page/"))


def test_every_route_asks_for_a_key(locked):
    walked = list(routes(locked.app))
    assert {
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/preferences/choose",
        "/metrics",
        "/openapi.json",
    } <= {p for _, p in walked}
    for method, path in walked:
        for headers in ({}, {"Authorization": "Bearer mo-wrong"}):
            answer = locked.request(method, path, headers=headers)
            if is_open(method, path):
                assert answer.status_code not in (401, 403), (method, path)
            else:
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        if not is_open(method, path):
            answer = locked.request(method, path, headers=locked.key)
            assert answer.status_code not in (401, 403), (method, path)
            assert answer.status_code < 500, (method, path, answer.text)


@pytest.mark.parametrize(
    "path",
    ["/nothing", "//v1/models", "/v1//models", "/V1/models", "/v1/models/", "/health/live/", "/health/live/../../v1/models", "/health/ready;x",
     "/%2e%2e/metrics", "/metrics%00", "/page", "/docs", "/redoc"],
)  # fmt: skip
def test_no_other_path_is_open(locked, path):
    if path == "/page" and locked.get(path).status_code in (307, 308):
        return
    assert locked.get(path, follow_redirects=False).status_code == 401


def test_only_reading_is_open(locked):
    for path in sorted(OPEN_PATHS):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert locked.request(method, path).status_code == 401


def complete(locked, content=None, **body):
    content = json.dumps({"prompt": "w1", "max_tokens": 2} | body) if content is None else content
    return locked.post("/v1/completions", content=content, headers=locked.key | {"Content-Type": "application/json"})


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "weights",
    ['{"helpful": NaN, "brief": 1}', '{"helpful": Infinity}', '{"helpful": 1e999}', '{"helpful": 1e308, "brief": 1e308}', '{"helpful": 1e308, "brief": -1e308}',
     '{"helpful": -1, "brief": 2}', '{"direction": {"helpful": 1e308}}', '{"helpful": true}', '{"helpful": "1"}', '{"helpful": [1]}', '{"helpful": 1, "helpful": 1, "": 0}',
     '{"h\\u0435lpful": 1}', '{"ｈelpful": 1}', '{"helpful\\u200b": 1}', '{"helpful\\u0000": 1}', '{"HELPFUL": 1}', '{" helpful": 1}', '{"weights": {"weights": {"helpful": 1}}}',
     '"helpful=nan"', '"helpful=1e308,brief=1e308"', '"helpful=-1,brief=2"', '"helpful=1,helpful=0"', '"direction:helpful=inf"', '"helpful=0x1"', "[]", "1", "true", "{}", '""'],
)  # fmt: skip
def test_weights_that_are_none(locked, weights, stream):
    answer = complete(
        locked, f'{{"prompt": "w1", "max_tokens": 2, "stream": {json.dumps(stream)}, "preference": {weights}}}'.encode()
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("value", [1e-4, 0])
def test_ten_thousand_objectives(locked, value):
    answer = complete(locked, preference={f"objective{i}": value for i in range(10_000)})
    assert answer.status_code == 400
    assert len(answer.text) < 2000


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e", "tiny/../tiny", "tiny%00", "tiny\u0000", "/etc/passwd", "C:\\boot.ini", "http://169.254.169.254/", "${jndi:ldap://x}",
     "tiny ", "Tiny", "tіny", "a" * 100_000],
)  # fmt: skip
def test_names_of_models_are_names_and_no_paths(locked, name):
    answer = complete(locked, model=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    # Without a client that resolves dots first.
    status = asyncio.run(raw(locked.app, "/v1/models/" + name, locked.key["Authorization"]))
    assert status == 404


async def raw(app, path, authorization):
    """The status of a GET, whatever stands in its path."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": quote(path).encode(), "query_string": b"", "http_version": "1.1",
        "headers": [(b"authorization", authorization.encode())], "scheme": "http", "client": None, "server": None,
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"]


def test_errors_are_short_whatever_a_client_sent(locked):
    for body in (
        {"model": "x" * 250_000},
        {"preference": "x" * 250_000},
        {"preference": {"x" * 250_000: 1}},
        {"y" * 250_000: 1},
        {"prompt": {"z": "y" * 250_000}},
    ):
        answer = complete(locked, **body)
        assert answer.status_code in (400, 404)
        assert len(answer.text) < 2000


def test_a_body_of_100_megabytes_is_refused_before_it_is_held(locked):
    read = 0

    def pieces():
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 2**20

    headers = locked.key | {"Content-Type": "application/json"}
    answer = locked.post("/v1/completions", content=pieces(), headers=headers)
    assert answer.status_code == 413
    answer = locked.post("/v1/completions", content=b"x" * (100 * 2**20), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_body_of_100_megabytes_over_a_socket(policy, start_server):
    """In pieces, without a length; the server hangs up long before the end."""
    with start_server(policy, limits=Limits(max_body_bytes=10_000)) as server:
        sent = 0

        def pieces():
            nonlocal sent
            for _ in range(1600):
                sent += 2**16
                yield b"x" * 2**16

        try:
            answer = httpx.post(server.url + "/v1/completions", content=pieces(), timeout=120)
        except (httpx.WriteError, httpx.ReadError):
            pass  # it hung up while we were still sending; the reset may overtake its answer
        else:
            assert answer.status_code == 413
        assert sent < 100 * 2**20
        assert httpx.get(server.url + "/health/live", timeout=120).status_code == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "99999999999999999999"])
def test_lengths_that_lie(locked, length):
    answer = locked.post("/v1/completions", content=b"{}", headers=locked.key | {"Content-Length": length})
    assert answer.status_code in (400, 413)


def test_the_keys_are_nowhere_in_what_is_served_or_logged(policy, tmp_path, caplog, capsys):
    path = tmp_path / "policy.yaml"
    key = add_key(path, "walker")
    with caplog.at_level("DEBUG"), TestClient(create_app(policy, model_name="tiny", access=Access(path))) as client:
        headers = {"Authorization": f"Bearer {key}"}
        pages = [client.get(p, headers=headers).text for p in ("/metrics", "/openapi.json", "/v1/models", "/nothing")]
        pages.append(client.post("/v1/completions", json={"prompt": "w1", "user": "anna"}, headers=headers).text)
    shown = (
        "".join(pages)
        + caplog.text
        + "".join(capsys.readouterr())
        + path.read_text()
        + str([vars(r) for r in caplog.records])
    )
    assert key not in shown
    assert key[3:] not in shown


def test_prompts_are_logged_only_if_asked_for(policy, caplog):
    for wanted in (False, True):
        caplog.clear()
        with caplog.at_level("DEBUG"), TestClient(create_app(policy, model_name="tiny", log_prompts=wanted)) as client:
            while client.get("/health/ready").status_code != 200:
                pass
            client.post("/v1/completions", json={"prompt": "w1 w55", "max_tokens": 2, "user": "anna"})
        [line] = [
            r.fields for r in caplog.records if r.name == "moalign.serving.requests" and "prompt_tokens" in r.fields
        ]
        assert ("w55" in str([vars(r) for r in caplog.records])) is wanted
        assert line["preference"] == {"weights": {"helpful": 0.5, "brief": 0.5}}
        assert line["preference_source"] == "default"
        assert (line["prompt_tokens"], line["caller"]) == (2, "anyone")
        assert "anna" not in str(line)


@pytest.mark.parametrize(
    "body",
    [b'{"prompt": "\xed\xa0\x80"}', b'{"prompt": "w1", "user": "\xff"}', '{"prompt": "\\ud800"}'.encode("utf-16"), '{"prompt": "w1"}'.encode("utf-16-le"),
     '{"prompt": "w1", "stop": "\\ud800"}'.encode("utf-32-be"), b'{"prompt": "w1\0"}'],
)  # fmt: skip
def test_bodies_that_are_no_utf_8(locked, body):
    answer = complete(locked, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_text")


def test_a_top_k_beyond_every_vocabulary(locked):
    for top_k in (2**31, 2**63, 10**30):
        answer = complete(locked, top_k=top_k)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "top_k")
    assert complete(locked, top_k=2**31 - 1).status_code == 200
