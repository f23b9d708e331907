"""Say what went wrong in the shape that OpenAI's clients understand."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from frontier.errors import InputError
from moalign.serving.access.caller import Forbidden
from moalign.serving.access.usage import TooMany
from moalign.serving.observe.record import record_of
from moalign.serving.request import EngineStopped, FieldError, GenerationFailed, GenerationTimeout, QueueFull

RETRY_AFTER_SECONDS = 1
# Characters of a message, which may quote what a client sent.
MOST_SHOWN = 1000
CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status (`int`): HTTP status.
        message (`str`): what was found and what is allowed.
        param (`str`, *optional*): the field of the request.
        code (`str`, *optional*): for programs.
        retry_after (`int`, *optional*): seconds after which trying again makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = _sendable(self.message, MOST_SHOWN)
        param = None if self.param is None else _sendable(self.param, MOST_SHOWN // 4)
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def as_api_error(error: Exception) -> ApiError:
    """What to tell the client about any exception; what is not known to be the client's doing tells nothing of the inside."""
    match error:
        case ApiError():
            return error
        case FieldError():
            return ApiError(400, str(error), error.field, "invalid_value")
        case InputError():
            return ApiError(400, str(error), None, "invalid_value")
        case Forbidden():
            return ApiError(403, error.message, error.param, error.code)
        case TooMany():
            return ApiError(429, error.message, None, error.code, error.retry_after)
        case QueueFull():
            return ApiError(429, f"the server is busy: {error}", None, "queue_full", RETRY_AFTER_SECONDS)
        case EngineStopped():
            return ApiError(503, str(error), None, "unavailable", RETRY_AFTER_SECONDS)
        case GenerationTimeout():
            return ApiError(504, str(error), "timeout", "timeout")
        case GenerationFailed():
            return ApiError(500, str(error), None, "generation_failed")
        case RequestValidationError():
            return _validation(error)
        case HTTPException():
            return ApiError(error.status_code, str(error.detail), None, CODES.get(error.status_code))
    return ApiError(500, "the server failed; its log has the reason", None, "internal_error")


def _sendable(text: str, most: int) -> str:
    # A lone surrogate out of a request's JSON escapes has no UTF-8 form.
    text = text.encode("utf-8", "replace").decode()
    # Both ends: what is allowed often stands last.
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def _validation(error: RequestValidationError) -> ApiError:
    """The first field that is wrong; the alternatives of a field that may have several types are told together."""
    problems = error.errors()
    first = problems[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return ApiError(400, f"the body is not valid JSON: {reason}", None, "invalid_json")
    if first["type"] == "unknown_field":
        return ApiError(400, first["msg"], ".".join([*place, first["ctx"]["field"]]), "unknown_field")
    if not place:
        return ApiError(
            400, "the body must be a JSON object, sent with Content-Type: application/json", None, "invalid_type"
        )
    if first["type"] == "missing":
        return ApiError(400, f"{'.'.join(place)}: is missing", ".".join(place), "missing_field")
    found = repr(first.get("input"))
    message = first["msg"].removeprefix("Value error, ")
    shown = found if len(found) <= 80 else found[:77] + "..."
    return ApiError(400, f"{'.'.join(place)}: {message}, found {shown}", ".".join(place), "invalid_value")


def told(error: Exception, scope: Scope) -> ApiError:
    """What to tell the client; the request's record is told the same."""
    known = as_api_error(error)
    record = record_of(scope)
    if record is not None:
        record.code = known.code or "other"
    return known


async def send_error(error: Exception, scope: Scope, receive: Receive, send: Send, close: bool = False) -> None:
    """Answer with an error, from a middleware.

    Args:
        error (`Exception`): what went wrong.
        scope (`Scope`): of the request.
        receive (`Receive`): its body.
        send (`Send`): to its client.
        close (`bool`, *optional*, defaults to `False`): whether the connection ends with it, because a part of the request stays unread.
    """
    response = told(error, scope).response()
    if close:
        response.headers["Connection"] = "close"
    await response(scope, receive, send)


def add_error_handlers(app: FastAPI) -> None:
    """Every error of the app, whoever raises it, leaves in one shape."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return told(error, request.scope).response()

    # What is none of these is a bug of ours, and goes to the log on its way.
    for kind in (
        ApiError, Forbidden, TooMany, InputError, QueueFull, EngineStopped, GenerationFailed, RequestValidationError, HTTPException
    ):  # fmt: skip
        app.add_exception_handler(kind, handle)
