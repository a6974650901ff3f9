"""Money in the mesh: transfer, deposit, withdraw, statement. `balance` is with the node's own commands."""

import argparse

from swarmd.node.console.grammar.values import patience_s
from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    transfer = commands.add(
        "transfer",
        "balances:run_transfer",
        "pay somebody in the mesh",
        "swarmd transfer did:key:z6Mk... 1.50 --key invoice-7",
        "Final once a majority of the epoch's committee has signed it. Exit code 5 if it is not in time: it goes on.",
    )
    transfer.add_argument("to", metavar="DID", help="whom")
    _amount(transfer)
    _payment(transfer)
    deposit = commands.add(
        "deposit",
        "balances:run_deposit",
        "bring money from this node's account on the chain into the mesh",
        "swarmd wallet fund 100 && swarmd deposit 50",
        "It counts once a majority of the committee has seen it on the chain. With the same key it is made once.",
    )
    deposit.add_argument("amount", metavar="USDC", nargs="?", help="such as 1.50")
    deposit.add_argument("--tx", metavar="0x...", help="claim a deposit that was made before, instead")
    _waiting(deposit)
    withdraw = commands.add(
        "withdraw",
        "balances:run_withdraw",
        "take money out of the mesh, to an account on the chain",
        "swarmd withdraw 20 --to 0x...",
        "It is held at once and paid by the vault's node after its delay, with the next settlement.",
    )
    _amount(withdraw)
    withdraw.add_argument("--to", metavar="ADDRESS", help="the account (default: this node's)")
    _payment(withdraw)
    statement = commands.add(
        "statement",
        "balances:run_statement",
        "list what moved this node's balance, the newest first",
        "swarmd statement --limit 20 --json",
    )
    statement.add_argument("--limit", type=int, default=50, metavar="N", help="rows a page (50)")
    statement.add_argument("--before", type=int, metavar="N", help="the page after the one that ended with N")


def _amount(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("amount", metavar="USDC", help="such as 1.50")


def _payment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--memo", metavar="TEXT", help="what it is for; everybody in the mesh can read it")
    _waiting(parser)


def _waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="TEXT", help="a name of this payment: asked again with it, it is made once"
    )
    parser.add_argument(
        "--wait", type=patience_s, metavar="TIME", help="how long to wait for it (10s; 0s: not)"
    )
