"""What a daemon runs for its account's balance: operations, the statement, looking claims up, and the vault's payouts."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.node.balances.ops import BalanceOps, Limits
from swarmd.node.balances.paying import Payer
from swarmd.node.balances.statement import Statement
from swarmd.node.chain.deposits import ChainClaims
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.chain.service import ChainService
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall

STATEMENT_FILE = "statement.db"


@dataclass(frozen=True, slots=True)
class BalanceSettings:
    """`vault`: 20 bytes, None for this node's own account. Limits in minor units, 0: none."""

    vault: bytes | None = None
    max_amount: int = 0
    max_per_day: int = 0
    withdraw_delay_s: float = 600.0


class Balances:
    """Owns HOME/statement.db."""

    def __init__(
        self, home: Path, runner: Runner, chain: ChainService, money: MoneyDesk, settings: BalanceSettings
    ) -> None:
        self.statement = Statement(home / STATEMENT_FILE, lambda: runner.state)
        runner.before_adoption.append(self.statement.follow)
        limits = Limits(settings.max_amount, settings.max_per_day)
        self._ops = BalanceOps(runner, self.statement, limits, money, settings.vault)
        self.claims = ChainClaims(chain, settings.vault)
        self.payer = Payer(runner, money, settings.vault, settings.withdraw_delay_s)

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return self._ops.ops()

    def close(self) -> None:
        self.statement.close()
