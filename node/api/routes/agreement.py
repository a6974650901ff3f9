"""How the mesh agrees: epochs, rosters, verifiers, certificates, checkpoints."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.api.once import Once
from swarmd.node.api.requests import JoinSpec, LeaveSpec

NeedId = Annotated[str, Path(max_length=128)]


def routes(ask: Asker, once: Once) -> APIRouter:
    api = Routes("consensus")

    @api.get("/consensus", model=models.Consensus)
    async def consensus() -> Response:
        """Quorums, what waits for votes, and faults that were seen."""
        return answer(await ask("consensus.status"))

    @api.get("/consensus/roster")
    async def roster() -> Response:
        """The verifiers of this epoch."""
        return answer(await ask("consensus.roster"))

    @api.get("/consensus/epoch")
    async def epoch() -> Response:
        """The epoch, its committee and its seed."""
        return answer(await ask("consensus.epoch"))

    @api.get("/consensus/evidence")
    async def evidence() -> Response:
        """What proves that somebody lied."""
        return answer(await ask("consensus.evidence"))

    @api.get("/consensus/needs/{need}", problems=(404,))
    async def explain(need: NeedId) -> Response:
        """Why a need was decided as it was, or what it waits for."""
        return answer(await ask("consensus.explain", need=need))

    @api.get("/consensus/needs/{need}/certificate", problems=(404, 409))
    async def certificate(
        need: NeedId,
        task: Annotated[str | None, Query(max_length=256, description="of this task's result")] = None,
        result: Annotated[bool, Query(description="of the result, not of the decision")] = False,
    ) -> Response:
        """Votes that anybody can check without this mesh: `swarmd consensus verify`."""
        return answer(await ask("consensus.export", need=need, task=task, result=result))

    @api.get("/verifiers", model=models.Verifiers)
    async def verifiers() -> Response:
        """The pool: stakes, states, attestations."""
        return answer(await ask("verifier.list"))

    @api.spend("POST", "/verifiers/join", problems=(409,))
    async def join(request: Request, spec: JoinSpec) -> Response:
        """Offer this node as a verifier; it binds a stake."""

        async def make() -> Response:
            return answer(await ask("verifier.join", stake=spec.stake))

        return await once(request, make)

    @api.spend("POST", "/verifiers/leave", problems=(409,))
    async def leave(spec: LeaveSpec) -> Response:
        """Take this node back; its stake returns after the unbonding."""
        return answer(await ask("verifier.leave", reason=spec.reason))

    @api.get("/checkpoints", model=models.Checkpoints)
    async def checkpoints(limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> Response:
        """The snapshots that the mesh agreed on, newest first."""
        return answer(await ask("checkpoint.list", limit=limit))

    @api.get("/checkpoints/{epoch}", problems=(404,))
    async def checkpoint(epoch: Annotated[int, Path(ge=0, le=1 << 53)]) -> Response:
        """One of them, with who signed it."""
        return answer(await ask("checkpoint.show", epoch=epoch))

    return api.router
