"""Tell an orchestrator whether the process lives and whether it takes requests."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from moalign.serving.service import Service


def add_routes(app: FastAPI, service: Service) -> None:
    """`GET /health/live` and `GET /health/ready`."""

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        if service.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)
