"""`swarmd wallet`, `settle`, `receipt`, `channel` and `stake`: money on the chain.

The daemon does it if it runs; while it is down the command opens the chain of the home itself.
"""

import getpass
import json
import sys
from pathlib import Path
from typing import Any

from swarmd.node.config import Config, load_config
from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, clean, facts, table
from swarmd.protocol.faults import LocalFault

TIMEOUT_S = 120.0
GWEI = 10**9


def rpc_settings(config: Config) -> Any:
    """The chain elsewhere that the configuration names, None for the embedded one. LocalFault `bad-config`."""
    if config.chain_kind != "rpc":
        return None
    from swarmd.node.chain import RpcSettings
    from swarmd.node.chain.desk import parse_address

    if not config.chain_rpc:
        fix = 'such as chain_rpc = ["https://host/path"]'
        raise LocalFault("bad-config", "chain_kind is rpc and chain_rpc names no endpoint", fix=fix)
    contracts = {}
    for text in config.chain_contracts:
        name, equals, address = text.partition("=")
        if not equals or not name.isidentifier():
            raise LocalFault("bad-config", f"chain_contracts: {text!r}", fix='such as "Settlement=0x..."')
        contracts[name] = parse_address(address)
    return RpcSettings(
        config.chain_rpc,
        config.chain_id,
        confirmations=config.chain_confirmations,
        max_fee_wei=config.chain_max_fee_gwei * GWEI,
        max_head_age_s=config.chain_max_head_age_s,
        contracts=contracts,
    )


def ask(ctx: Context, op: str, **args: Any) -> Any:
    """The daemon's answer, or our own while it is down."""
    given = {name: value for name, value in args.items() if value is not None}
    try:
        with ctx.client(TIMEOUT_S) as client:
            return client.call(op, given)
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
    import trio
    from swarmd.node.chain import make_chain
    from swarmd.node.chain.keystore import PASSPHRASE_VARIABLE
    from swarmd.node.chain.money import MoneyDesk
    from swarmd.node.setup import GENESIS_FILE

    if not (ctx.home / GENESIS_FILE).exists():
        raise LocalFault("no-home", f"{ctx.home} is no swarmd home", fix="swarmd init")
    config = load_config(ctx.home, ctx.env).config
    passphrase = ctx.env.get(PASSPHRASE_VARIABLE, "")
    desk = MoneyDesk(ctx.home, make_chain(ctx.home, config.chain_id, rpc_settings(config), passphrase))
    return trio.run(desk.visit, op, given)


def _show(ctx: Context, found: dict[str, Any], quiet: str, *amounts: str) -> int:
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(str(found[quiet]))
    else:
        rows = []
        for name, value in found.items():
            shown = f"{value} USDC" if name in amounts and value is not None else value
            rows.append((name.replace("_", " "), clean(shown)))
        out.print(facts(rows))
    return OK


# Wallet


def _passphrase(ctx: Context) -> str:
    from swarmd.node.chain.keystore import PASSPHRASE_VARIABLE

    given = ctx.env.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise LocalFault(
            "no-passphrase",
            "the keystore takes a passphrase, and there is no terminal to ask for it",
            fix=f"set {PASSPHRASE_VARIABLE}",
        )
    return getpass.getpass("passphrase of the keystore: ")


def run_wallet_create(ctx: Context) -> int:
    from swarmd.node.chain import keystore

    address = keystore.create(ctx.home / "chain", _passphrase(ctx))
    return _show(ctx, {"address": address, "keystore": str(ctx.home / "chain" / "keystore.json")}, "address")


