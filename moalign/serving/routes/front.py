"""Show the measured front: what the served policy reaches at which preference, and how well that is known."""

from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from frontier.front import FrontPoint, ParetoFront, common_reference_point
from moalign.exporting.expected import LEVEL, measured
from moalign.serving.pick import FrontMenu, document
from moalign.serving.service import Service


def add_routes(app: FastAPI, service: Service) -> None:
    """`GET /v1/front`."""

    @app.get("/v1/front")
    async def front() -> dict[str, Any]:
        return await run_in_threadpool(front_document, service.menu())


def front_document(menu: FrontMenu) -> dict[str, Any]:
    """The whole front, for people and pages to choose from; rewards that are not known exactly come with an interval, `null` where that is not known either.

    Raises:
        ApiError: 404, there is no front.
    """
    menu.offered()
    front = menu.front
    assert front is not None
    best = front.non_dominated_mask().tolist()
    reference = front.reference_policy
    points = [
        {
            "index": index,
            "preference": point.preference,
            "offered": menu.preference(point) is not None,
            "dominated": not kept,
            **_measured(front, point),
        }
        for index, (point, kept) in enumerate(zip(front.points, best, strict=True))
    ]
    return {
        "object": "front",
        "objectives": list(front.objectives),
        "units": "raw" if front.normalizer is None else "normalized",
        "level": LEVEL,
        "points": points,
        "reference_point": dict(zip(front.objectives, common_reference_point(front).tolist(), strict=True)),
        "reference_policy": None if reference is None else _measured(front, reference),
    }


def _measured(front: ParetoFront, point: FrontPoint) -> dict[str, Any]:
    expected = document(measured(front, point))
    label, sample = point.extra.get("label", point.source), point.extra.get("sample")
    return {
        "rewards": {name: value["mean"] for name, value in expected.items()},
        "interval": {name: [value["low"], value["high"]] for name, value in expected.items()},
        "n_prompts": point.n_prompts,
        "kl": point.kl,
        "label": label if isinstance(label, str) else point.source,
        "sample": sample if isinstance(sample, str) else None,
    }
