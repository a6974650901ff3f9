"""`swarmd why`: the causal chain of a need, for people."""

from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.needs import anchor_text, challenge_text, waiting_text, when
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import Output, clean, short_did, styled


def run_why(ctx: Context) -> int:
    found = ctx.ask("why", need=ctx.args.need)
    if ctx.out.as_json:
        ctx.out.document(found)
    elif ctx.out.quiet:
        for step in found["steps"]:
            ctx.out.line(step["id"])
    else:
        _show(ctx.out, found)
    return OK


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(f"{clean(found['need'])}  {clean(found['title'])}")
    out.line(f"{found['state']}{': ' + clean(found['reason']) if found.get('reason') else ''}", "bold")
    if found.get("waiting_for"):
        out.line(f"waiting for {clean(waiting_text(found['waiting_for']))}")
    out.line("")
    steps = found["steps"]
    started = min((step["at_ns"] for step in steps), default=0)
    if steps:
        out.line(f"from {when(started)}; ✓ its signature verifies, ✗ it does not")
    for step in steps:
        _show_step(out, step, started)
    out.line("")
    for made in found.get("challenges", ()):
        out.line(challenge_text(made))
    _show_money(out, found["money"])
    out.line(f"anchor  {anchor_text(found.get('anchor'))}")
    if found.get("anchor"):
        out.line(f"        root {clean(found['anchor']['root'])}")


def _show_step(out: Output, step: dict[str, Any], started_ns: int) -> None:
    mark, style = ("✓", "green") if step["verified"] else ("✗", "red")
    passed = (step["at_ns"] - started_ns) / 1e9
    void = f"  VOID: {clean(step['void'])}" if step.get("void") else ""
    line = styled(f"{mark} ", style)
    line.append(
        f"{passed:8.3f} s  {clean(step['kind']):<12} {short_did(step['sender']):<13} {clean(step['text'])}"
    )
    line.append(void, style="red")
    out.print(line)
    out.print(styled(f"                {clean(step['id'])}  {_gate_text(step.get('gate'))}", "dim"))


def _gate_text(gate: Any) -> str:
    if not gate:
        return "gate not recorded"
    reasons = f" ({', '.join(map(clean, gate['reasons']))})" if gate["reasons"] else ""
    return f"gate {'allows' if gate['allow'] else 'denies'}{reasons}, gas {gate['gas']}"


def _show_money(out: Output, money: dict[str, Any]) -> None:
    if money["state"] == "none":
        out.line("money   nothing was locked")
        return
    out.line(f"money   {money['amount']} USDC locked, escrow {money['state']}")
    if money.get("due") not in (None, "0"):
        out.line(f"        {money['due']} of it earned, paid when the challenge window ends")
    for paid in money.get("paid", ()):
        out.line(f"        {paid['amount']} to {paid['worker']} for {clean(paid['task'])}")
    if money.get("returned") not in (None, "0"):
        out.line(f"        {money['returned']} back to its owner")
    if money.get("held") not in (None, "0"):
        out.line(f"        {money['held']} still held")
