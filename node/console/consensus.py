"""`swarmd consensus`: who decides, why a need was decided as it was, and certificates."""

import json
import sys
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, Output, clean, facts, short_did, table
from swarmd.node.console.verifiers import bootstrap_text
from swarmd.protocol.faults import LocalFault, RemoteFault

FORMAT_FIX = "see swarmd consensus export --help"


def run_status(ctx: Context) -> int:
    found = ctx.ask("consensus.status")
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    arbiter, bootstrap = found["arbiter"], found["bootstrap"]
    if out.quiet:
        out.line(f"{found['quorum_mode']} {arbiter['kind']} {arbiter['state']}")
        return OK
    out.print(
        facts(
            [
                ("epoch", found["epoch"]),
                ("quorum mode", found["quorum_mode"]),
                ("for a plan", _terms(found["plan"])),
                ("for a result", _terms(found["result"])),
                ("verifiers", f"{found['roster']}, {found['seen']} of them seen lately"),
                ("this node", "a verifier" if found["member"] else "no verifier"),
                ("bootstrap", bootstrap_text(bootstrap)),
                ("arbiter", _arbiter(arbiter)),
                ("undecided", f"{found['needs']['undecided']} needs"),
                ("evidence", f"{found['evidence']} contradictions on record"),
            ]
        )
    )
    if waiting := found["needs"]["waiting"]:
        out.note("")
        out.print(table([("need", WHOLE), "waits for"], [(row["need"], row["for"]) for row in waiting]))
    refused = [("frame", code, n) for code, n in sorted(found["refused"]["frames"].items())]
    refused += [("void", reason, n) for reason, n in found["refused"]["void"].items()]
    if refused:
        out.note("")
        out.print(table(["refused", "why", ("times", RIGHT)], refused))
    return OK


def _terms(terms: dict[str, Any]) -> str:
    return (
        f"{terms['quorum']} of {terms['members']}; bears {terms['liars_borne']} that lie or "
        f"{terms['silent_borne']} that are silent"
    )


def _arbiter(arbiter: dict[str, Any]) -> str:
    if arbiter["kind"] != "etcd":
        return "none: the committee's signatures decide"
    text = f"etcd, {arbiter['state']}, at {clean(arbiter['endpoint'])}; {arbiter['pending']} asked"
    return text + (f"; {clean(arbiter['error'])}" if arbiter["error"] else "")


def run_roster(ctx: Context) -> int:
    found = ctx.ask("consensus.roster")
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        for row in found["verifiers"]:
            out.line(clean(row["did"]))
        return OK
    rows = [
        (
            row["did"],
            "this node"
            if row["me"]
            else "connected"
            if row["connected"]
            else "seen"
            if row["fresh"]
            else "-",
            row["weight"],
            row["reputation"],
            row["contradictions"] or "-",
            "forked" if row["forked"] else "-",
        )
        for row in found["verifiers"]
    ]
    out.print(
        table(
            [
                ("verifier", WHOLE),
                "is",
                ("weight", RIGHT),
                ("reputation", RIGHT),
                ("contradictions", RIGHT),
                "chain",
            ],
            rows,
        )
    )
    out.note(f"epoch {found['epoch']}, {found['size']} verifiers, digest {found['digest']}")
    return OK


def run_epoch(ctx: Context) -> int:
    found = ctx.ask("consensus.epoch")
    if ctx.out.as_json:
        ctx.out.document(found)
    elif ctx.out.quiet:
        ctx.out.line(str(found["epoch"]))
    else:
        ctx.out.print(facts([(name.replace("_", " "), value) for name, value in found.items()]))
    return OK


# One need ------------------------------------------------------------------------------------------------


def run_explain(ctx: Context) -> int:
    found = ctx.ask("consensus.explain", need=ctx.args.need)
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(clean(found["why"]))
    else:
        _show(out, found)
    return OK


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(f"{clean(found['need'])}  {found['state']}", "bold")
    out.line(clean(found["why"]))
    if found["next_round"]:
        coming = found["next_round"]
        out.line(f"this node asks for round {coming['round']} in {max(0.0, coming['in_s']):.1f} s")
    out.line("")
    size = len(found["committee"])
    lies = f", bears {found['liars_borne']} that lie" if found["liars_borne"] else ""
    out.line(f"committee of epoch {found['epoch']}: {found['quorum']} of {size} decide{lies}")
    names = {row["did"]: f"{row['rank']}" for row in found["committee"]}
    rows = [
        (
            row["rank"],
            short_did(row["did"]) + (" (this node)" if row["me"] else ""),
            ", ".join(f"round {vote['round']}" for vote in row["votes"]) or "-",
            "-" if row["skipped_to"] is None else f"to round {row['skipped_to']}",
            "contradicted itself" if row["contradicted_itself"] else "",
        )
        for row in found["committee"]
    ]
    out.print(table([("rank", RIGHT), "member", "voted in", "skipped", ""], rows))
    for row in found["rounds"]:
        _show_round(out, row, names, found["quorum"])
    for decision in found["decisions"]:
        mark = "holds" if decision["wins"] else "does not hold"
        out.line(
            f"DECIDE by {short_did(decision['decider'])}, epoch {decision['epoch']}, lamport {decision['lamport']}, "
            f"{decision['votes']} votes: {mark}"
        )
    if not found.get("arbiter_answered", True):
        out.line("the arbiter does not answer now", "yellow")
    elif record := found.get("arbiter_record"):
        text = record.get("error") or f"{record['proposal_id']} of epoch {record['epoch']}"
        out.line(f"the arbiter has on record: {clean(text)}")
    for void in found["void"]:
        out.line(f"void: {void['kind']} of {short_did(void['sender'])}: {clean(void['reason'])}")