def run_wallet_import(ctx: Context) -> int:
    """A keystore of another wallet, or a key in hex: a file, or - for stdin. Encrypted anew with our passphrase."""
    from swarmd.node.chain import keystore

    passphrase = _passphrase(ctx)
    if ctx.args.file == "-":
        text = sys.stdin.read(keystore.MAX_KEYSTORE_BYTES)
    else:
        try:
            text = Path(ctx.args.file).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise LocalFault(
                "bad-keystore",
                f"{ctx.args.file}: {getattr(error, 'strerror', None) or error}",
                fix="name a readable file",
            ) from None
    if text.lstrip().startswith("{"):
        try:
            record = json.loads(text)
        except ValueError:
            raise LocalFault("bad-keystore", "that is no JSON", fix="a Web3 Secret Storage v3 file") from None
        key = keystore.decrypt(record, passphrase)
    else:
        try:
            key = bytes.fromhex(text.strip().removeprefix("0x"))
        except ValueError:
            raise LocalFault("bad-key", "a key is 64 hex digits", fix="or give a keystore file") from None
        if len(key) != 32:
            raise LocalFault("bad-key", f"a key has 32 bytes, not {len(key)}", fix="or give a keystore file")
    address = keystore.create(ctx.home / "chain", passphrase, key)
    return _show(ctx, {"address": address, "keystore": str(ctx.home / "chain" / "keystore.json")}, "address")


def run_wallet_address(ctx: Context) -> int:
    """Without a passphrase or a running chain, where that is enough."""
    from swarmd.node.chain import keystore

    config = load_config(ctx.home, ctx.env).config
    if config.chain_kind == "rpc":
        address = keystore.address_in(ctx.home / "chain")
        if address is None:
            raise LocalFault("no-keystore", "this home has no account", fix="swarmd wallet create")
        return _show(ctx, {"address": address}, "address")
    return _show(ctx, {"address": ask(ctx, "wallet")["address"]}, "address")


def run_wallet_show(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "wallet"), "address", "tokens")


def run_wallet_bind(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "wallet.bind"), "address")


def run_wallet_bound(ctx: Context) -> int:
    found = ask(ctx, "wallet.bound")
    if ctx.out.as_json:
        ctx.out.document(found)
        return OK
    rows = [
        (clean(row["address"]), clean(row["did"]), "this node" if row["me"] else "") for row in found["bound"]
    ]
    ctx.out.print(table([("account", WHOLE), ("node", WHOLE), ""], rows))
    return OK


def run_wallet_fund(ctx: Context) -> int:
    found = ask(ctx, "wallet.fund", amount=ctx.args.amount, to=ctx.args.to, key=ctx.args.key)
    return _show(ctx, found, "tokens", "tokens")


# Stakes


def run_stake_show(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "stake.show", account=ctx.args.account), "bonded", "bonded", "unbonding")


def run_stake_add(ctx: Context) -> int:
    found = ask(ctx, "stake.add", amount=ctx.args.amount, key=ctx.args.key)
    return _show(ctx, found, "state", "bonded", "unbonding")


def run_stake_unbond(ctx: Context) -> int:
    found = ask(ctx, "stake.unbond", amount=ctx.args.amount, key=ctx.args.key)
    return _show(ctx, found, "state", "bonded", "unbonding")


def run_stake_withdraw(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "stake.withdraw", key=ctx.args.key), "state", "bonded", "unbonding")


def run_stake_slash(ctx: Context) -> int:
    args = ctx.args
    if (args.who is None) == (args.evidence is None):
        raise UsageFault("name a node, or --evidence FILE", fix="swarmd stake slash --help")
    given = (
        {"who": args.who, "need": args.need}
        if args.evidence is None
        else {"evidence": _read_json(args.evidence)}
    )
    with ctx.client(TIMEOUT_S) as client:
        found = client.call(
            "stake.slash", {name: value for name, value in given.items() if value is not None}
        )
    return _show(ctx, found, "state", "amount")


# Settlement


def run_settle_status(ctx: Context) -> int:
    return _settlement(ctx, ask(ctx, "settle.status"))


def run_settle_now(ctx: Context) -> int:
    return _settlement(ctx, ask(ctx, "settle.now"))


