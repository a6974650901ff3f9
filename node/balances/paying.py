"""The vault's duty: withdrawals whose time has come are settled on the chain, and the mesh is told so."""

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import trio
from swarmd.node.chain import deposits
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.runner import Runner
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.limits import S_NS
from swarmd.protocol.shadow.record import WITHDRAW, Spend
from swarmd.protocol.state import State

if TYPE_CHECKING:
    from swarmd.node.chain.money import Money

log = logging.getLogger("swarmd.balances")

ROUND_S = 2.0


def due(state: State, delay_s: float) -> list[Spend]:
    """Withdrawals that hold their money, that a checkpoint has where there are any, and that are old enough."""
    ledger = state.ledger
    latest_ns = state.now_ns - int(delay_s * S_NS)
    return [
        spend
        for spend in state.shadow.spends.values()
        if spend.op == WITHDRAW
        and ledger.escrows[spend.name].state == "funded"
        and (spend.name in ledger.base_escrows or not state.genesis.epoch_s)
        and spend.envelope.ts_ns <= latest_ns
    ]


class Payer:
    """Runs in every daemon; does something where there are withdrawals and the vault is this node's account."""

    def __init__(self, runner: Runner, money: MoneyDesk, vault: bytes | None, delay_s: float) -> None:
        self._runner = runner
        self._money = money
        self._vault = vault
        self._delay_s = delay_s
        self._claimed: dict[bytes, int] = {}  # withdrawal -> the epoch in which its payout was claimed

    async def run(self) -> None:
        """Until cancelled. What cannot be done now is tried again in the next round."""
        while True:
            await trio.sleep(ROUND_S)
            spends = due(self._runner.state, self._delay_s)
            if not spends:
                continue
            try:
                await self._round(spends)
            except LocalFault as fault:
                log.info("withdrawals wait: %s", fault)

    async def _round(self, spends: list[Spend]) -> None:
        def work(money: "Money") -> list[dict[str, object]]:
            return deposits.pay(money.desk, money.settlements, spends, self._vault, int(time.time()))

        epoch = self._runner.state.epoch
        for payout in await self._money.work(work):
            entry = payout["entry"]
            assert isinstance(entry, bytes)
            if self._claimed.get(entry) == epoch:
                continue
            reply = self._runner.tell(partial(Commanded, "money.claim", payout), reply=True)
            assert reply is not None
            await reply.wait()
            self._claimed[entry] = epoch
