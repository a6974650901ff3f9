"""The command `swarmd demo`: stages and steps as they happen, then the summary."""

import shutil
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from swarmd.node.console.output import RIGHT, Output, facts, table
from swarmd.node.demo import run, scenario
from swarmd.protocol.faults import LocalFault

MAX_TEXT_BYTES = 8 * 1_048_576


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--input", metavar="FILE", help="a text file (UTF-8) to count; default: one that ships"
    )
    parser.add_argument(
        "--parts",
        type=int,
        default=scenario.PARTS,
        metavar="N",
        help="how many parts are counted in parallel",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the mesh running and say how to talk to it"
    )


def main(args: Namespace, out: Output) -> int:
    """0 if the result, the money and the agreement of all nodes hold, 1 if one of them does not."""
    text = _text(args.input)
    if not 1 <= args.parts <= 32:
        raise LocalFault("usage", f"--parts may be 1 to 32, not {args.parts}")
    folder = Path(tempfile.mkdtemp(prefix="swarmd-demo-"))
    started = time.monotonic()

    def say(stage: str, what: str) -> None:
        if not out.as_json:
            out.note(f"{time.monotonic() - started:6.2f} s  {what}", "bold")

    def event(step: dict[str, Any]) -> None:
        if not out.as_json:
            out.note(f"{time.monotonic() - started:6.2f} s    {step['kind']:<12} {step['text']}")

    kept = False
    try:
        summary, why, demo = run.run(folder, text, parts=args.parts, say=say, event=event, keep=args.keep)
        kept = args.keep
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    if out.as_json:
        out.document(summary)
    else:
        _report(out, summary, why, demo)
        if kept:
            _how_to_talk(out, demo)
    return 0 if summary["ok"] else 1


def _text(path: str | None) -> str:
    if path is None:
        return scenario.default_text()
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise LocalFault("bad-input", f"{path}: {error.strerror}", fix="name a text file") from None
    except UnicodeDecodeError:
        raise LocalFault("bad-input", f"{path} is not UTF-8 text", fix="convert it first") from None
    if not text.strip() or len(data) > MAX_TEXT_BYTES:
        raise LocalFault("bad-input", f"{path}: the demo takes a text of 1 byte to 8 MiB")
    return text


def _report(out: Output, summary: dict[str, Any], why: dict[str, Any], demo: run.Demo) -> None:
    out.note("")
    out.note("Why (each step's signature checked again; gate: what the ingress policy said):", "bold")
    first_ns = why["steps"][0]["at_ns"]
    rows = [
        (
            f"{(step['at_ns'] - first_ns) / 1e6:.0f}",
            step["kind"],
            demo.names[step["sender"]],
            step["text"],
            _gate(step["gate"]),
            "signed" if step["verified"] else "NOT VERIFIED",
            step["id"][-8:],
        )
        for step in why["steps"]
    ]
    out.print(table([("ms", RIGHT), "kind", "who", "what", "gate", "signature", "id"], rows))
    pairs: list[tuple[str, object]] = [
        ("need", summary["need"]),
        ("state", summary["state"]),
        ("words counted", summary["words"]),
        ("result", summary["result_cid"]),
        ("decided after", f"{summary['decide_ms']:.0f} ms" if summary["decide_ms"] else "-"),
        ("finalised after", f"{summary['finalize_ms']:.0f} ms" if summary["finalize_ms"] else "-"),
        ("paid (USDC)", ", ".join(f"{who} {amount}" for who, amount in summary["paid"].items())),
        ("returned to alice", summary["returned"]),
        ("anchor transaction", summary["anchor_tx"]),
        ("state digest", summary["state_digest"]),
        ("stages (ms)", ", ".join(f"{stage} {took}" for stage, took in summary["stages_ms"].items())),
    ]
    out.print(facts(pairs))
    for name, holds in summary["checks"].items():
        out.note(f"  {'yes' if holds else 'NO '}  {name.replace('_', ' ')}", "green" if holds else "red")


def _how_to_talk(out: Output, demo: run.Demo) -> None:
    out.note("")
    out.note("The mesh is left running. Talk to it:", "bold")
    for member in demo.cluster.members:
        out.line(f"  swarmd --home {member.home} status")
    out.line(f"  swarmd --home {demo.owner.home} need list")
    pids = " ".join(str(m.process.pid) for m in demo.cluster.members if m.process)
    out.line(f"Stop it: kill {pids}; rm -r {demo.cluster.base}")


def _gate(gate: dict[str, Any] | None) -> str:
    if gate is None:
        return "not recorded"
    return "allow" if gate["allow"] else ", ".join(gate["reasons"])
