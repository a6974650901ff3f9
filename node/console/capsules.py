"""`swarmd policy capsule`: policies that are signed for others."""

import time
from pathlib import Path
from typing import Any

from swarmd.node.config import load_config
from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import clean, facts
from swarmd.node.console.policies import found, store_of, write
from swarmd.node.keys import load_key
from swarmd.protocol.cids import parse_cid
from swarmd.protocol.faults import Fault, LocalFault, RemoteFault


def run_create(ctx: Context) -> int:
    from swarmd.node.policy import capsule as capsules
    from swarmd.node.policy.probes import probes

    args = ctx.args
    policy = found(ctx, args.policy, args.data)
    folder = Path(args.samples) if args.samples else policy.folder and policy.folder / "samples"
    try:
        replaces = parse_cid(args.replaces) if args.replaces else b""
    except RemoteFault as fault:
        raise LocalFault(fault.code, f"--replaces: {fault.message}") from None
    package = capsules.create(
        args.name or policy.name,
        policy.gate(),
        policy.wasm,
        policy.data,
        capsules.sample_inputs(folder) if folder else probes(),
        author=load_key(ctx.home).did,
        made_ns=time.time_ns(),
        replaces=replaces,
    )
    write(Path(args.out), package.to_bytes())
    return _said(ctx, package.capsule, args.out, "sign it: swarmd policy capsule sign")


def run_sign(ctx: Context) -> int:
    from swarmd.node.policy import capsule as capsules
    from swarmd.node.policy.sources import read_package

    identity = load_key(ctx.home)
    package = read_package(Path(ctx.args.file))
    try:
        capsules.check_bytes(package)  # nobody should sign what is not what it says
    except RemoteFault as fault:
        raise LocalFault(fault.code, fault.message, fix=fault.fix) from None
    signed = capsules.sign(package, identity.did, identity.sign)
    write(Path(ctx.args.file), signed.to_bytes())
    return _said(ctx, signed.capsule, ctx.args.file, "publish it: swarmd policy capsule publish")


def _said(ctx: Context, capsule: Any, file: str, next_step: str) -> int:
    made = {
        "file": file,
        "cid": capsule.cid_text,
        "name": capsule.name,
        "author": capsule.author,
        "signed": bool(capsule.signature),
        "cases": len(capsule.cases),
        "wasm_hash": capsule.wasm_hash.hex(),
    }
    if ctx.out.as_json:
        ctx.out.document(made)
    elif ctx.out.quiet:
        ctx.out.line(made["cid"])
    else:
        ctx.out.print(facts(list(made.items())))
        ctx.out.note(f"{next_step} {clean(file)}")
    return OK


def run_verify(ctx: Context) -> int:
    """FAILED if this node would not load it."""
    from swarmd.node.policy import capsule as capsules
    from swarmd.node.policy.capsule_store import require_trust
    from swarmd.node.policy.sources import read_package

    package = read_package(Path(ctx.args.file))
    capsule = package.capsule
    signers = load_config(ctx.home, ctx.env).config.policy_signers
    me = load_key(ctx.home).did
    checks = []
    for name, check in (
        ("signature", lambda: capsules.require_signature(capsule)),
        ("trust", lambda: require_trust(capsule.author, signers, me)),
        ("policy", lambda: capsules.load(package, None)),
    ):
        try:
            check()
            checks.append({"name": name, "ok": True, "message": ""})
        except Fault as fault:
            checks.append({"name": name, "ok": False, "message": f"{fault.code}: {fault.message}"})
    good = all(check["ok"] for check in checks)
    if ctx.out.as_json:
        ctx.out.document({"cid": capsule.cid_text, "author": capsule.author, "ok": good, "checks": checks})
        return OK if good else FAILED
    ctx.out.note(f"{capsule.cid_text}  {clean(capsule.name)} by {capsule.author}, {len(capsule.cases)} cases")
    for each in checks:
        ctx.out.line(f"{'ok  ' if each['ok'] else 'BAD '} {each['name']} {clean(each['message'])}".rstrip())
    return OK if good else FAILED


def run_publish(ctx: Context) -> int:
    from swarmd.node.policy.sources import read_package

    package = read_package(Path(ctx.args.file))
    return _answered(ctx, ctx.ask("policy.publish", package=package.to_bytes()), "kept and told the mesh")


def run_fetch(ctx: Context) -> int:
    return _answered(ctx, ctx.ask("policy.fetch", cid=ctx.args.cid), "fetched and proven")


def run_activate(ctx: Context) -> int:
    said = ctx.ask("policy.activate", cid=ctx.args.cid, at_lamport=ctx.args.at_lamport)
    waits = said["at_lamport"] - said["lamport"]
    when = f"in force at lamport {said['at_lamport']}, {waits} from now" if waits > 0 else "in force"
    return _answered(ctx, said, when)


def run_rollback(ctx: Context) -> int:
    try:
        said = ctx.ask("policy.rollback")
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
        said = _rollback_stopped(ctx)
    if said["cancelled"]:
        return _answered(ctx, said, f"stays in force; the switch to {said['cancelled']} is off")
    return _answered(ctx, said, "in force again")


def _rollback_stopped(ctx: Context) -> dict[str, Any]:
    """On a node that does not run, perhaps because the capsule in force keeps it from starting."""
    from swarmd.node.home_lock import home_lock
    from swarmd.node.policy.capsule_store import Standing

    store = store_of(ctx)
    with home_lock(ctx.home):
        standing = store.standing()
        if standing.pending is not None:
            store.set_standing(Standing(standing.active, standing.former))
            return {"cid": standing.active, "cancelled": standing.pending[0]}
        back = standing.rolled_back()
        store.set_standing(back)
    return {"cid": back.active, "cancelled": ""}


def _answered(ctx: Context, said: dict[str, Any], text: str) -> int:
    if ctx.out.as_json:
        ctx.out.document(said)
    elif ctx.out.quiet:
        ctx.out.line(said["cid"])
    else:
        ctx.out.line(f"{clean(said['cid'] or 'the configured policy')}: {clean(text)}")
    return OK
