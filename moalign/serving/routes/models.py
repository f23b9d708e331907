"""Tell clients which model is served, and between which objectives it steers."""

from typing import Any

from fastapi import FastAPI

from moalign.serving.documented import ModelCard, ModelList
from moalign.serving.service import Service


def add_routes(app: FastAPI, service: Service) -> None:
    """`GET /v1/models` and `GET /v1/models/{id}`."""

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
            "chat_template": engine.policy.tokenizer.chat_template
            is not None,  # without one, there are only completions
        }

    @app.get("/v1/models", response_model=ModelList)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{model_id:path}", response_model=ModelCard)
    async def model(model_id: str) -> dict[str, Any]:
        service.check_model(model_id)
        return card()