def _settlement(ctx: Context, found: dict[str, Any]) -> int:
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    chain = found.get("chain", {})
    rows: list[tuple[str, object]] = []
    if chain:
        rows.append(("chain", f"{chain.get('kind', '')} {chain.get('state', '')}".strip()))
        if chain.get("error"):
            rows.append(("trouble", clean(chain["error"])))
            rows.append(("what helps", clean(chain.get("fix", ""))))
        for endpoint in chain.get("endpoints", ()):
            text = f"{clean(endpoint['url'])} {endpoint['state']}, block {endpoint['head']}"
            rows.append(("endpoint", f"{text} {clean(endpoint['error'])}".strip()))
    rows.append(("waiting", f"{found.get('waiting')} receipts"))
    if "settled" in found:
        rows.append(("settled", f"{found['settled']} receipts"))
    mesh = found.get("mesh")
    if mesh:
        rows.append(
            ("of needs", f"{mesh['dues']['open']} payments certified, {mesh['dues']['settled']} settled")
        )
        left = ", ".join(f"{count} {clean(why)}" for why, count in mesh["set_aside"].items())
        if left:
            rows.append(("left out", left))
        if mesh.get("waits_for"):
            rows.append(("of needs wait for", clean(mesh["waits_for"])))
    if found.get("waits_for"):
        rows.append(("waits for", clean(found["waits_for"])))
    out.print(facts(rows))
    epochs = [*found.get("epochs", ()), *(mesh["epochs"] if mesh else ())]
    if epochs:
        entries = [
            (
                e["epoch"][:16],
                clean(e["state"]),
                str(e["receipts"]),
                e["moved"],
                str(e["block"] or "-"),
            )
            for e in epochs
        ]
        out.print(table(["epoch", ("state", WHOLE), ("receipts", RIGHT), ("moved", RIGHT), "block"], entries))
    return OK


def run_settle_add(ctx: Context) -> int:
    receipts = _read_json(ctx.args.file)
    return _show(ctx, ask(ctx, "settle.add", receipts=receipts), "added")


def run_settle_deposit(ctx: Context) -> int:
    amount = ctx.args.amount
    return _show(
        ctx, ask(ctx, "settle.deposit", amount=amount, account=ctx.args.to, key=ctx.args.key), "state"
    )


def run_settle_withdraw(ctx: Context) -> int:
    amount = ctx.args.amount
    return _show(ctx, ask(ctx, "settle.withdraw", amount=amount, key=ctx.args.key), "state")


def run_settle_deploy(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "settle.deploy"), "Settlement")


def run_receipt_show(ctx: Context) -> int:
    found = ask(ctx, "receipt.show", id=ctx.args.id)
    ctx.out.line(json.dumps(found)) if not ctx.out.as_json else ctx.out.document(found)
    return OK


def run_receipt_verify(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "receipt.verify", proof=_read_json(ctx.args.file)), "verified", "amount")


def _read_json(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        return json.loads(text)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or f"it is not JSON ({error})"
        raise UsageFault(f"{name}: {why}", fix="name a JSON file, or - for stdin") from None


# Channels


def run_channel_open(ctx: Context) -> int:
    found = ask(
        ctx,
        "channel.open",
        payee=ctx.args.payee,
        amount=ctx.args.amount,
        challenge_s=None if ctx.args.challenge is None else int(ctx.args.challenge),
        key=ctx.args.key,
    )
    return _show(ctx, found, "channel")


def run_channel_pay(ctx: Context) -> int:
    found = ask(ctx, "channel.pay", channel=ctx.args.channel, amount=ctx.args.amount)
    return _show(ctx, found, "voucher", "cumulative")


def run_channel_receive(ctx: Context) -> int:
    found = ask(ctx, "channel.receive", voucher=ctx.args.voucher, watch=ctx.args.watch)
    return _show(ctx, found, "paid", "paid", "cumulative")


def run_channel_topup(ctx: Context) -> int:
    amount = ctx.args.amount
    return _show(
        ctx, ask(ctx, "channel.topup", channel=ctx.args.channel, amount=amount, key=ctx.args.key), "state"
    )


def run_channel_claim(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "channel.claim", channel=ctx.args.channel), "state")


def run_channel_close(ctx: Context) -> int:
    return _show(ctx, ask(ctx, "channel.close", channel=ctx.args.channel), "state")


def run_channel_list(ctx: Context) -> int:
    found = ask(ctx, "channel.list")
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    rows = [
        (
            c["channel"],
            c["role"],
            c["state"],
            *(c.get(name, "-") for name in ("deposit", "paid", "claimed")),
        )
        for c in found["channels"]
    ]
    amounts = [(name, RIGHT) for name in ("deposit", "paid", "claimed")]
    out.print(table([("channel", WHOLE), "role", "state", *amounts], rows))
    return OK
