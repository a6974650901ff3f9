"""Analytics, and the metrics that Prometheus scrapes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from swarmd.node.analytics.ops import MAX_ROWS
from swarmd.node.analytics.tally import MAX_HOURS
from swarmd.node.api import figures as models
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.api.guard import Principal
from swarmd.node.api.tokens import READ
from swarmd.protocol.faults import LocalFault

Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="rows of the tables")]


def routes(ask: Asker) -> APIRouter:
    api = Routes("analytics", "/harmony/analytics")

    @api.get("/overview", model=models.Analytics)
    async def overview(
        limit: Limit = 20,
        hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="how far back the hours go")] = 24,
    ) -> JSONResponse:
        """What came of the needs that this node has seen: what `swarmd analytics --json` says."""
        return JSONResponse(await ask("analytics", limit=limit, hours=hours))

    @api.get("/leaderboard", model=models.Leaderboard)
    async def leaderboard(limit: Limit = 20) -> JSONResponse:
        """Who worked, best reputation first."""
        found = await ask("analytics", limit=limit, hours=1)
        return JSONResponse({"leaderboard": found["leaderboard"], "behind_s": found["behind_s"]})

    @api.get("/user", model=models.AgentFigures)
    async def user(
        did: Annotated[str | None, Query(max_length=200, description="this node's own by default")] = None,
    ) -> JSONResponse:
        """What one node did, posted and spent, and its reputation."""
        return JSONResponse(await ask("analytics.agent", did=did))

    return api.router


def metrics_route(ask: Asker) -> Any:
    """GET /metrics: where Prometheus looks for it. For the scope read, as all that reads."""

    async def metrics(request: Request) -> Response:
        principal: Principal | None = request.scope["principal"]
        if principal is None:
            raise LocalFault(
                "no-token",
                "this needs a token",
                fix="set authorization in scrape_configs; swarmd token create prometheus makes one",
            )
        principal.need(READ)
        found = await ask("metrics")
        return Response(found["text"], headers={"Content-Type": found["content_type"]})

    return metrics
