"""`swarmd proof`: make and verify proofs that an envelope belongs to a need's thread."""

import base64
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import clean, facts
from swarmd.protocol.faults import LocalFault, RemoteFault


def run_root(ctx: Context) -> int:
    found = ctx.ask("proof.root", need=ctx.args.need)
    if ctx.out.as_json:
        ctx.out.document(found)
    elif ctx.out.quiet:
        ctx.out.line(found["root"])
    else:
        ctx.out.line(clean(found["root"]))
        ctx.out.note(f"of {found['count']} envelopes of {clean(found['thread'])} that are on record here")
    return OK


def run_make(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    found = ctx.ask("proof.make", need=args.need, envelope=args.envelope)
    data = base64.b64decode(found.pop("car"))
    path = Path(args.out or f"{found['envelope']}.proof.car")
    try:
        with path.open("wb" if args.force else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise LocalFault(
            "file-exists", f"{path} is there already", fix="name another, or add --force"
        ) from None
    except OSError as error:
        raise LocalFault("not-written", f"{path}: {error.strerror}", fix="check the folder") from None
    if out.as_json:
        out.document({"file": str(path), **found})
    elif out.quiet:
        out.line(str(path))
    else:
        out.note(
            f"{clean(path)}: {clean(found['kind'])} is {found['index'] + 1} of {found['count']} envelopes"
        )
        out.note(f"under {clean(found['root'])}")
        out.note(f"verify it anywhere: swarmd proof verify {clean(path)} --root {clean(found['root'])}")
    return OK


def run_verify(ctx: Context) -> int:
    from swarmd.node.proofs import MAX_PROOF_BYTES, verify_proof_file

    args, out = ctx.args, ctx.out
    path = Path(args.file)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROOF_BYTES + 1)
    except OSError as error:
        raise LocalFault("not-read", f"{path}: {error.strerror}", fix="name a proof file") from None
    try:
        shown = verify_proof_file(data).to_json()
        _compare(shown, args.root, args.mesh)
    except RemoteFault as fault:
        if out.as_json:
            out.document({"holds": False, "code": fault.code, "reason": fault.message})
        else:
            out.line(f"it does not hold: {clean(fault.message)}", "red")
        return FAILED
    if out.as_json:
        out.document({"holds": True, **shown})
    elif out.quiet:
        out.line(shown["envelope"])
    else:
        out.print(facts([(name, clean(str(value))) for name, value in _rows(shown)]))
        if not args.root:
            out.note("compare the root with that of a node you trust: swarmd proof root NEED")
    return OK


def _compare(shown: Any, root: str | None, mesh: str | None) -> None:
    for name, wanted in (("root", root), ("mesh", mesh)):
        if wanted and shown[name] != wanted:
            raise RemoteFault("bad-proof", f"the {name} is {shown[name]}, not {wanted}")


def _rows(shown: Any) -> list[tuple[str, Any]]:
    return [
        ("holds", "yes"),
        ("envelope", shown["envelope"]),
        ("kind", shown["kind"]),
        ("signed by", shown["sender"]),
        ("thread", shown["thread"]),
        ("place", f"{shown['index'] + 1} of {shown['count']}"),
        ("root", shown["root"]),
        ("mesh", shown["mesh"]),
    ]
