"""Answer prompts with OpenAI's completions and chat, each at its own preference."""

import asyncio
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from moalign.preference import Preference
from moalign.serving.access import Caller
from moalign.serving.documented import ChatAnswer, CompletionAnswer, generated
from moalign.serving.event_stream import EventStream
from moalign.serving.formats import AnswerFormat
from moalign.serving.observe.metered import MeteredStream
from moalign.serving.request import Gathered, GenerationRequest
from moalign.serving.schemas import ChatBody, CompletionBody, GenerationBody
from moalign.serving.service import Prompt, Service, Source


def add_routes(app: FastAPI, service: Service) -> None:
    """`POST /v1/completions` and `POST /v1/chat/completions`."""

    @app.post("/v1/completions", response_model=None, responses=generated(CompletionAnswer))
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await _answer(service, request, body, body.prompts)

    @app.post("/v1/chat/completions", response_model=None, responses=generated(ChatAnswer))
    async def chat(body: ChatBody, request: Request) -> Response:
        return await _answer(service, request, body, [[message.for_template() for message in body.messages]])


async def _answer(service: Service, http: Request, body: GenerationBody, prompts: Sequence[Prompt]) -> Response:
    engine = service.running_engine()
    service.check_model(body.model)
    caller, record = http.state.caller, http.state.record
    record.prompts = prompts if service.log_prompts else None
    # Not on the event loop: a gate's encoder and long texts take a while.
    preferences, source, requests = await run_in_threadpool(_steered, service, body, prompts, caller)
    answer = AnswerFormat(
        "chat" if isinstance(body, ChatBody) else "completion",
        service.model_name,
        requests,
        [service.effective(preference) for preference in preferences],
        source,
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )
    record.preference, record.source = answer.preference, source
    record.prompt_tokens = sum(len(request.prompt_ids) for request in requests)
    most = sum(request.n * request.max_tokens for request in requests)
    settle = service.access.usage(caller).reserve(caller, record.prompt_tokens + most)
    try:
        submitted = engine.stream(*requests)
    except BaseException:
        settle(0)
        raise
    stream = MeteredStream(submitted, sum(request.n for request in requests), record, settle)
    if body.stream:
        return EventStream(stream, answer)
    return await _whole(http, stream, requests, answer)


def _steered(
    service: Service, body: GenerationBody, prompts: Sequence[Prompt], caller: Caller
) -> tuple[list[Preference], Source, list[GenerationRequest]]:
    preferences, source = service.preferences(body, prompts, caller)
    for preference in preferences:
        caller.check_preference(preference)
    return preferences, source, service.requests(body, prompts, preferences, caller)


async def _whole(
    http: Request, stream: MeteredStream, requests: Sequence[GenerationRequest], answer: AnswerFormat
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
