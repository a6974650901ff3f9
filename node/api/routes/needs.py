"""Needs."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from swarmd.node.api import models
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes

PAGE = 100
MAX_PAGE = 1_000


def routes(ask: Asker) -> APIRouter:
    api = Routes("needs")

    @api.get("/needs", model=models.NeedPage, problems=(409,))
    async def list_needs(
        state: Annotated[str | None, Query(max_length=32, description="only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
        cursor: Annotated[str | None, Query(max_length=512, description="`next` of the page before")] = None,
    ) -> JSONResponse:
        """Needs that this node knows, newest first; with `state`, what moved last first. Paged by `next`."""
        return JSONResponse(await ask("need.list", state=state, limit=limit, cursor=cursor))

    @api.get("/needs/{need}", model=models.NeedDetail, problems=(404, 409))
    async def show_need(need: str) -> JSONResponse:
        """A need with its tasks, money, challenges and result. An unambiguous beginning of its id will do."""
        return JSONResponse(await ask("need.show", need=need))

    return api.router
