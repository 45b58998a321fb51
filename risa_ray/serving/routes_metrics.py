"""Metrics for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

router = APIRouter(prefix="/v1", tags=["operations"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """The server and the running jobs, in Prometheus' text format. docs/monitoring.md names every metric."""
    state = request.app.state
    text = state.traffic.render(await state.hub.live())
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
