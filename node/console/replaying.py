"""`swarmd replay` and `swarmd incident`: a node's journal run again, or packed for somebody else to run."""

from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import clean, facts


def run_replay(ctx: Context) -> int:
    """FAILED if another order gives another mesh, or a bundle another state than it says it held."""
    from swarmd.node import replay

    args = ctx.args
    if args.skew_s is not None and args.reorder is None:
        raise UsageFault("--skew-s goes with --reorder SEED")
    source = ctx.home if args.source is None else Path(args.source)
    with replay.recording(source) as taken:
        result = taken.replay().to_map()
        if args.reorder is not None:
            other = taken.replay_shuffled(args.reorder, args.skew_s or 0.0).to_map()
            result["reordered"] = {"seed": args.reorder, "mesh_digest": other["mesh_digest"]}
            result["same"] = other["mesh_digest"] == result["mesh_digest"]
    if args.reorder is None:
        held = replay.recorded(source)
        result["same"] = None if held is None else held["state_digest"] == result["state_digest"]
    _show(ctx, result)
    return FAILED if result["same"] is False else OK


_VERDICT = {None: "nothing to compare with: see swarmd status", True: "the same", False: "DIFFERENT"}


def _show(ctx: Context, result: dict[str, Any]) -> None:
    out = ctx.out
    if out.as_json:
        out.document(result)
        return
    if out.quiet:
        out.line(result["mesh_digest"])
        return
    for need, finals in result["finalized"].items():
        out.line(f"{need}  {' '.join(finals)}")
    pairs: list[tuple[str, object]] = [
        ("inputs", result["inputs"]),
        ("envelopes", result["envelopes"]),
        ("needs", result["needs"]),
        ("mesh digest", result["mesh_digest"]),
        ("state digest", result["state_digest"]),
    ]
    if "reordered" in result:
        pairs.append(("reordered mesh", result["reordered"]["mesh_digest"]))
    out.print(facts([*pairs, ("verdict", _VERDICT[result["same"]])]))


def run_capture(ctx: Context) -> int:
    from swarmd.node import replay

    bundle = Path(ctx.args.bundle)
    held = replay.capture(ctx.home, bundle)
    if ctx.out.as_json:
        ctx.out.document({"bundle": str(bundle), **held})
    else:
        ctx.out.note(f"{clean(bundle)}: {held['inputs']} inputs, {held['needs']} needs")
        ctx.out.note(
            "it holds no key and no content, but all that peers were sent; run it: swarmd replay BUNDLE"
        )
    return OK
