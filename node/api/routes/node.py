"""The node, its agents and its peers."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from swarmd.node.api import models
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes, who


def routes(ask: Asker) -> APIRouter:
    api = Routes("node")

    @api.get("/status", model=models.Status)
    async def status() -> JSONResponse:
        """How the node is: what `swarmd status --json` says."""
        return JSONResponse(await ask("status"))

    @api.get("/session", model=models.Session)
    async def session(request: Request) -> JSONResponse:
        """Who asks, what they may, and until when."""
        asker = who(request)
        return JSONResponse(
            {
                "did": asker.did,
                "name": asker.name,
                "scopes": list(asker.scopes),
                "expires_s": asker.expires_s,
                "csrf": asker.csrf,
            }
        )

    @api.get("/agents", model=models.Agents)
    async def agents() -> JSONResponse:
        """The agents of this node."""
        return JSONResponse({"agents": await ask("agent.list")})

    @api.get("/peers", model=models.Peers)
    async def peers() -> JSONResponse:
        """The nodes that this one is connected to."""
        return JSONResponse(await ask("peers"))

    return api.router
