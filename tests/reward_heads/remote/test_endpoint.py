import asyncio
import email.utils
import json
import sys
import time

import httpx
import pytest

from frontier.errors import InputError
from reward_heads.remote import RemoteError, RequestRefused, Retry
from reward_heads.remote.endpoint import Endpoint, _retry_after

KEY = "sk-very-secret-1234"


def post(respond, clock, body=None, **options):
    """Send one request to `respond`, an httpx handler."""

    async def run():
        endpoint = Endpoint(
            "http://host.test/score?v=2", transport=httpx.MockTransport(respond), clock=clock, **options
        )
        async with endpoint.session() as session:
            return await session.post(body if body is not None else {"a": 1})

    return asyncio.run(run())


def sequence(*responses):
    """A handler that gives the responses one after the other, and raises those that are exceptions."""
    left = list(responses)

    def respond(request):
        respond.requests.append(request)
        response = left.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    respond.requests = []
    return respond


def test_json_both_ways(clock):
    respond = sequence(httpx.Response(200, json={"b": [1, None]}))
    assert post(respond, clock, {"a": "é\ud800"}) == {"b": [1, None]}
    assert json.loads(respond.requests[0].content) == {"a": "é\ud800"}
    assert str(respond.requests[0].url) == "http://host.test/score?v=2"
    assert "authorization" not in respond.requests[0].headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_statuses_that_may_pass_are_tried_again(clock, status):
    respond = sequence(httpx.Response(status), httpx.Response(200, json=1))
    assert post(respond, clock) == 1
    assert len(clock.slept) == 1


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("no route"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("cut"),
        httpx.ReadTimeout("slow"),
    ],
)
def test_broken_connections_are_tried_again(clock, error):
    assert post(sequence(error, error, httpx.Response(200, json=1)), clock) == 1
    with pytest.raises(RemoteError, match=rf"^http://host.test/score: {type(error).__name__}: .*attempt 2 of 2"):
        post(sequence(error, error), clock, retry=Retry(attempts=2))


def test_retry_after_in_seconds_and_as_a_date(clock):
    post(sequence(httpx.Response(429, headers={"retry-after": "12"}), httpx.Response(200, json=1)), clock)
    assert clock.slept == [12.0]
    assert 50 < _retry_after(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
    assert _retry_after(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0
    assert _retry_after("soon") == _retry_after(None) == _retry_after("-3") == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RemoteError),
        (413, RemoteError),
        (422, RemoteError),
        (401, RequestRefused),
        (404, RequestRefused),
        (307, RequestRefused),
    ],
)
def test_other_statuses_are_not(clock, status, kind):
    with pytest.raises(RemoteError, match=rf"http://host.test/score: status {status} .*'no such model'") as caught:
        post(sequence(httpx.Response(status, text="no such model", headers={"location": "http://evil.test"})), clock)
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert clock.slept == []


@pytest.mark.parametrize(
    "content", [b"", b"<html>Bad gateway</html>", b'{"scores": [[1.0', b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_not_json_is_refused(clock, content):
    with pytest.raises(RemoteError, match=r"http://host\.test/score: expected JSON, found"):
        post(sequence(httpx.Response(200, content=content)), clock)


def test_an_endless_answer_is_cut_off(clock, monkeypatch):
    monkeypatch.setattr("reward_heads.remote.endpoint.MAX_ANSWER_BYTES", 2**20)
    sent = []

    async def endless():
        while True:
            sent.append(1)
            yield b" " * 2**18

    with pytest.raises(RemoteError, match="more than 1 MiB"):
        post(sequence(httpx.Response(200, content=endless())), clock)
    assert len(sent) <= 6


@pytest.mark.parametrize(("header", "value"), [("Authorization", f"Bearer {KEY}"), ("X-API-Key", KEY)])
def test_the_key_comes_from_the_environment(clock, monkeypatch, header, value):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")  # as files and shells leave it
    respond = sequence(httpx.Response(200, json=1))
    post(respond, clock, api_key_env="MY_KEY", api_key_header=header)
    assert respond.requests[0].headers[header] == value


def test_no_message_holds_the_key(clock, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)

    def repeats(status):
        return lambda request: httpx.Response(status, text=f"bad header: {request.headers['authorization']}")

    def breaks(request):
        raise httpx.LocalProtocolError(f"Illegal header value {request.headers['authorization']}")

    for respond in (repeats(401), repeats(500), repeats(200), breaks):
        with pytest.raises(RemoteError, match=r"\*\*\*") as caught:
            post(respond, clock, api_key_env="MY_KEY", retry=Retry(attempts=1))
        error = caught.value
        while error is not None:
            assert KEY not in f"{error} {error!r}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    endpoint = Endpoint("http://host.test/score", api_key_env="MY_KEY")
    assert KEY not in f"{endpoint!r} {vars(endpoint)}"


def test_a_key_that_is_not_set_or_is_none(clock, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="environment variable MY_KEY, which should hold the API key, is not set"):
        post(sequence(), clock, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "two words-secret")
    with pytest.raises(InputError, match="MY_KEY holds characters") as caught:
        post(sequence(), clock, api_key_env="MY_KEY")
    assert "secret" not in str(caught.value)


def test_says_how_to_get_httpx(clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    endpoint = Endpoint("http://host.test/score")

    async def run():
        async with endpoint.session():
            pass

    with pytest.raises(InputError, match=r"pip install 'moalign\[remote\]'"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "host.test/score"}, "url must be an address"),
        ({"url": "ftp://host.test"}, "url must be an address"),
        ({"url": "http://"}, "url must be an address"),
        ({"url": "http://host.test:99999/"}, "url must be an address"),
        ({"url": "http://host test/"}, "url must be an address"),
        ({"url": 3}, "url must be text"),
        ({"url": f"http://me:{KEY}@host.test"}, "must not hold a name and password"),
        ({"url": f"http://host.test?api_key={KEY}"}, "must not hold a key"),
        ({"api_key_env": KEY}, "must be the name of an environment variable"),
        ({"api_key_header": "X: y"}, "api_key_header must be the name"),
        ({"concurrency": 0}, "concurrency must be a whole number"),
        ({"timeout": 0}, "timeout must be a positive number of seconds"),
        ({"deadline": float("inf")}, "deadline must be a positive number of seconds"),
    ],
)
def test_refuses(wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        Endpoint(**{"url": "http://host.test", **wrong})
    assert KEY not in str(caught.value)
