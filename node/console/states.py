"""`swarmd state`: what a node knows, imports and exports."""

import re
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.node import size
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, clean, facts, table
from swarmd.protocol.faults import LocalFault


def run_import(ctx: Context) -> int:
    from swarmd.node.keys import KEY_FILE
    from swarmd.node.state.archive import Different, archive_folder, import_log

    args, out = ctx.args, ctx.out
    file = Path(args.sqlite)
    name = args.name or re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._")[:64]
    if not (ctx.home / KEY_FILE).exists():
        raise LocalFault("no-home", f"{ctx.home} is no swarmd home", fix="run swarmd init")
    try:
        found = import_log(file, archive_folder(ctx.home, name), table=args.table, verify=args.verify)
    except Different as error:
        _differences(ctx, error.report)
        return FAILED
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        out.line(found["archive"])
    said = ", the same as the log" if args.verify else ""
    out.note(f"imported {found['ops']} ops of {found['threads']} threads as {found['archive']}{said}")
    out.note(f"look: swarmd state show --archive {found['archive']}")
    return OK


def _differences(ctx: Context, report: dict[str, Any]) -> None:
    out = ctx.out
    if out.as_json:
        out.document(report)
        return
    out.line("nothing was imported: the archive would differ from the log")
    rows = [
        (kind, what, "-" if log is None else log, "-" if archive is None else archive)
        for kind, part in report["differences"].items()
        for what, log, archive in part["shown"]
    ]
    out.print(table(["of", "what", "in the log", "in the archive"], rows))


def run_export(ctx: Context) -> int:
    from swarmd.node.state.export import export_automerge

    out = ctx.out
    folder = Path(ctx.args.automerge)
    found = export_automerge(ctx.home, folder)
    if out.as_json:
        out.document({"folder": str(folder), **found})
        return OK
    if out.quiet:
        out.line(str(folder))
        return OK
    rows = found["documents"]
    held = (
        f"{sum(row['envelopes'] for row in rows)} envelopes of {sum(row['batches'] for row in rows)} batches"
    )
    out.note(
        f"{len(rows)} documents, {size(sum(row['bytes'] for row in rows))}, with {held}, in {clean(folder)}"
    )
    return OK


def run_show(ctx: Context) -> int:
    if ctx.args.archive:
        return _show_archive(ctx)
    if ctx.args.thread:
        raise UsageFault("--thread goes with --archive", fix="swarmd need show NEED shows a need of the mesh")
    found = ctx.ask("state.show")
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(found["state_digest"])
    else:
        replica = found["replica"]
        journal = found["journal"]
        pairs: list[tuple[str, object]] = [
            ("state digest", found["state_digest"]),
            ("mesh digest", found["mesh_digest"]),
            ("epoch", found["epoch"]),
            ("needs", found["needs"]),
            ("journal", f"schema {journal['schema']}, {journal['inputs']} inputs, {size(journal['bytes'])}"),
            ("batches", f"{found['batches']} of {found['authors']} authors in {found['chains']} chains"),
            ("replica", replica["state"]),
        ]
        if replica["state"] != "off":
            held = f"{replica['documents']} documents, {replica['changes']} changes, {replica['behind']} batches behind"
            pairs.append(("", f"{held}, {size(replica['rss_bytes'])} of memory"))
        if replica.get("error"):
            pairs.append(("", replica["error"]))
        out.print(facts(pairs))
    return OK


def _show_archive(ctx: Context) -> int:
    from swarmd.node.state.archive import archive_folder, archived_plans

    args, out = ctx.args, ctx.out
    plans = archived_plans(archive_folder(ctx.home, args.archive))
    if args.thread is None:
        rows = [
            {"thread": name, "tasks": len(plan.tasks), "edges": len(plan.edges)}
            for name, plan in sorted(plans.items())
        ]
        if out.as_json:
            out.document({"archive": args.archive, "threads": rows})
            return OK
        cells = [(row["thread"], row["tasks"], row["edges"]) for row in rows]
        out.print(table([("thread", WHOLE), ("tasks", RIGHT), ("links", RIGHT)], cells))
        return OK
    plan = plans.get(args.thread)
    if plan is None:
        raise LocalFault(
            "no-such-thread",
            f"{args.archive} has no thread {args.thread}",
            fix="leave --thread out for the list",
        )
    tasks: list[dict[str, Any]] = [
        {
            "task": task,
            "state": plan.state_of(task),
            "parents": sorted(parent for parent, child in plan.edges if child == task),
            "spec": plan.tasks.get(task),
            "annotations": {
                key: value for (of, key), (_, _, value) in sorted(plan.annotations.items()) if of == task
            },
        }
        for task in sorted(plan.states.keys() | plan.tasks.keys())
    ]
    if out.as_json:
        out.document({"archive": args.archive, "thread": args.thread, "tasks": tasks})
        return OK
    shown = [
        (
            t["task"],
            t["state"],
            " ".join(t["parents"]),
            " ".join(f"{k}={v}" for k, v in t["annotations"].items()),
        )
        for t in tasks
    ]
    out.note(f"{clean(args.thread)} of {clean(args.archive)}")
    out.print(table([("task", WHOLE), "state", "after", "annotations"], shown))
    return OK
