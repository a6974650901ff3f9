"""The balance in the mesh, at the paths of seed 000: payments that need no chain, deposits and withdrawals that do."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api import requests as asked
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        description="a payment that is sent again with its key is one payment, also after a restart",
    ),
]


def routes(ask: Asker) -> APIRouter:
    api = Routes("whisperer", "/harmony/whisperer")

    @api.get("/balance", model=models.Balance)
    async def shadow_balance(
        did: Annotated[str | None, Query(max_length=128, description="whose; default: this node's")] = None,
    ) -> Response:
        """What an account has in the mesh."""
        return answer(await ask("balance", did=did))

    @api.get("/statement")
    async def statement(
        limit: Annotated[int, Query(ge=1, le=1_000)] = 50,
        before: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
    ) -> Response:
        """What went in and out of this node's account, the latest first."""
        return answer(await ask("statement", limit=limit, before=before))

    @api.get("/transfers/{name}", problems=(404,))
    async def show_transfer(name: Annotated[str, Path(max_length=128)]) -> Response:
        """How far a payment is."""
        return answer(await ask("transfer.show", name=name))

    @api.spend("POST", "/transfer", problems=(409,))
    async def transfer(spec: asked.TransferSpec, key: Key = None) -> Response:
        """Pay somebody in the mesh; waits a while for it to be final."""
        return answer(await ask("transfer", key=key, **_given(spec)))

    @api.spend("POST", "/deposit", problems=(409, 503))
    async def deposit(spec: asked.ShadowDepositSpec, key: Key = None) -> Response:
        """From this node's account on the chain into the mesh."""
        return answer(await ask("deposit", key=key, **_given(spec)))

    @api.spend("POST", "/withdraw", problems=(409, 503))
    async def withdraw_balance(spec: asked.ShadowWithdrawSpec, key: Key = None) -> Response:
        """From the mesh to an account on the chain."""
        return answer(await ask("withdraw", key=key, **_given(spec)))

    return api.router


def _given(spec: asked.Body) -> dict[str, Any]:
    return spec.model_dump(exclude_none=True)
