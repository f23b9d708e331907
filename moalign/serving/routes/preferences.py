"""Help clients find their preference on the bundle's measured front."""

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from frontier.errors import InputError
from moalign.exporting.expected import LEVEL
from moalign.preference import Preference
from moalign.serving.bodies import PickBody
from moalign.serving.choose import choose
from moalign.serving.errors import ApiError
from moalign.serving.request import FieldError
from moalign.serving.schemas import ChooseBody
from moalign.serving.service import Service

# For the description of the API.
NOBODY: dict[str, Any] = {
    "description": "Nobody can be asked about this front.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def add_routes(app: FastAPI, service: Service) -> None:
    """`POST /v1/preferences/choose` and `POST /v1/preferences/pick`."""
    # One conversation at a time: it may take a core for seconds, and must leave the others and the pool of threads to completions.
    choosing = CapacityLimiter(1)

    @app.post("/v1/preferences/choose", responses={409: NOBODY})
    async def preferences(body: ChooseBody) -> dict[str, Any]:
        service.check_model(body.model)
        menu = service.menu()
        # A point that no request can ask for is no answer to "which do you like better?".
        return await to_thread.run_sync(choose, menu.offered(), body, menu.numbers, limiter=choosing)

    @app.post("/v1/preferences/pick")
    async def pick(body: PickBody) -> dict[str, Any]:
        service.check_model(body.model)
        return await run_in_threadpool(pick_document, service, body)


def pick_document(service: Service, body: PickBody) -> dict[str, Any]:
    """The preference that a wish leads to, with what to expect of it; or what to expect of a preference.

    Args:
        service (`Service`): with the policy and its front.
        body (`PickBody`): the wish, or the preference.

    Raises:
        ApiError: 404, there is no front; 400, the bounds cannot be met.
        FieldError: a field is wrong.
    """
    menu = service.menu()
    menu.offered()
    field = "preference" if body.preference is not None else next(iter(body.wish))
    try:
        if body.preference is not None:
            found = menu.expected(Preference.coerce(body.preference, menu.objectives))
        else:
            found = menu.pick(body.wish, body.confidence)
    except ApiError as error:
        if error.code == "infeasible":
            raise ApiError(error.status, error.message, "subject_to", error.code) from error
        raise
    except InputError as error:
        raise FieldError(field, str(error)) from error
    return {
        "object": "preference.pick",
        "preference": service.effective(found.preference),
        "expected": found.expected,
        "level": LEVEL,
        "point": found.index,
        "reached": found.reached,
        "reason": found.reason,
    }
