"""`swarmd content migrate`: a plain file store becomes content."""

from dataclasses import asdict
from pathlib import Path

from swarmd.node.console.contents import node_content
from swarmd.node.console.context import Context
from swarmd.node.console.node import size
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import clean
from swarmd.node.console.progress import meter
from swarmd.node.content.migrate import migrate, scan

_SHOWN = 20


def run_migrate(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    folder, mapping = Path(args.cas_dir), Path(args.output_mapping)
    total = sum(path.stat().st_size for digest, path in scan(folder) if digest is not None)
    with node_content(ctx) as store, meter(out, "migrating", total) as told:
        done = migrate(folder, mapping, store, verify=args.verify, progress=told.advance)
    bad = done.wrong or done.unverified
    if out.as_json:
        found = {key: value for key, value in asdict(done).items() if key != "mapping"}
        out.document({"mapping": str(mapping), "hashes": len(done.mapping), "verified": args.verify, **found})
    elif out.quiet:
        out.line(done.root)
    else:
        before = f", {done.resumed} by an earlier run" if done.resumed else ""
        out.note(
            f"{len(done.mapping)} files are content now: {size(done.bytes)} in {done.files} by this run{before}"
        )
        out.note(f"pinned as {done.root}; the mapping is in {clean(mapping)}")
        for what, rows in (
            ("do not hash to their names, and were left", done.wrong),
            ("did not read back", done.unverified),
            ("are not named by a hash", done.left_out),
        ):
            for row in rows[:_SHOWN]:
                out.line(f"  {clean(row)}")
            if rows:
                out.line(f"{len(rows)} {what}")
        if args.verify and not done.unverified:
            out.note("all of them were read back and hash to what they were")
    return FAILED if bad else OK
