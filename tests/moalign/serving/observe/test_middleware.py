import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from moalign.serving.errors import add_error_handlers
from moalign.serving.observe.metrics import Metrics
from moalign.serving.observe.middleware import Observer


@pytest.fixture
def app():
    app = FastAPI()
    app.state.metrics = Metrics(lambda: None, lambda: False)
    app.add_middleware(Observer, metrics=app.state.metrics)
    add_error_handlers(app)

    @app.get("/things/{name}")
    async def thing(name: str):
        if name == "broken":
            raise RuntimeError("secret reason")
        return {"name": name}

    @app.get("/cut")
    async def cut():
        async def pieces():
            yield b"a"
            raise RuntimeError("secret reason")

        return StreamingResponse(pieces())

    return app


def ask(app, path, **headers):
    async def get():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(get())


def counted(app, **labels):
    return app.state.metrics.registry.get_sample_value("moalign_requests_total", labels) or 0


def test_ids_are_echoed(app):
    assert ask(app, "/things/a", **{"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert len(ask(app, "/things/a", **{"x-request-id": "not sane"}).headers["x-request-id"]) == 32
    assert ask(app, "/nothing", **{"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_labels_are_routes_and_never_paths(app):
    for path in ("/things/a", "/things/b", "/nothing", "/other", "/things/a/b"):
        ask(app, path)
    assert counted(app, endpoint="/things/{name}", status="200") == 2
    assert counted(app, endpoint="other", status="404") == 3


def test_an_unforeseen_error_is_told_to_the_log_alone(app, caplog):
    answer = ask(app, "/things/broken", **{"x-request-id": "mine-1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine-1"
    assert "secret" not in answer.text
    assert "secret reason" in caplog.text
    assert counted(app, endpoint="/things/{name}", status="500") == 1


def test_an_error_after_the_first_byte_cuts_the_answer(app, caplog):
    with caplog.at_level(logging.INFO, "moalign.serving.requests"):
        ask(app, "/cut")
    assert "secret reason" in caplog.text
    [line] = [record for record in caplog.records if record.name == "moalign.serving.requests"]
    assert line.fields["error"] == "internal_error"
    assert app.state.metrics.registry.get_sample_value("moalign_open_requests") == 0
