"""Describe the API for machines: OpenAPI with every answer and every error that the server gives."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from moalign.serving.access.guard import OPEN_PATHS
from moalign.serving.service import Service

BEARER = "key"
# Any request may meet these; those of the second group need a body.
ERRORS = {
    "400": "A field is wrong; the message says what was found and what is allowed.",
    "404": "There is no such model, or the bundle lacks what this needs.",
    "429": "As much is being done, or was done lately, as may be; `Retry-After` says when to come back.",
    "500": "The server failed; its log has the reason.",
    "503": "The model is still loading, or the server is stopping.",
}
WITH_BODY = {
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "504": "The request was not finished within its `timeout`.",
}
WITH_KEY = {
    "401": "There is no API key, or it is not valid.",
    "403": "The API key may not do this.",
}


class Usage(BaseModel):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChoice(BaseModel):
    """One answer."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: str


class ChatMessage(BaseModel):
    """What the model says."""

    role: str
    content: str
    refusal: str | None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: dict[str, Any] | None
    finish_reason: str


class Answer(BaseModel):
    """What completions and chat share."""

    id: str
    object: str
    created: int
    model: str
    usage: Usage
    preference: dict[str, Any] | list[dict[str, Any]] = Field(
        description="what the answers were made with; a list where a gate chose one for each of several prompts"
    )
    preference_source: str = Field(description="who chose it: request, user, gate or default")


class CompletionAnswer(Answer):
    """The answer of `/v1/completions`."""

    choices: list[CompletionChoice]


class ChatAnswer(Answer):
    """The answer of `/v1/chat/completions`."""

    choices: list[ChatChoice]


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: str
    created: int
    owned_by: str
    objectives: list[str]
    default_preference: dict[str, Any]
    preference_gate: bool
    max_model_len: int | None
    chat_template: bool = Field(description="whether chat completions can be asked for")


class ModelList(BaseModel):
    """All models that are served: one."""

    object: str
    data: list[ModelCard]


def generated(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers whole or as server-sent events."""
    events = {"schema": {"type": "string", "description": "server-sent events: chunks, then `[DONE]`"}}
    return {200: {"model": model, "content": {"text/event-stream": events}}}


def describe(app: FastAPI, service: Service) -> None:
    """Make `/openapi.json` tell the errors and the key, which no route declares by itself."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, locked=not service.access.open)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI, locked: bool) -> dict[str, Any]:
    from moalign import __version__

    schema = get_openapi(title="moalign", version=__version__, routes=app.routes)
    parts = schema.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Error"] = _ERROR
    if locked:
        parts["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            closed = locked and path not in OPEN_PATHS
            _describe(operation, closed)
    return schema


def _describe(operation: dict[str, Any], closed: bool) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # ours is a 400
    known = ERRORS | (WITH_BODY if "requestBody" in operation else {}) | (WITH_KEY if closed else {})
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, meaning in known.items():
        responses.setdefault(status, {"description": meaning, "content": content})
    if closed:
        operation["security"] = [{BEARER: []}]


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "the field of the request"},
                "code": {"type": ["string", "null"], "description": "for programs"},
            },
        }
    },
}
