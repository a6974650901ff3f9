"""`swarmd checkpoint`: how epochs ended, and proofs of it for who was not there."""

from datetime import UTC, datetime
from pathlib import Path

from swarmd.node.console.context import Context
from swarmd.node.console.node import size
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import RIGHT, WHOLE, facts, table
from swarmd.protocol.faults import LocalFault, RemoteFault


def run_list(ctx: Context) -> int:
    found = ctx.ask("checkpoint.list", limit=ctx.args.limit)
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        for row in found["checkpoints"]:
            out.line(row["state"])
        return OK
    tiers, ballot = found["tiers"], found["ballot"]
    pairs: list[tuple[str, object]] = [("epoch", found["epoch"])]
    if found["epoch_s"]:
        pairs.append(("an epoch lasts", f"{found['epoch_s']} s at least"))
    if ballot is not None:
        votes = f"{ballot['proposals']} proposals, {ballot['votes']} votes for the best"
        pairs.append(("its end", f"round {ballot['round']}: {votes}"))
        pairs += [("", f"not voted for: {reason}") for reason in ballot["refused"] if reason]
    warm, cold = tiers["warm"], tiers["cold"]
    pairs += [
        (
            "in the journal",
            f"{warm['batches']} batches, {size(warm['bytes'])} ({tiers['keep_epochs']} epochs)",
        ),
        ("in blocks", f"{cold['batches']} batches, {size(cold['bytes'])}"),
        ("late, without effect", found["fenced"]),
    ]
    out.print(facts(pairs))
    rows = [(r["epoch"], r["ops"], r["signatures"], r["state"]) for r in found["checkpoints"]]
    if rows:
        out.print(
            table([("epoch", RIGHT), ("envelopes", RIGHT), ("signed by", RIGHT), ("state", WHOLE)], rows)
        )
    return OK


def run_show(ctx: Context) -> int:
    args = {} if ctx.args.epoch is None else {"epoch": ctx.args.epoch}
    found = ctx.ask("checkpoint.show", **args)
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        out.line(found["state"])
        return OK
    at = datetime.fromtimestamp(found["at_ns"] / 1e9, UTC).isoformat(timespec="seconds")
    pairs: list[tuple[str, object]] = [
        ("opens epoch", found["epoch"]),
        ("proposed", f"{at} by {found['proposer']}, round {found['round']}"),
        ("state", found["state"]),
        ("before it", found["prev"]),
        ("merkle root", f"{found['root']} over {found['ops']} envelopes"),
        ("snapshot", "here, whole" if found["whole"] else "not here any more"),
        ("roster", f"{len(found['roster'])} verifiers, then {len(found['next_roster'])}"),
    ]
    pairs += [("signed by" if not n else "", did) for n, did in enumerate(found["signers"])]
    out.print(facts(pairs))
    return OK


def run_export(ctx: Context) -> int:
    file = str(Path(ctx.args.file).absolute())
    args = {"file": file} if ctx.args.epoch is None else {"file": file, "epoch": ctx.args.epoch}
    found = ctx.ask("checkpoint.export", **args)
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(found["file"])
    else:
        out.note(f"the checkpoint of epoch {found['epoch']}, {size(found['bytes'])}, in {found['file']}")
    return OK


def run_verify(ctx: Context) -> int:
    from swarmd.node.checkpoint.files import verify
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    out, file = ctx.out, Path(ctx.args.file)
    genesis = load_genesis(Path(ctx.args.genesis) if ctx.args.genesis else ctx.home / GENESIS_FILE)
    try:
        frame = file.read_bytes()
    except OSError as error:
        raise LocalFault(
            "cannot-read", f"{file}: {error.strerror}", fix="name an exported checkpoint"
        ) from None
    try:
        found = verify(frame, genesis)
    except RemoteFault as fault:
        if out.as_json:
            out.document({"valid": False, "code": fault.code, "reason": fault.message})
        else:
            out.line(f"not valid: {fault.message}")
        return FAILED
    known = {
        "valid": True,
        "epoch": found.epoch,
        "state": found.state.hex(),
        "signers": list(found.signers),
        "accounts": len(found.found.accounts),
        "open": len(found.found.open),
        "closed": len(found.found.closed),
    }
    if out.as_json:
        out.document(known)
    elif out.quiet:
        out.line(found.state.hex())
    else:
        out.print(
            facts(
                [
                    ("valid", f"every certificate from genesis to epoch {found.epoch}"),
                    ("state", found.state.hex()),
                    ("last signed by", f"{len(found.signers)} of its committee"),
                    ("accounts", f"{len(found.found.accounts)}; their sum is what genesis says"),
                    ("needs", f"{len(found.found.open)} open, {len(found.found.closed)} closed by it"),
                ]
            )
        )
    return OK


def run_advance(ctx: Context) -> int:
    found = ctx.ask("checkpoint.advance")
    out = ctx.out
    if out.as_json:
        out.document(found)
    else:
        out.note(f"epoch {found['epoch']} has begun")
    return OK


def run_retrieve(ctx: Context) -> int:
    found = ctx.ask("checkpoint.retrieve", need=ctx.args.need)
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(found["need"])
    else:
        out.print(
            facts(
                [
                    ("need", found["need"]),
                    ("ended", f"{found['outcome']}, closed by the checkpoint of epoch {found['epoch']}"),
                    ("envelopes", f"{found['warm']} in the journal, {found['cold']} in content blocks"),
                    ("derived again", found["state"]),
                ]
            )
        )
    return OK
