"""The ledger of the mesh, and money on the chain."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api import requests as asked
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.api.once import Once

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="a request that is sent again with its key is not done again; kept on disk",
    ),
]
Channel = Annotated[str, Path(max_length=66, description="32 bytes of hex")]
AccountQuery = Annotated[str | None, Query(max_length=42, description="of the chain; default: this node's")]


def routes(ask: Asker, once: Once) -> list[APIRouter]:
    return [_ledger(ask), _settlement(ask), _channels(ask, once)]


def _ledger(ask: Asker) -> APIRouter:
    api = Routes("ledger")

    @api.get("/ledger/balance", model=models.Balance)
    async def balance(
        did: Annotated[str | None, Query(max_length=128, description="whose; default: this node's")] = None,
    ) -> Response:
        """What an account of the mesh has, and its reputation."""
        return answer(await ask("balance", did=did))

    @api.get("/wallet", problems=(503,))
    async def wallet() -> Response:
        """This node's account on the chain."""
        return answer(await ask("wallet"))

    @api.spend("POST", "/wallet/fund", problems=(409, 503))
    async def fund(spec: asked.FundSpec, key: Key = None) -> Response:
        """Test tokens, on a chain where this node can mint them."""
        return answer(await ask("wallet.fund", key=key, **spec.model_dump()))

    @api.get("/stakes", problems=(503,))
    async def stake(account: AccountQuery = None) -> Response:
        """What is staked on the chain."""
        return answer(await ask("stake.show", account=account))

    @api.spend("POST", "/stakes", problems=(409, 503))
    async def add_stake(spec: asked.AmountSpec, key: Key = None) -> Response:
        """Stake more."""
        return answer(await ask("stake.add", key=key, amount=spec.amount))

    @api.spend("POST", "/stakes/unbond", problems=(409, 503))
    async def unbond(spec: asked.AmountSpec, key: Key = None) -> Response:
        """Begin to take a stake back."""
        return answer(await ask("stake.unbond", key=key, amount=spec.amount))

    @api.spend("POST", "/stakes/withdraw", problems=(409, 503))
    async def withdraw_stake(key: Key = None) -> Response:
        """Take what is unbonded."""
        return answer(await ask("stake.withdraw", key=key))

    return api.router


def _settlement(ask: Asker) -> APIRouter:
    api = Routes("settlement", "/settlement")

    @api.get("", model=models.Settlement)
    async def settlement() -> Response:
        """What waits to be settled, the epochs so far, and how the chain is."""
        return answer(await ask("settle.status"))

    @api.spend("POST", "/run", problems=(409, 503))
    async def settle_now() -> Response:
        """Net what waits at once."""
        return answer(await ask("settle.now"))

    @api.spend("POST", "/receipts", problems=(409, 413, 503))
    async def add_receipts(spec: asked.ReceiptsSpec) -> Response:
        """Payments to settle; one that is known already is not added again."""
        return answer(await ask("settle.add", receipts=[each.model_dump() for each in spec.receipts]))

    @api.get("/receipts/{receipt}", problems=(404, 409, 503))
    async def receipt(
        receipt: Annotated[str, Path(max_length=66, description="32 bytes of hex")],
    ) -> Response:
        """The proof of a settled payment, for its payee."""
        return answer(await ask("receipt.show", id=receipt))

    @api.look("POST", "/receipts/verify", problems=(404, 409, 503))
    async def verify_receipt(spec: asked.ProofSpec) -> Response:
        """Check such a proof against the chain."""
        return answer(await ask("receipt.verify", proof=spec.proof))

    @api.spend("POST", "/deposits", problems=(409, 503))
    async def deposit(spec: asked.DepositSpec, key: Key = None) -> Response:
        """Money that settlements take from."""
        return answer(await ask("settle.deposit", key=key, **spec.model_dump()))

    @api.spend("POST", "/withdrawals", problems=(409, 503))
    async def withdraw(spec: asked.WithdrawalSpec, key: Key = None) -> Response:
        """Ask for a deposit back, and later take it."""
        return answer(await ask("settle.withdraw", key=key, amount=spec.amount))

    @api.spend("POST", "/contracts", problems=(409, 503))
    async def deploy() -> Response:
        """Put the contracts on the chain from this node's account; those under way are null."""
        return answer(await ask("settle.deploy"))

    return api.router


def _channels(ask: Asker, once: Once) -> APIRouter:
    api = Routes("channels", "/channels")
    may: dict[str, Any] = {"problems": (404, 409, 503)}

    @api.get("", model=models.Channels, problems=(503,))
    async def channels() -> Response:
        """Payment channels that this node pays or is paid through."""
        return answer(await ask("channel.list"))

    @api.spend("POST", "", status_code=201, **may)
    async def open_channel(spec: asked.ChannelSpec, key: Key = None) -> Response:
        """Open one with a deposit."""
        return answer(await ask("channel.open", key=key, **spec.model_dump()), 201)

    @api.spend("POST", "/receive", **may)
    async def receive(spec: asked.VoucherSpec) -> Response:
        """Take a voucher from its payer."""
        return answer(await ask("channel.receive", voucher=spec.voucher, watch=spec.watch))

    @api.spend("POST", "/{channel}/pay", **may)
    async def pay(request: Request, channel: Channel, spec: asked.AmountSpec) -> Response:
        """A voucher for so much more. Each request makes a new one, unless it comes with the Idempotency-Key of one
        before."""

        async def make() -> Response:
            return answer(await ask("channel.pay", channel=channel, amount=spec.amount))

        return await once(request, make)

    @api.spend("POST", "/{channel}/topup", **may)
    async def top_up(channel: Channel, spec: asked.AmountSpec, key: Key = None) -> Response:
        """Deposit more."""
        return answer(await ask("channel.topup", channel=channel, amount=spec.amount, key=key))

    @api.spend("POST", "/{channel}/claim", **may)
    async def claim(channel: Channel) -> Response:
        """Take what the best voucher is good for."""
        return answer(await ask("channel.claim", channel=channel))

    @api.spend("POST", "/{channel}/close", **may)
    async def close(channel: Channel) -> Response:
        """The next step to its end: each side has its own."""
        return answer(await ask("channel.close", channel=channel))

    return api.router
