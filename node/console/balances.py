"""`swarmd transfer`, `deposit`, `withdraw` and `statement`: money in the mesh. The daemon must run."""

from typing import Any

from swarmd.node.balances.service import BalanceSettings
from swarmd.node.config import Config
from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, TIMEOUT
from swarmd.node.console.output import RIGHT, WHOLE, clean, facts, table
from swarmd.protocol.amounts import parse_usdc
from swarmd.protocol.faults import LocalFault

ANSWER_S = 30.0
DEFAULT_WAIT_S = 10.0


def balance_settings(config: Config) -> BalanceSettings:
    """LocalFault `bad-amount`, `bad-address` naming the setting."""
    from swarmd.node.chain.desk import parse_address

    return BalanceSettings(
        vault=parse_address(config.chain_vault) if config.chain_vault else None,
        max_amount=parse_usdc(config.transfer_max),
        max_per_day=parse_usdc(config.transfer_max_per_day),
        withdraw_delay_s=config.withdraw_delay_s,
    )


def _ask(ctx: Context, op: str, **args: Any) -> dict[str, Any]:
    wait_s = DEFAULT_WAIT_S if getattr(ctx.args, "wait", None) is None else float(ctx.args.wait)
    given = {name: value for name, value in args.items() if value is not None}
    with ctx.client(ANSWER_S + wait_s) as client:
        found: dict[str, Any] = client.call(op, {**given, "wait_s": wait_s})
    return found


def _show(ctx: Context, found: dict[str, Any], quiet: str, done: tuple[str, ...]) -> int:
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(str(found[quiet]))
    else:
        out.print(facts([(name, clean(value)) for name, value in found.items() if value not in ("", None)]))
        if found["state"] not in done and ctx.args.wait != 0:
            out.note(f"it goes on by itself; ask again with --key {clean(found['key'])}", "yellow")
    return OK if found["state"] in done or ctx.args.wait == 0 else TIMEOUT


def run_transfer(ctx: Context) -> int:
    args = ctx.args
    found = _ask(ctx, "transfer", to=args.to, amount=args.amount, key=args.key, memo=args.memo)
    return _show(ctx, found, "name", ("final",))


def run_withdraw(ctx: Context) -> int:
    args = ctx.args
    found = _ask(ctx, "withdraw", to=args.to, amount=args.amount, key=args.key, memo=args.memo)
    return _show(ctx, found, "name", ("final", "held", "paid"))


def run_deposit(ctx: Context) -> int:
    args = ctx.args
    if (args.amount is None) == (args.tx is None):
        raise LocalFault(
            "usage", "name an amount, or with --tx a deposit that was made before", fix="swarmd deposit 50"
        )
    tx = None
    if args.tx is not None:
        try:
            tx = bytes.fromhex(args.tx.removeprefix("0x"))
        except ValueError:
            tx = b""
        if len(tx) != 32:
            raise LocalFault("bad-tx", f"{args.tx[:80]!r} is no transaction", fix="0x and 64 hex digits")
    return _show(ctx, _ask(ctx, "deposit", amount=args.amount, tx=tx, key=args.key), "tx", ("credited",))


def run_statement(ctx: Context) -> int:
    found = ctx.ask(
        "statement", **{n: v for n in ("limit", "before") if (v := getattr(ctx.args, n)) is not None}
    )
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    rows = [
        (
            str(row["n"]),
            clean(row["what"]),
            clean(row["other"] or row["name"]),
            row["amount"],
            row["balance"],
            clean(row["memo"]),
        )
        for row in found["moves"]
    ]
    out.print(
        table(
            [("n", RIGHT), "what", ("whom or what", WHOLE), ("USDC", RIGHT), ("balance", RIGHT), "memo"], rows
        )
    )
    if found["next"] is not None and not out.quiet:
        out.note(f"older: swarmd statement --before {found['next']}")
    return OK
