"""Learn from users' feedback, show what is known of a user, and delete it."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.serving.access import Caller
from moalign.serving.bodies import FeedbackBody
from moalign.serving.errors import ApiError
from moalign.serving.request import FieldError
from moalign.serving.service import Service
from moalign.serving.users.allowed import known_preference
from moalign.serving.users.book import UserBook, document
from moalign.serving.users.database import UsersUnavailable
from moalign.serving.users.feedback import FeedbackReader
from moalign.serving.users.store import check_name

RETRY_AFTER_SECONDS = 30

Given = ParamSpec("Given")
Found = TypeVar("Found")


def add_routes(app: FastAPI, service: Service) -> None:
    """`POST /v1/feedback`, `GET /v1/users/{user}` and `DELETE /v1/users/{user}`."""
    # A database that hangs must leave the pool of threads to completions.
    working = CapacityLimiter(4)

    async def ask(function: Callable[Given, Found], *arguments: Given.args, **_: Given.kwargs) -> Found:
        try:
            return await to_thread.run_sync(function, *arguments, limiter=working)
        except UsersUnavailable as error:
            # What the driver says, names of files and hosts included, is in the log.
            message = "the users' database cannot be used now; answers are made without it"
            raise ApiError(503, message, None, "users_unavailable", RETRY_AFTER_SECONDS) from error

    @app.post("/v1/feedback")
    async def feedback(body: FeedbackBody, request: Request) -> dict[str, Any]:
        service.check_model(body.model)
        return await ask(learn, service, body, request.state.caller)

    @app.get("/v1/users/{user:path}")
    async def export(user: str, request: Request) -> dict[str, Any]:
        found = await ask(_book(service).export, caller_name(request), _name(user))
        if found is None:
            raise _unknown()
        return found

    @app.delete("/v1/users/{user:path}")
    async def forget(user: str, request: Request) -> dict[str, Any]:
        count = await ask(_book(service).forget, caller_name(request), _name(user))
        if count is None:
            raise _unknown()
        return {"object": "user.deleted", "user": user, "deleted": True, "judgements": count}


def learn(service: Service, body: FeedbackBody, caller: Caller) -> dict[str, Any]:
    """Keep what a user said; the user's new weights. May score texts, so call it in a thread.

    Args:
        service (`Service`): with the policy, its front, its reward heads and its users.
        body (`FeedbackBody`): what was said.
        caller (`Caller`): whose user it is, and what that key allows.

    Raises:
        ApiError: there are no users, reward heads or front where they are needed, or the feedback tells nothing.
        FieldError: a field is wrong.
        UsersUnavailable: it could not be kept.
    """
    book = _book(service)
    _name(body.user)
    judgement = FeedbackReader(service.menu(), service.heads, book.keep_texts).read(body, _usual(service, body, caller))
    return document(body.user, book.record(caller.name, body.user, judgement), book.kind)


def _usual(service: Service, body: FeedbackBody, caller: Caller) -> Preference:
    """What a rated answer was made with unless the request says so: as completions choose it for this user."""
    default = service.running_engine().policy.default_preference
    if body.kind != "rating" or body.preference is not None:
        return default  # nobody reads it
    known = known_preference(_book(service), caller, body.user)
    if known is None and service.gate is not None:
        raise FieldError("preference", "is needed beside rating: a gate chose it, and the answer carried it")
    return default if known is None else known


def caller_name(request: Request) -> str:
    """Whose users these are: the holder of the key, or everybody where no key is needed."""
    caller: Caller = request.state.caller
    return caller.name


def _book(service: Service) -> UserBook:
    service.running_engine()
    if service.users is None:
        raise ApiError(404, "this server keeps no users; start it with --database FILE", None, "no_users")
    return service.users


def _name(user: str) -> str:
    try:
        return check_name(user)
    except InputError as error:
        raise FieldError("user", str(error)) from error


def _unknown() -> ApiError:
    return ApiError(404, "nothing is stored of this user", "user", "user_not_found")
