"""`swarmd challenge`: have an accepted result judged again."""

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import clean, facts, short_did


def run_challenge(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    named = {"task": args.task} if args.task else {}
    made = ctx.ask("challenge", need=args.need, reason=args.reason, evidence=args.evidence, **named)
    if out.as_json:
        out.document(made)
    elif out.quiet:
        out.line(made["challenge"])
    else:
        out.print(
            facts(
                [
                    ("challenge", made["challenge"]),
                    ("of", f"{clean(made['task'])} in {made['need']}"),
                    ("worker", short_did(made["worker"])),
                    ("result", made["result"]),
                    ("bond", f"{made['bond']} USDC, {made['bond_state']}"),
                ]
            )
        )
        out.note(f"what comes of it: swarmd need show {made['need']}", "dim")
    return OK
