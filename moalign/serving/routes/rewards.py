"""Score texts with the reward heads of the bundle."""

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI

from moalign.serving.bodies import RewardsBody
from moalign.serving.errors import ApiError
from moalign.serving.request import FieldError
from moalign.serving.rewards import rewards_document
from moalign.serving.service import Service


def add_routes(app: FastAPI, service: Service) -> None:
    """`POST /v1/rewards`."""
    # Heads score one batch at a time; who waits must leave the pool of threads to completions.
    scoring = CapacityLimiter(1)

    @app.post("/v1/rewards")
    async def rewards(body: RewardsBody) -> dict[str, Any]:
        service.running_engine()
        service.check_model(body.model)
        if service.heads is None:
            message = "this bundle has no reward heads; serve it with --reward_heads FOLDER"
            raise ApiError(404, message, None, "no_reward_heads")
        prompts, completions = body.texts
        if len(completions) > service.limits.max_choices:
            found = f"{len(completions)} texts, allowed: {service.limits.max_choices} (max_choices)"
            raise FieldError("completions", found)
        return await to_thread.run_sync(rewards_document, service.heads, prompts, completions, limiter=scoring)
