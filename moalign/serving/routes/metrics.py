"""Let Prometheus read the server's numbers."""

from fastapi import FastAPI, Request
from fastapi.responses import Response

from moalign.serving.service import Service


def add_routes(app: FastAPI, service: Service) -> None:
    """`GET /metrics`, unless the server keeps none."""
    metrics = service.metrics
    if metrics is None:
        return

    @app.get("/metrics", response_class=Response)
    async def read(request: Request) -> Response:
        content, media_type = metrics.page(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)
