"""`swarmd task list` and `swarmd need graph`: the tasks of needs, and which comes after which."""

from collections.abc import Sequence
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import RIGHT, STYLES, WHOLE, Column, clean, facts, short_did, styled, table

_COLUMNS: Sequence[Column] = (
    *(("need", WHOLE), ("task", WHOLE), ("state", WHOLE), ("capability", WHOLE), "worker", ("price", RIGHT)),
    "after",
)
_RELATIVES = ("parents", "children", "ancestors", "descendants")


def run_list(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    asked = {name: getattr(args, name) for name in ("need", "state", "ready") if getattr(args, name)}
    found = ctx.ask("task.list", limit=args.limit, **asked)
    rows = found["tasks"]
    if out.as_json:
        out.document(found)
    elif out.quiet:
        for row in rows:
            out.line(f"{row['need']} {clean(row['task'])}")
    elif not rows:
        out.note("no such tasks" if asked else "no tasks; post a need: swarmd need post --help")
    else:
        out.print(table(_COLUMNS, [_row(row) for row in rows]))
        if len(rows) == args.limit:
            out.note(f"perhaps more: --limit {2 * args.limit}")
    return OK


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    return (
        row["need"],
        row["task"],
        row["state"],
        row["capability"],
        short_did(row["worker"]) if row["worker"] else "",
        row["price"],
        ", ".join(row["after"]),
    )


def run_graph(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    if args.dot and args.task:
        raise UsageFault("--dot draws the whole graph, --task says one task's relatives", fix="leave out one")
    found = ctx.ask("need.graph", need=args.need, **({"task": args.task} if args.task else {}))
    if out.as_json:
        out.document(found)
    elif args.task:
        out.print(facts([(name, ", ".join(map(clean, found[name])) or "none") for name in _RELATIVES]))
    elif args.dot:
        out.line(_dot(found))
    elif out.quiet:
        for task in found["tasks"]:
            out.line(clean(task["task"]))
    else:
        _tree(ctx, found)
    return OK


def _dot(found: dict[str, Any]) -> str:
    def quoted(text: str) -> str:
        return '"' + clean(text).replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = [f"digraph {quoted(found['need'])} {{", "  rankdir=LR;"]
    for task in found["tasks"]:
        lines.append(f"  {quoted(task['task'])} [label={quoted(task['task'] + ' ' + task['state'])}];")
        lines += [f"  {quoted(task['task'])} -> {quoted(child)};" for child in task["children"]]
    return "\n".join([*lines, "}"])


def _tree(ctx: Context, found: dict[str, Any]) -> None:
    """Each task once, below the parent that comes last before it; other parents are named beside it."""
    from rich.tree import Tree

    root = Tree(styled(found["need"], "bold"))
    placed: dict[str, Tree] = {}
    for task in found["tasks"]:
        parents = task["parents"]
        last = max(parents, key=list(placed).index) if parents else None
        others = [clean(parent) for parent in parents if parent != last]
        label = styled(f"{clean(task['task'])}  ", "")
        label.append_text(styled(task["state"], STYLES.get(task["state"], "dim")))
        if others:
            label.append_text(styled("  also after " + ", ".join(others), "dim"))
        placed[task["task"]] = (placed[last] if last is not None else root).add(label)
    ctx.out.print(root)
