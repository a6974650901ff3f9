"""What the pages of the dashboard read (docs/dashboard.md). For programs the other families are the steadier ground."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from swarmd.node.analytics.tally import MAX_HOURS
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.dashboard.ops import MAX_LIMIT, MAX_OFFSET, MAX_TEXT_CHARS

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]
Text = Annotated[str | None, Query(max_length=MAX_TEXT_CHARS)]
Answer = dict[str, Any]


def routes(ask: Asker) -> APIRouter:
    api = Routes("dashboard", "/dashboard")
    _needs(api, ask)

    @api.get("/overview", model=Answer)
    async def overview() -> JSONResponse:
        """Counts, money, the last needs, the last day by the hour, and how the node is."""
        return JSONResponse(await ask("dashboard.overview"))

    @api.get("/mesh", model=Answer)
    async def mesh() -> JSONResponse:
        """Everybody this node knows, connected or not, with role, offers and scores."""
        return JSONResponse(await ask("dashboard.mesh"))

    @api.get("/verdicts", model=Answer)
    async def list_verdicts(
        denied: bool = False,
        before: Annotated[int | None, Query(ge=0, le=2**62, description="`next` of the page before")] = None,
        limit: Limit = 50,
    ) -> JSONResponse:
        """The policy's verdicts on what came in, the latest first."""
        return JSONResponse(await ask("dashboard.verdicts", denied=denied, before=before, limit=limit))

    @api.get("/accounts", model=Answer)
    async def list_accounts(limit: Limit = 100) -> JSONResponse:
        """Everybody's balances and reputation, by what they earned."""
        return JSONResponse(await ask("dashboard.accounts", limit=limit))

    @api.get("/statement", model=Answer)
    async def statement(did: Text = None, offset: Offset = 0, limit: Limit = 50) -> JSONResponse:
        """What moved on an account, this node's by default; the latest first."""
        return JSONResponse(await ask("dashboard.statement", did=did, offset=offset, limit=limit))

    @api.get("/anchors", model=Answer)
    async def list_anchors(limit: Limit = 50) -> JSONResponse:
        """Receipts of this node that went to the chain together."""
        return JSONResponse(await ask("dashboard.anchors", limit=limit))

    @api.get("/analytics", model=Answer)
    async def analytics(
        hours: Annotated[int, Query(ge=1, le=MAX_HOURS)] = 24, limit: Limit = 20
    ) -> JSONResponse:
        """What came of the needs: success, volumes, latency, capabilities, leaderboard, by the hour."""
        return JSONResponse(await ask("analytics", hours=hours, limit=limit))

    @api.get("/escrows", model=Answer)
    async def list_escrows(state: Text = None, all: bool = False, limit: Limit = 100) -> JSONResponse:
        """Escrows that this node has a part in, or all that it knows; more at stake comes first."""
        return JSONResponse(await ask("escrow.list", state=state, all=all, limit=limit))

    @api.get("/escrows/{escrow}", model=Answer, problems=(404,))
    async def show_escrow(escrow: str) -> JSONResponse:
        """An escrow with its offers, milestones and dispute."""
        return JSONResponse(await ask("escrow.show", escrow=escrow))

    @api.get("/review", model=Answer)
    async def review() -> JSONResponse:
        """What waits for a person, the most urgent first."""
        return JSONResponse(await ask("dashboard.review"))

    return api.router


def _needs(api: Routes, ask: Asker) -> None:
    @api.get("/needs", model=Answer)
    async def page_of_needs(
        state: Text = None, owner: Text = None, q: Text = None, offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """Needs by state (active and ended are several), owner and words of their title."""
        found = await ask("dashboard.needs", state=state, owner=owner, q=q, offset=offset, limit=limit)
        return JSONResponse(found)

    @api.get("/needs/{need}/graph", model=Answer, problems=(404, 409))
    async def graph_of_need(need: str) -> JSONResponse:
        """The plan of a need as it is drawn, with all that is known of each task."""
        return JSONResponse(await ask("dashboard.graph", need=need))

    @api.get("/needs/{need}/why", model=Answer, problems=(404, 409))
    async def why_of_need(need: str) -> JSONResponse:
        """The causal chain of a need."""
        return JSONResponse(await ask("why", need=need))
