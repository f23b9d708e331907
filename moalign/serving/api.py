"""The OpenAI-compatible API over one steerable policy: every request may bring its own preference."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

try:
    from anyio import CapacityLimiter, to_thread
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.concurrency import run_in_threadpool
    from starlette.types import Receive, Scope, Send
except ModuleNotFoundError as missing:
    from frontier.errors import InputError

    raise InputError(f"serving needs the package '{missing.name}': pip install 'moalign[serve]'") from missing

from frontier.front import ParetoFront
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_gate import PreferenceGate
from moalign.serving.body_guard import BodyGuard
from moalign.serving.choose import choose
from moalign.serving.engine import DeltaStream
from moalign.serving.errors import ApiError, add_error_handlers, as_api_error
from moalign.serving.formats import AnswerFormat
from moalign.serving.request import Gathered, GenerationRequest
from moalign.serving.schemas import ChatBody, ChooseBody, CompletionBody, GenerationBody
from moalign.serving.service import Limits, Prompt, Service, Source

logger = logging.getLogger(__name__)


def create_app(
    policy: SteerablePolicy | Callable[[], SteerablePolicy],
    *,
    model_name: str,
    limits: Limits | None = None,
    gate: Callable[[SteerablePolicy], PreferenceGate] | None = None,
    front: ParetoFront | None = None,
    **engine_options: Any,
) -> FastAPI:
    """The ASGI application; `app.state.service` is the `Service` behind it.

    Args:
        policy (`SteerablePolicy` or `Callable`): the policy, or a function that loads it while the server already answers `/health`.
        model_name (`str`): what clients call it.
        limits (`Limits`, *optional*): what one request may ask for.
        gate (`Callable`, *optional*): makes, from the loaded policy, the source of preferences for requests that bring none.
        front (`ParetoFront`, *optional*): the bundle's measured front, on which clients may find their preference.
        engine_options: arguments of `Engine`.
    """
    service = Service(model_name, limits or Limits(), engine_options, gate)
    loader = (lambda: policy) if isinstance(policy, SteerablePolicy) else policy

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # One conversation at a time: it may take a core for seconds, and must leave the others and the pool of threads to completions.
        app.state.choosing = CapacityLimiter(1)
        service.loading = asyncio.create_task(service.load(loader))
        try:
            yield
        finally:
            await service.loading
            await service.close()

    app = FastAPI(title="moalign", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(BodyGuard, max_bytes=service.limits.max_body_bytes)
    add_error_handlers(app)
    _add_health(app, service)
    _add_models(app, service)
    _add_generation(app, service)
    _add_choosing(app, service, front)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        if service.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)


def _add_models(app: FastAPI, service: Service) -> None:
    def card() -> dict[str, Any]:
        engine = service.running_engine()
        return {
            "id": service.model_name,
            "object": "model",
            "created": service.created,
            "owned_by": "moalign",
            "objectives": list(engine.policy.objectives),
            "default_preference": service.effective(engine.policy.default_preference),
            "preference_gate": service.gate is not None,  # if so, requests without a preference get its choice
            "max_model_len": engine.context_length,
        }

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> dict[str, Any]:
        service.check_model(model_id)
        return card()


def _add_generation(app: FastAPI, service: Service) -> None:
    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await _answer(service, request, body, body.prompts)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(body: ChatBody, request: Request) -> Response:
        return await _answer(service, request, body, [[message.for_template() for message in body.messages]])


def _add_choosing(app: FastAPI, service: Service, front: ParetoFront | None) -> None:
    @app.post("/v1/preferences/choose")
    async def preferences(body: ChooseBody, request: Request) -> dict[str, Any]:
        service.check_model(body.model)
        return await to_thread.run_sync(choose, front, body, limiter=request.app.state.choosing)


async def _answer(service: Service, http: Request, body: GenerationBody, prompts: Sequence[Prompt]) -> Response:
    engine = service.running_engine()
    service.check_model(body.model)
    # Not on the event loop: a gate's encoder and long texts take a while.
    preferences, source, requests = await run_in_threadpool(_steered, service, body, prompts)
    answer = AnswerFormat(
        "chat" if isinstance(body, ChatBody) else "completion",
        service.model_name,
        requests,
        [service.effective(preference) for preference in preferences],
        source,
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )
    stream = engine.stream(*requests)
    if body.stream:
        return EventStream(stream, answer)
    return await _whole(http, stream, requests, answer)


def _steered(
    service: Service, body: GenerationBody, prompts: Sequence[Prompt]
) -> tuple[list[Preference], Source, list[GenerationRequest]]:
    preferences, source = service.preferences(body, prompts)
    return preferences, source, service.requests(body, prompts, preferences)


async def _whole(
    http: Request, stream: DeltaStream, requests: Sequence[GenerationRequest], answer: AnswerFormat
) -> Response:
    """Wait for the whole answer, unless the client goes away before."""
    gathered = Gathered(requests)

    async def gather() -> None:
        async for delta in stream:
            gathered.add(delta)

    async def disconnected() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass

    gathering, watching = asyncio.create_task(gather()), asyncio.create_task(disconnected())
    try:
        await asyncio.wait((gathering, watching), return_when=asyncio.FIRST_COMPLETED)
        if not gathering.done():
            return Response(status_code=499)  # nobody reads it; the status is for logs
        gathering.result()
        return JSONResponse(answer.whole(gathered.completions()))
    finally:
        stream.cancel()
        gathering.cancel()
        watching.cancel()


class EventStream(StreamingResponse):
    """Server-sent events of an answer; a client that goes away, at any moment, cancels its work.

    Args:
        stream (`DeltaStream`): what the engine makes.
        answer (`AnswerFormat`): how it reads.
    """

    def __init__(self, stream: DeltaStream, answer: AnswerFormat) -> None:
        super().__init__(
            _events(stream, answer),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Here and not in the generator, which may never have been started.
            self._stream.cancel()


async def _events(stream: DeltaStream, answer: AnswerFormat) -> AsyncIterator[str]:
    try:
        for chunk in answer.first_chunks():
            yield _event(chunk)
        async for delta in stream:
            for chunk in answer.chunks(delta):
                yield _event(chunk)
        for chunk in answer.last_chunks():
            yield _event(chunk)
    except Exception as error:
        # The status line is long gone: the error is an event, and the stream still ends as streams do.
        known = as_api_error(error)
        if not isinstance(error, ApiError) and known.code == "internal_error":
            logger.exception("a stream failed")
        yield _event(known.body())
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
