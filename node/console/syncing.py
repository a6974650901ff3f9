"""`swarmd sync`: ask every peer now for what this node lacks, with a progress bar."""

from collections.abc import Iterator
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import clean


def run_sync(ctx: Context) -> int:
    """0 if a peer answered, 1 if none did."""
    out = ctx.out
    with ctx.client(None) as client:
        steps = client.stream("sync", {})
        found = _with_bar(ctx, steps) if out.live else _last(steps)
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(str(found["repaired"]))
    elif not found["asked"]:
        out.note("no peers are connected: see swarmd peers and swarmd doctor net")
    else:
        silent = f", {found['silent']} of them silent" if found["silent"] else ""
        peers = "1 peer" if found["asked"] == 1 else f"{found['asked']} peers"
        came = "1 batch was" if found["repaired"] == 1 else f"{found['repaired']} batches were"
        out.line(f"asked {peers}{silent}; {came} missing and came")
    return OK if found["asked"] > found["silent"] else FAILED


def _last(steps: Iterator[Any]) -> dict[str, Any]:
    *_, found = steps
    return dict(found)


def _with_bar(ctx: Context, steps: Iterator[Any]) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    bars: dict[str, Any] = {}
    found: dict[str, Any] = {}
    with Progress(*columns, console=ctx.out.console, transient=True) as progress:
        for step in steps:
            if "peer" not in step:
                found = step
            elif step["missing"]:
                if step["peer"] not in bars:
                    bars[step["peer"]] = progress.add_task(f"from {clean(step['peer'])[-8:]}")
                progress.update(bars[step["peer"]], total=step["missing"], completed=step["got"])
    return found