def _show_round(out: Output, row: dict[str, Any], names: dict[str, str], quorum: int) -> None:
    def ranks(dids: list[str]) -> str:
        return ", ".join(sorted(names.get(did, short_did(did)) for did in dids)) or "nobody"

    skips = f", asked for by {ranks(row['skips'])}" if row["round"] else ""
    out.line(f"round {row['round']}: {names.get(row['proposer'], '?')} proposes{skips}")
    if not row["proposals"]:
        out.line("  nothing was proposed")
    for proposal in row["proposals"]:
        count = f"{len(proposal['votes'])} of {quorum} votes: {ranks(proposal['votes'])}"
        out.line(f"  {clean(proposal['proposal'])}  {count}")


# Certificates --------------------------------------------------------------------------------------------


def run_evidence(ctx: Context) -> int:
    found = ctx.ask("consensus.evidence")
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        for did in sorted({row["who"] for row in found["evidence"]}):
            out.line(clean(did))
        return OK
    if not found["evidence"]:
        out.note("nobody contradicted itself, as far as this node knows")
        return OK
    rows = [(row["who"], row["what"], row["need"] or row["at"]) for row in found["evidence"]]
    out.print(table([("who", WHOLE), "what", ("where", WHOLE)], rows))
    return OK


def run_export(ctx: Context) -> int:
    args = ctx.args
    if not (args.need or args.against):
        raise UsageFault("name a need, or --against DID", fix=FORMAT_FIX)
    if args.against and (args.task or args.result):
        raise UsageFault(
            "--against is about a contradiction, --task and --result about a result", fix=FORMAT_FIX
        )
    named = {"need": args.need, "task": args.task, "against": args.against, "result": args.result or None}
    asked = {name: value for name, value in named.items() if value is not None}
    found = ctx.ask("consensus.export", **asked)
    if not args.out:
        ctx.out.document(found)  # always JSON: it is to become a file
        return OK
    text = json.dumps(found, indent=2) + "\n"
    try:
        Path(args.out).write_text(text, "utf-8")
    except OSError as error:
        raise LocalFault("bad-file", f"{args.out}: {error.strerror}", fix="choose another --out") from None
    if ctx.out.as_json:
        ctx.out.document({"file": args.out, "what": found["what"], "bytes": len(text)})
    else:
        ctx.out.note(f"{args.out}: a {found['what']}; check it: swarmd consensus verify {args.out} --mesh {found['mesh']}")  # fmt: skip
    return OK


def run_verify(ctx: Context) -> int:
    # Late: it loads the whole core.
    from swarmd.node.consensus.certificates import check

    out = ctx.out
    document = _read(ctx.args.file)
    try:
        shown = check(_trusted(ctx, document), document, ctx.args.roster)
    except RemoteFault as fault:
        if out.as_json:
            out.document({"verified": False, "code": fault.code, "why": fault.message})
        else:
            out.line(f"NOT VERIFIED: {fault.code}: {clean(fault.message)}", "red")
        return FAILED
    if out.as_json:
        out.document({"verified": True, "mesh": document["mesh"], **shown})
    elif out.quiet:
        out.line(clean(shown.get("need") or shown["who"]))
    else:
        out.line("verified", "green")
        out.print(facts([(name.replace("_", " "), _text(value)) for name, value in shown.items()]))
    return OK


def _trusted(ctx: Context, document: Any) -> Any:
    """The genesis of the mesh that the certificate must be of. What a file says of itself is no reason to trust it."""
    from swarmd.node.consensus.certificates import read_genesis
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    if ctx.args.genesis:
        return load_genesis(Path(ctx.args.genesis))
    if ctx.args.mesh:
        genesis = read_genesis(document)
        if genesis.mesh_name != ctx.args.mesh:
            raise RemoteFault("other-mesh", f"it is of mesh {genesis.mesh_name}, not of {ctx.args.mesh}")
        return genesis
    if (ctx.home / GENESIS_FILE).exists():
        return load_genesis(ctx.home / GENESIS_FILE)
    raise LocalFault(
        "no-mesh",
        "a certificate holds in one mesh, and there is no node here whose mesh it could be",
        fix="name it: --mesh ID or --genesis FILE",
    )


def _read(name: str) -> Any:
    from swarmd.node.consensus.certificates import MAX_FILE_BYTES
    from swarmd.protocol.canonical_json import BadJson, parse_json

    try:
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if name == "-" else _load(Path(name), MAX_FILE_BYTES)
    except OSError as error:
        raise LocalFault("bad-file", f"{name}: {error.strerror}", fix="name a file of swarmd consensus export") from None  # fmt: skip
    if len(data) > MAX_FILE_BYTES:
        raise LocalFault("bad-file", f"{name} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return parse_json(data)
    except BadJson as error:
        raise LocalFault("bad-file", f"{name} is no JSON: {error}", fix="name a file of swarmd consensus export") from None  # fmt: skip


def _load(path: Path, limit: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(limit + 1)


def _text(value: Any) -> str:
    if isinstance(value, str | int):
        return clean(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(map(clean, value))
    return clean(json.dumps(value))
