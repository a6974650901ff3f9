"""Whether this node can pay or lock what it is asked to, before it says so."""

from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.state import State


def check(state: State, amount: int, asked: str, instead: str = "") -> None:
    """LocalFault `insufficient-funds` if our account has less than `amount` minor units, without what is on its way.

    `asked` says what for; `instead`: what helps besides waiting.
    """
    available = state.ledger.account(state.me).available - state.own_pending
    if amount > available:
        wait = "wait for payments and refunds (swarmd balance)"
        raise LocalFault(
            "insufficient-funds",
            f"{asked}, {format_usdc(available)} are available",
            fix=f"{instead}, or {wait}" if instead else wait,
        )
