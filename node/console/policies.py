"""`swarmd policy`: what there is, what it says to an input, what would change. Capsules are in `capsules`."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmd.node.config import load_config
from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, clean, facts, short_did, table
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.faults import LocalFault

if TYPE_CHECKING:
    from swarmd.node.policy.capsule_store import CapsuleStore
    from swarmd.node.policy.host import WasmGate
    from swarmd.node.policy.sources import Found

MAX_INPUT_BYTES = 4 * 1_048_576


def store_of(ctx: Context) -> "CapsuleStore":
    from swarmd.node.policy.capsule_store import CapsuleStore

    return CapsuleStore(ctx.home / "policies")


def found(ctx: Context, text: str, data: str | None = None) -> "Found":
    from swarmd.node.policy.sources import find

    return find(text, store_of(ctx), None if data is None else Path(data))


def running(ctx: Context) -> dict[str, Any] | None:
    """What the daemon says of its policies; None if none answers."""
    try:
        listed: dict[str, Any] = ctx.ask("policy.list")
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
        return None
    return listed


# list and show ---------------------------------------------------------------------------------------------


def run_list(ctx: Context) -> int:
    from swarmd import policies

    listed = running(ctx) or _offline(ctx)
    listed["shipped"] = list(policies.names())
    listed["configured"] = load_config(ctx.home, ctx.env).config.policy_path or "base"
    out = ctx.out
    if out.as_json:
        out.document(listed)
        return OK
    active, pending = listed["active"], listed["pending"]
    rows = [
        (name, "ships", _mark(active == "" and name == listed["configured"]), "", "")
        for name in listed["shipped"]
    ]
    if listed["configured"] not in listed["shipped"]:
        rows.append((listed["configured"], "file", _mark(active == ""), "", ""))
    for row in listed["stored"]:
        state = _mark(row["cid"] == active) or row["state"]
        if pending and pending["cid"] == row["cid"]:
            state = f"in force at lamport {pending['at_lamport']}"
        rows.append((row["name"], "capsule", state, short_did(row["author"]), row["cid"]))
    for row in listed["offered"]:
        rows.append((row["name"], "offered", row["state"], short_did(row["author"]), row["cid"]))
    if out.quiet:
        for row in rows:
            out.line(clean(row[4] or row[0]))
        return OK
    out.print(table(["name", "from", "state", "author", ("cid", WHOLE)], rows))
    return OK


def _mark(active: bool) -> str:
    return "IN FORCE" if active else ""


def _offline(ctx: Context) -> dict[str, Any]:
    store = store_of(ctx)
    standing = store.standing()
    stored = []
    for cid in store.cids():
        try:
            capsule = store.get(cid).capsule
        except LocalFault as fault:
            stored.append({"cid": cid, "name": "", "author": "", "state": f"damaged: {fault.message}"})
            continue
        stored.append({"cid": cid, "name": capsule.name, "author": capsule.author, "state": "ready"})
    pending = None
    if standing.pending is not None:
        pending = {"cid": standing.pending[0], "at_lamport": standing.pending[1]}
    return {
        "active": standing.active,
        "former": list(standing.former),
        "pending": pending,
        "stored": stored,
        "offered": [],
    }


def run_show(ctx: Context) -> int:
    text = (
        ctx.args.policy
        or store_of(ctx).standing().active
        or load_config(ctx.home, ctx.env).config.policy_path
    )
    policy = found(ctx, text or "base")
    gate = policy.gate()
    shown: dict[str, Any] = {
        "name": policy.name,
        "origin": policy.origin,
        "policy_hash": gate.policy_hash.hex(),
        "wasm_hash": gate.wasm_hash.hex(),
        "wasm_bytes": len(policy.wasm),
        "data_hash": gate.data_hash.hex(),
        "data": policy.data,
        "engine": gate.engine_version,
        "gas_limit": gate.gas_limit,
        "gas_max": max(row["gas"] for row in _answers(gate, _inputs(policy)).values()),
    }
    if policy.package is not None:
        capsule = policy.package.capsule
        shown |= {
            "cid": capsule.cid_text,
            "author": capsule.author,
            "signed": bool(capsule.signature),
            "cases": len(capsule.cases),
            "made_ns": capsule.made_ns,
        }
    if ctx.out.as_json:
        ctx.out.document(shown)
    elif ctx.out.quiet:
        ctx.out.line(shown["policy_hash"])
    else:
        rows = [(name.replace("_", " "), value) for name, value in shown.items() if name != "data"]
        ctx.out.print(facts(rows))
        ctx.out.line("data")
        ctx.out.line(clean_json(json.dumps(policy.data, indent=2, ensure_ascii=True)))
    return OK


def clean_json(text: str) -> str:
    return "\n".join(clean(line) for line in text.splitlines())


# build -----------------------------------------------------------------------------------------------------


def run_build(ctx: Context) -> int:
    from swarmd.node.policy.compiling import build, find_opa
    from swarmd.node.policy.host import WasmGate
    from swarmd.node.policy.sources import read_data

    folder = Path(ctx.args.folder)
    built = build(folder, find_opa(ctx.args.opa), ctx.args.also)
    name = folder.resolve().name
    data_path = folder / "data.json"
    data = read_data(data_path) if data_path.exists() else {}
    gate = WasmGate(built.wasm, data, limited=True)  # it must load before it may replace what is there
    target = Path(ctx.args.out) if ctx.args.out else folder / f"{name}.wasm"
    write(target, built.wasm)
    made = {
        "policy": name,
        "wasm": str(target),
        "wasm_hash": gate.wasm_hash.hex(),
        "policy_hash": gate.policy_hash.hex(),
        "uses": list(built.uses),
        "tests": built.tests,
        "warning": built.warning,
    }
    if ctx.out.as_json:
        ctx.out.document(made)
    elif ctx.out.quiet:
        ctx.out.line(gate.wasm_hash.hex())
    else:
        if built.warning:
            ctx.out.progress(f"warning: {built.warning}")
        ctx.out.print(facts(list(made.items())))
    return OK


def write(path: Path, content: bytes) -> None:
    """Aside and renamed, so that a file is whole or as it was. LocalFault `not-written`."""
    aside = path.with_name(path.name + ".tmp")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise LocalFault("not-written", f"{path}: {error.strerror}", fix="choose another place") from None


# eval ------------------------------------------------------------------------------------------------------


def run_eval(ctx: Context) -> int:
    """FAILED if it denies."""
    document = read_input(ctx.args.input)
    gate = found(ctx, ctx.args.policy, ctx.args.data).gate()
    verdict = gate.evaluate(ctx.args.gate, document)
    said = {
        "allow": verdict.allow,
        "reasons": list(verdict.reasons),
        "obligations": list(verdict.obligations),
        "gas": verdict.gas,
        "digest": verdict.digest.hex(),
        "policy_hash": gate.policy_hash.hex(),
    }
    out = ctx.out
    if out.as_json:
        out.document(said)
    else:
        out.line("allow" if verdict.allow else f"deny: {', '.join(map(clean, verdict.reasons))}")
        out.note(f"gas {verdict.gas} of {gate.gas_limit}, digest {said['digest']}")
    return OK if verdict.allow else FAILED


def read_input(source: str) -> dict[str, Any]:
    """Strict JSON: no duplicate keys, no NaN, bounded depth. LocalFault `bad-input`."""
    try:
        with open(0 if source == "-" else source, "rb", closefd=source != "-") as file:
            content = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise LocalFault("bad-input", f"{source}: {error.strerror}", fix="name a JSON file, or -") from None
    try:
        document = parse_json(content)
    except ValueError as error:
        raise LocalFault("bad-input", f"{source}: {error}", fix="it must be one JSON object") from None
    if not isinstance(document, dict):
        raise LocalFault("bad-input", f"{source} holds no object", fix="it must be one JSON object")
    return document


# test and diff ---------------------------------------------------------------------------------------------


def run_test(ctx: Context) -> int:
    """FAILED if a sample or a verdict of the history is not as it was."""
    policy = found(ctx, ctx.args.policy, ctx.args.data)
    gate = policy.gate()
    if ctx.args.against_history:
        return _history(ctx, gate)
    if ctx.args.since is not None or ctx.args.source is not None:
        raise UsageFault("--since and --source go with --against-history")
    if ctx.args.samples is None and policy.folder is None:
        raise LocalFault("no-samples", f"{policy.name} comes without samples", fix="--samples DIR")
    folder = (
        Path(ctx.args.samples) if ctx.args.samples or policy.folder is None else policy.folder / "samples"
    )
    rows = list(_sampled(gate, folder))
    wrong = [row for row in rows if row["was"] != row["would"]]
    if ctx.out.as_json:
        ctx.out.document({"policy": policy.name, "samples": len(rows), "wrong": wrong})
    else:
        for row in wrong:
            ctx.out.line(f"{clean(row['sample'])}: {_verdict(row['would'])}, not {_verdict(row['was'])}")
        ctx.out.note(f"{len(rows)} samples, {len(wrong)} wrong")
    return FAILED if wrong else OK


def _sampled(gate: "WasmGate", folder: Path) -> Iterator[dict[str, Any]]:
    from swarmd.node.policy.capsule import expected_samples

    for name, input_, reasons in expected_samples(folder):
        verdict = gate.evaluate(str(input_.get("gate", "ingress")), input_)
        yield {"sample": name, "was": reasons, "would": list(verdict.reasons)}


def _verdict(reasons: list[str]) -> str:
    return f"deny ({', '.join(map(clean, reasons))})" if reasons else "allow"


@contextmanager
def _recorded(ctx: Context) -> Iterator[tuple[Any, int]]:
    from swarmd.node import replay

    source = ctx.home if ctx.args.source is None else Path(ctx.args.source)
    since_ns = 0 if ctx.args.since is None else time.time_ns() - int(ctx.args.since * 1e9)
    with replay.recording(source) as taken:
        yield taken, since_ns


def _history(ctx: Context, gate: "WasmGate") -> int:
    from swarmd.node.policy.history import try_against

    with _recorded(ctx) as (taken, since_ns):
        trial = try_against(taken, gate, since_ns)
    flips = [flip.to_map() for flip in trial.flips]
    if ctx.out.as_json:
        ctx.out.document(
            {
                "envelopes": trial.envelopes,
                "flips": flips,
                "other_reasons": trial.changed,
                "gas_max": trial.gas_max,
                "gas_limit": gate.gas_limit,
            }
        )
        return FAILED if flips else OK
    if ctx.out.quiet:
        for flip in flips:
            ctx.out.line(flip["id"])
        return FAILED if flips else OK
    _show_flips(ctx, flips)
    ctx.out.note(
        f"{trial.envelopes} envelopes, {len(flips)} verdicts would flip, {trial.changed} be denied by other rules; "
        f"at most {trial.gas_max} gas of {gate.gas_limit}"
    )
    return FAILED if flips else OK


def _show_flips(ctx: Context, flips: list[dict[str, Any]]) -> None:
    rows = [
        (
            flip["kind"],
            flip["need"],
            short_did(flip["sender"]),
            _verdict(flip["was"]["reasons"]),
            _verdict(flip["would"]["reasons"]),
            flip["id"],
        )
        for flip in flips
    ]
    if rows:
        ctx.out.print(table(["kind", "need", "sender", "was", "would", ("id", WHOLE)], rows))


def run_diff(ctx: Context) -> int:
    """OK whatever differs: that is what was asked for."""
    if not ctx.args.against_history and (ctx.args.since is not None or ctx.args.source is not None):
        raise UsageFault("--since and --source go with --against-history")
    old, new = found(ctx, ctx.args.old), found(ctx, ctx.args.new)
    old_gate, new_gate = old.gate(), new.gate()
    inputs = {**_inputs(old), **_inputs(new)}
    before, after = _answers(old_gate, inputs), _answers(new_gate, inputs)
    answers = [
        {"input": name, "was": before[name]["reasons"], "would": after[name]["reasons"]}
        for name in inputs
        if before[name]["reasons"] != after[name]["reasons"]
    ]
    result: dict[str, Any] = {
        "same_wasm": old_gate.wasm_hash == new_gate.wasm_hash,
        "data": list(_data_changes(old.data, new.data)),
        "inputs": len(inputs),
        "answers": answers,
        "gas_max": [max(row["gas"] for row in each.values()) for each in (before, after)],
    }
    if ctx.args.against_history:
        from swarmd.node.policy.history import try_against

        with _recorded(ctx) as (taken, since_ns):
            result["flips"] = [flip.to_map() for flip in try_against(taken, new_gate, since_ns).flips]
    if ctx.out.as_json:
        ctx.out.document(result)
        return OK
    out = ctx.out
    out.line(f"module  {'the same' if result['same_wasm'] else 'another'}")
    for change in result["data"]:
        out.line(clean(f"data    {change['path']}: {change['was']} -> {change['would']}"))
    if answers:
        rows = [(each["input"], _verdict(each["was"]), _verdict(each["would"])) for each in answers]
        out.print(table(["input", "was", "would"], rows))
    _show_flips(ctx, result.get("flips", []))
    out.print(table(["", ("old", RIGHT), ("new", RIGHT)], [("most gas", *result["gas_max"])]))
    out.note(f"{len(answers)} of {len(inputs)} inputs are answered differently")
    return OK


def _inputs(policy: "Found") -> dict[str, dict[str, Any]]:
    from swarmd.node.policy.capsule import sample_inputs
    from swarmd.node.policy.probes import probes

    samples = {} if policy.folder is None else sample_inputs(policy.folder / "samples")
    return {**probes(), **samples}


def _answers(gate: "WasmGate", inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    answers = {}
    for name, document in inputs.items():
        verdict = gate.evaluate(str(document.get("gate", "ingress")), document)
        answers[name] = {"reasons": list(verdict.reasons), "gas": verdict.gas}
    return answers


def _data_changes(old: Any, new: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Where two data documents differ, by path."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _data_changes(old.get(key), new.get(key), f"{path}/{key}")
    elif old != new:
        yield {"path": path or "/", "was": old, "would": new}
