"""Tell an orchestrator whether the process lives and whether it takes requests."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from moalign.serving.service import Service


def add_routes(app: FastAPI, service: Service) -> None:
    """`GET /health/live`, which is 503 once the engine has died too often: restart the process then; and `GET /health/ready`."""

    @app.get("/health/live")
    async def live() -> JSONResponse:
        """503 means that only a restart of the process helps."""
        if service.stopped:
            return JSONResponse({"status": "stopped"}, 503)
        return JSONResponse({"status": "live"})

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        """503 while the model loads, while the engine recovers and while the server stops."""
        if service.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, 503)
