"""Escrows that two parties negotiate, at the paths of seed 000 (docs/escrow.md)."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api import requests as asked
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.api.once import Once

Did = Annotated[str | None, Query(max_length=128, description="whose; default: this node's")]

# verb -> what it takes and does. Each answers with the escrow as it is then.
VERBS: dict[str, tuple[type[asked.Body], str]] = {
    "offer": (asked.OfferSpec, "Offer terms for an escrow."),
    "counter": (asked.OfferSpec, "Answer the other side's offer with other terms."),
    "accept": (asked.AcceptSpec, "Accept the other side's offer: the last, or the one named."),
    "fund": (asked.FundEscrowSpec, "Lock the money that was agreed on."),
    "submit": (asked.SubmitSpec, "Deliver, as the seller."),
    "score": (asked.ScoreSpec, "Judge a delivery, as one of its scorers."),
    "ready": (asked.ReadySpec, "Say that something the escrow waits for is so."),
    "release": (asked.ReleaseSpec, "Pay the seller, as the buyer."),
    "refund": (asked.RefundSpec, "Give the money back, or end what is not funded."),
    "dispute": (asked.DisputeSpec, "Have the panel decide."),
    "resolve": (asked.ResolveSpec, "Vote, as one of the panel."),
}


def routes(ask: Asker, once: Once) -> APIRouter:
    api = Routes("harmony", "/harmony")

    @api.get("/escrow", model=models.Escrows)
    async def list_escrows(
        state: Annotated[str | None, Query(max_length=32)] = None,
        role: Annotated[str | None, Query(max_length=32)] = None,
        every: Annotated[bool, Query(alias="all", description="also those of others")] = False,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Response:
        """Escrows that this node has a part in; those with more at stake come first."""
        return answer(await ask("escrow.list", state=state, role=role, all=every or None, limit=limit))

    @api.spend("POST", "/escrow/create", model=models.Escrow, status_code=201, problems=(404, 409))
    async def create_escrow(request: Request, spec: asked.EscrowSpec) -> Response:
        """Propose an escrow as its buyer. Nothing is locked before both have accepted and it is funded."""

        async def make() -> Response:
            key = request.headers.get("idempotency-key")
            made = await ask("escrow.create", key=key, **spec.model_dump(exclude_none=True))
            return answer(made, 201, {"Location": f"/api/v1/harmony/escrow/{made['escrow']}"})

        return await once(request, make)

    for verb, (taken, does) in VERBS.items():
        _add_verb(api, ask, once, verb, taken, does)

    @api.get("/escrow/{escrow}", model=models.Escrow, problems=(404,))
    async def show_escrow(escrow: Annotated[str, Path(max_length=128)]) -> Response:
        """An escrow with its negotiation, deliveries, scores and money."""
        return answer(await ask("escrow.show", escrow=escrow))

    @api.get("/reputation", model=models.Reputation)
    async def reputation(did: Did = None) -> Response:
        """What came of an account's escrows."""
        return answer(await ask("escrow.reputation", did=did))

    return api.router


def _add_verb(api: Routes, ask: Asker, once: Once, verb: str, taken: type[asked.Body], does: str) -> None:
    async def endpoint(request: Request, spec: Any) -> Response:
        async def make() -> Response:
            return answer(await ask(f"escrow.{verb}", **spec.model_dump(exclude_none=True)))

        return await once(request, make)

    # FastAPI reads what is taken from the annotation, which differs for each.
    endpoint.__annotations__["spec"] = taken
    endpoint.__name__ = f"{verb}_escrow"
    endpoint.__doc__ = does
    add: Callable[[Any], Any] = api.spend("POST", f"/escrow/{verb}", model=models.Escrow, problems=(404, 409))
    add(endpoint)
