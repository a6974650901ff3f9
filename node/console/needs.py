"""`swarmd need`: posting, listing, showing and watching needs."""

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmd.node.console.context import Context
from swarmd.node.console.needspec import need_spec
from swarmd.node.console.outcome import FAILED, OK, UsageFault, time_limit
from swarmd.node.console.output import RIGHT, WHOLE, Column, Output, clean, facts, short_did, styled, table
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.cids import cid_text
from swarmd.protocol.work.need_states import ENDS, STAGES

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_SHOWN_RESULT_CHARS = 4_000
GOOD_END = "FINALIZED"
# So long after the last event a person wonders what a need waits for.
QUIET_S = 2.0
# The longest that the daemon may take for some megabytes of a file.
UPLOAD_STEP_S = 120.0


def run_post(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    spec = need_spec(args, Path.cwd(), partial(_upload, ctx))
    with time_limit(args.timeout, "the need", "it goes on: swarmd need list"):
        # No limit of its own: --wait is as long as the need.
        with ctx.client(None if args.wait else args.timeout or 60.0) as client:
            need = client.call("need.post", {"spec": spec})["need"]
            if not args.wait:
                if out.as_json:
                    out.document({"need": need})
                else:
                    out.line(need)
                return OK
            # At once, so that it is known if the wait is cut short.
            out.progress(f"posted {need}")
            try:
                return _finish(out, _follow(ctx, client, need))
            except KeyboardInterrupt:
                out.progress(f"it goes on: swarmd need watch {need}")
                raise


def _upload(ctx: Context, stream: Any) -> str:
    """A large file into the daemon's content, in blocks: nobody holds it whole."""
    from swarmd.node.console.progress import meter
    from swarmd.node.content.adding import Adder
    from swarmd.node.content.remote import RemoteContent

    with ctx.client(UPLOAD_STEP_S) as client, meter(ctx.out, "sending", None) as told:
        content = RemoteContent(client)
        added = Adder(content.put_group, progress=told.advance).add_stream(stream)
        content.sync()
    return cid_text(added.cid)


def run_watch(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    with (
        time_limit(args.timeout, "the need", f"it goes on: swarmd need watch {args.need}"),
        ctx.client(None) as client,
    ):
        if out.as_json:
            return _watch_json(out, client, args.need)
        return _finish(out, _follow(ctx, client, args.need))


def _watch_json(out: Output, client: LocalClient, need: str) -> int:
    """A JSON document a line: {"event": ...}, and last {"result": ...}."""
    final = None
    for item in client.stream("need.watch", {"need": need}):
        out.document({"event" if _is_event(item) else "result": item})
        final = item
    return _outcome(final)


def _is_event(item: Any) -> bool:
    """Of what `need.watch` streams: a step, or at last the need as `need.show` has it?"""
    return isinstance(item, dict) and "kind" in item


def _outcome(detail: Any) -> int:
    return OK if isinstance(detail, dict) and detail.get("state") == GOOD_END else FAILED


def _finish(out: Output, detail: dict[str, Any]) -> int:
    if out.as_json:
        out.document(detail)
    elif out.quiet:
        for value in detail.get("values", {}).values():
            out.line(json.dumps(value, ensure_ascii=False))
    else:
        show_need(out, detail, tasks=not out.live)
    return _outcome(detail)


def _follow(ctx: Context, client: LocalClient, need: str) -> dict[str, Any]:
    """Watch to the end: the task table redrawn on a terminal, a line per event elsewhere."""
    out = ctx.out
    events = client.stream("need.watch", {"need": need})
    if out.as_json or out.quiet:
        *_, final = events
    elif out.live:
        final = _follow_live(ctx, need, _patiently(client, events))
    else:
        final = _follow_lines(ctx, need, _patiently(client, events))
    found: dict[str, Any] = final
    return found


def _patiently(client: LocalClient, events: Iterator[Any]) -> Iterator[Any]:
    """The events, and None again and again while none comes: then it is time to say what the need waits for."""
    for item in events:
        yield item
        while _is_event(item) and client.quiet(QUIET_S):
            yield None


def _follow_lines(ctx: Context, need: str, events: Iterator[Any]) -> Any:
    final, started, told = None, time.time_ns(), ""
    for item in events:
        if item is None:
            waiting = _waiting_now(ctx.ask("need.show", need=need))
            if waiting and waiting != told:
                told = waiting
                ctx.out.progress(f"  it waits for {waiting}")
            continue
        final = item
        if _is_event(item):
            ctx.out.note(_event_line(item, started))
    return final


def _waiting_now(detail: dict[str, Any]) -> str:
    """What a need waits for; "" for nothing, or nothing that is known."""
    waiting = waiting_text(detail["waiting_for"]) if detail["waiting_for"] else ""
    if detail["state"] not in ENDS and time.time_ns() > detail["deadline_ns"]:
        late = "its deadline has passed: it ends within a minute or so, and what is locked goes back"
        return f"{waiting}; {late}" if waiting else f"its end: {late}"
    return waiting


def _event_line(event: dict[str, Any], started_ns: int) -> str:
    passed_s = max(0.0, (event["at_ns"] - started_ns) / 1e9)
    who = short_did(event.get("sender", ""))
    return f"{passed_s:7.2f} s  {clean(event['kind']):<12} {who:<12}  {clean(event['text'])}"


def _follow_live(ctx: Context, need: str, events: Iterator[Any]) -> dict[str, Any]:
    """Redraws the tasks as events say they move; a second connection asks how they stand."""
    from rich.live import Live

    lines: list[str] = []
    started = time.time_ns()
    final: dict[str, Any] = {}
    with ctx.client() as asker:
        with Live(console=ctx.out.console, auto_refresh=False, transient=False) as live:
            detail = asker.call("need.show", {"need": need})
            live.update(_live_view(detail, lines), refresh=True)
            drawn_at = 0.0
            for item in events:
                if item is None:
                    detail = asker.call("need.show", {"need": need})
                    waiting = _waiting_now(detail)
                    more = [f"          it waits for {clean(waiting)}"] if waiting else []
                    live.update(_live_view(detail, [*lines, *more]), refresh=True)
                    continue
                if not _is_event(item):
                    final = item
                    live.update(_live_view(final, []), refresh=True)
                    break
                lines = [*lines, _event_line(item, started)][-6:]
                # A graph of a thousand tasks has events faster than a screen is worth redrawing.
                if time.monotonic() - drawn_at > 0.1:
                    detail = asker.call("need.show", {"need": need})
                    live.update(_live_view(detail, lines), refresh=True)
                    drawn_at = time.monotonic()
    return final


def _live_view(detail: dict[str, Any], lines: Sequence[str]) -> "RenderableType":
    from rich.console import Group

    head = f"{clean(detail['title'])}  {detail['state']}  {detail['done']} of {len(detail['tasks'])} done"
    return Group(
        styled(head, "bold"),
        _task_table(detail["tasks"], narrow=True),
        *(styled(line, "dim") for line in lines),
    )


# list and show ---------------------------------------------------------------------------------------------

_LIST_COLUMNS: Sequence[Column] = (
    *(("need", WHOLE), "title", ("state", WHOLE), ("tasks", RIGHT), ("budget", RIGHT), ("paid", RIGHT)),
    *("owner", ("posted", WHOLE)),
)


def run_list(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    if args.state and args.state.upper() not in (*STAGES, *ENDS):
        fix = f"one of {', '.join((*STAGES, *ENDS))}"
        raise UsageFault(f"--state {args.state}: no state of a need", fix=fix)
    found = ctx.ask("need.list", limit=args.limit, **({"state": args.state} if args.state else {}))
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        for need in found["needs"]:
            out.line(need["need"])
        return OK
    rows = [
        (
            need["need"],
            need["title"],
            need["state"],
            f"{need['done']}/{need['tasks']}",
            need["budget"],
            need["paid"],
            short_did(need["owner"]),
            when(need["created_ns"]),
        )
        for need in found["needs"]
    ]
    if not rows:
        out.note(
            "no needs"
            + (f" in state {clean(args.state)}" if args.state else "; post one: swarmd need post --help")
        )
        return OK
    out.print(table(_LIST_COLUMNS, rows))
    left = found.get("total", len(rows)) - len(rows)
    if left > 0:
        out.note(f"{left} more: --limit {found['total']}")
    return OK


def when(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ns / 1e9))


def run_show(ctx: Context) -> int:
    detail = ctx.ask("need.show", need=ctx.args.need)
    if ctx.out.as_json:
        ctx.out.document(detail)
    elif ctx.out.quiet:
        ctx.out.line(detail["state"])
    else:
        show_need(ctx.out, detail)
    return OK


def show_need(out: Output, detail: dict[str, Any], *, tasks: bool = True) -> None:
    """Everything about one need, for people."""
    times = [
        f"{name} after {detail[key] / 1000:.2f} s"
        for name, key in (("decided", "decide_ms"), ("final", "finalize_ms"))
        if detail.get(key) is not None
    ]
    escrow = detail["escrow"]
    pairs: list[tuple[str, object]] = [
        ("need", detail["need"]),
        ("title", detail["title"]),
        ("state", detail["state"]),
        ("owner", detail["owner"]),
        ("posted", when(detail["created_ns"])),
        ("times", ", ".join(times)),
        ("money", f"budget {detail['budget']}, paid {detail['paid']} USDC, escrow {escrow['state']}"),
    ]
    if detail.get("held") not in (None, "0"):
        pairs.append(("held", f"{detail['held']} USDC, paid when the challenge window ends"))
    if detail.get("reason"):
        pairs.append(("reason", detail["reason"]))
    if detail.get("waiting_for") and detail["state"] not in ENDS:
        pairs.append(("waiting", waiting_text(detail["waiting_for"])))
    pairs.append(("anchor", anchor_text(detail.get("anchor"))))
    out.print(facts(pairs))
    if tasks:
        out.print()
        out.print(_task_table(detail["tasks"]))
    for made in detail.get("challenges", ()):
        out.note(challenge_text(made))
    for task, value in detail.get("values", {}).items():
        _show_result(out, task, value)
    out.note(f"why: swarmd why {detail['need']}", "dim")


_OUTCOMES = {
    "pending": "is being judged again",
    "upheld": "reversed the result",
    "dismissed": "found the result right",
    "moot": "came to nothing: the result is reversed anyway",
}


def challenge_text(made: dict[str, Any]) -> str:
    """One line about a challenge and what came of it."""
    said = ", ".join(review["verdict"] for review in made["reviews"])
    bond = f", bond {made['bond']} USDC {made['bond_state']}" if made["bond"] else ""
    return (
        f"challenge of {clean(made['task'])} by {short_did(made['challenger'])}: {clean(made['reason'])}; "
        f"{_OUTCOMES[made['outcome']]}{f' ({said})' if said else ''}{bond}"
    )


def waiting_text(waiting: object) -> str:
    return ", ".join(map(str, waiting)) if isinstance(waiting, list | tuple) else str(waiting)


def anchor_text(anchor: Any) -> str:
    if not anchor:
        return "not on chain yet"
    return f"{anchor['tx_hash']} (block {anchor['block']}, chain {anchor['chain_id']})"


def _show_result(out: Output, task: str, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > MAX_SHOWN_RESULT_CHARS:
        text = text[:MAX_SHOWN_RESULT_CHARS] + f"... ({len(text)} characters; all of it with --json)"
    out.note(f"result of {clean(task)}: {clean(text)}")


_TASK_COLUMNS: Sequence[Column] = (
    *("task", "capability", ("state", WHOLE), "worker", ("price", RIGHT), ("try", RIGHT), "after"),
    *("verdicts", "result"),
)
_NARROW = 6


def _task_table(tasks: Sequence[dict[str, Any]], *, narrow: bool = False) -> "RenderableType":
    """`narrow`: without what a screen of 80 columns has no room for while things move."""
    rows = [
        (
            task["task"],
            task["capability"],
            task["state"],
            short_did(task["worker"]),
            task["price"],
            task["attempt"] + 1,
            ", ".join(task["after"]),
            ", ".join(f"{judge['verdict']} ({judge['score']})" for judge in task.get("judges", ())),
            task["result"][:12] + "…" if task["result"] else "",
        )
        for task in tasks
    ]
    if narrow:
        return table(_TASK_COLUMNS[:_NARROW], [row[:_NARROW] for row in rows])
    return table(_TASK_COLUMNS, rows)
