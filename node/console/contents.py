"""`swarmd content`: files, folders and CAR files into the node's content and out of it, pins, collection."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swarmd.node.console import contents_private as private
from swarmd.node.console.context import Context
from swarmd.node.console.node import size
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import RIGHT, WHOLE, clean, facts, table
from swarmd.node.console.progress import Meter, meter
from swarmd.node.content.adding import Added, Adder, Layout
from swarmd.node.content.car import import_car, write_car
from swarmd.node.content.directories import Node, kind_of, list_directory, resolve
from swarmd.node.content.extract import Limits, Written, is_terminal, whole_file, write_stream, write_tree
from swarmd.node.content.remote import FolderContent, NodeContent, RemoteContent
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

# A pin of a large DAG reads all of its nodes; a collection looks at everything.
CALL_TIMEOUT_S = 600.0


@contextmanager
def node_content(ctx: Context) -> Iterator[NodeContent]:
    """The content of the home: the daemon's while one runs, else that of its folder, with the home locked."""
    try:
        client = ctx.client(CALL_TIMEOUT_S)
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
    else:
        with client, ours():
            yield RemoteContent(client)
        return
    from swarmd.node.config import load_config
    from swarmd.node.home import CONTENT_FOLDER
    from swarmd.node.home_lock import home_lock

    with home_lock(ctx.home), ours():
        max_bytes = load_config(ctx.home, ctx.env).config.content_max_bytes
        store = FolderContent(ctx.home, ctx.home / CONTENT_FOLDER, max_bytes=max_bytes)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def ours() -> Iterator[None]:
    """What is wrong with content is what the command has to say; there is no peer here to charge."""
    try:
        yield
    except RemoteFault as fault:
        raise LocalFault(fault.code, fault.message, fix=fault.fix) from None


def content_path(text: str) -> tuple[bytes, str]:
    """`CID` or `CID/path`, with or without `/ipfs/` before it."""
    cid, _, path = text.removeprefix("ipfs://").removeprefix("/ipfs/").partition("/")
    try:
        return parse_cid(cid), path
    except RemoteFault as fault:
        raise UsageFault(
            fault.message, fix="a CID begins with baf; swarmd content ls lists what is pinned"
        ) from None


def at(store: NodeContent, text: str) -> bytes:
    root, path = content_path(text)
    return resolve(root, path, store.get) if path else root


# add -------------------------------------------------------------------------------------------------------


def run_add(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    layout = Layout(chunk_bytes=args.chunk, hidden=args.hidden)
    if args.paths.count("-") > 1:
        raise UsageFault("stdin can be read once")
    names = [path if path == "-" else Path(path).absolute().name for path in args.paths]
    sealed_for = private.readers(ctx, args.to) if args.to else []
    if sealed_for and (args.wrap or any(Path(path).is_dir() for path in args.paths)):
        raise UsageFault(
            "a folder is not sealed: its names would show", fix="seal an archive: tar c DIR | ... --to X -"
        )
    if args.wrap and (len(set(names)) < len(names) or "-" in names):
        raise UsageFault("--wrap needs a different name for each path")
    rows = []
    with node_content(ctx) as store, meter(out, "adding", _total(args.paths)) as told:
        adder = Adder(
            store.put_group,
            layout,
            progress=told.advance,
            skipped=lambda path, why: out.progress(f"left out {path}: {why}"),
        )
        entries = {}
        for path, name in zip(args.paths, names, strict=True):
            added = _add_one(adder, path, sealed_for)
            entries[name] = Node(added.cid, added.dag_bytes)
            rows.append(_added_row(path, added))
        if args.wrap:
            node = adder.wrap(entries)
            total = Added(
                node.cid,
                sum(row["size"] for row in rows),
                node.dag_bytes,
                sum(row["files"] for row in rows),
                "directory",
            )
            rows.append(_added_row("", total))
        if not args.no_pin:
            told.phase("pinning")
            for row in rows[-1:] if args.wrap else rows:
                store.pin(parse_cid(row["cid"]), name=args.name or row["path"])
    if out.as_json:
        out.document({"added": rows})
    elif out.quiet:
        for row in rows[-1:] if args.wrap else rows:
            out.line(row["cid"])
    else:
        for row in rows:
            out.line(f"{row['cid']}  {size(row['size']):>10}  {clean(row['path'])}".rstrip())
    return OK


def _add_one(adder: Adder, path: str, sealed_for: list[str]) -> Added:
    if not sealed_for:
        return adder.add_stream(sys.stdin.buffer) if path == "-" else adder.add(Path(path))
    with private.opened(path) as file:
        return adder.add_stream(private.Sealed(file, sealed_for))


def _added_row(path: str, added: Added) -> dict[str, Any]:
    return {
        "path": path,
        "cid": cid_text(added.cid),
        "kind": added.kind,
        "size": added.size,
        "dag_bytes": added.dag_bytes,
        "files": added.files,
    }


def _total(paths: list[str]) -> int | None:
    """The bytes of plain files; None where one has to look to know."""
    files = [Path(path) for path in paths]
    return sum(file.stat().st_size for file in files) if all(file.is_file() for file in files) else None


# get, ls ---------------------------------------------------------------------------------------------------


def run_get(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    root, path = content_path(args.content)
    limits = Limits(max_bytes=args.max_bytes) if args.max_bytes else Limits()
    name = path.rstrip("/").rpartition("/")[2] or cid_text(root)
    with node_content(ctx) as store, meter(out, "reading", None) as told:
        fetched(store, root)
        cid = at(store, args.content)
        target = Path(args.output or name)
        if args.output != "-" and target.is_dir() and not target.is_symlink():
            target = target / name
        if args.output == "-":
            done = _to_stdout(ctx, store, cid, limits, told)
        elif args.unseal:
            with whole_file(target) as file:
                done = private.unseal_into(ctx, cid, file, store, limits, told.advance)
        else:
            done = write_tree(cid, target, store.get, limits, told.advance)
    if args.output == "-":
        return OK
    if out.as_json:
        out.document({"cid": cid_text(cid), "file": str(target), "bytes": done.bytes, "files": done.files})
    elif out.quiet:
        out.line(str(target))
    else:
        out.note(f"wrote {clean(target)}: {size(done.bytes)} in {done.files} files")
    return OK


def fetched(store: NodeContent, root: bytes) -> None:
    """Have what peers may have to give, where there is a daemon to ask them."""
    if isinstance(store, RemoteContent):
        store.fetch(root)


def _to_stdout(ctx: Context, store: NodeContent, cid: bytes, limits: Limits, told: Meter) -> Written:
    target = sys.stdout.buffer
    if is_terminal(target):
        told.stop()  # it would be drawn into the middle of the content
    if ctx.args.unseal:
        done = private.unseal_into(ctx, cid, target, store, limits, told.advance)
    else:
        done = write_stream(cid, target, store.get, limits, told.advance)
    target.flush()
    return done


def run_ls(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    if args.content is None:
        return _list_pins(ctx)
    with node_content(ctx) as store:
        cid = at(store, args.content)
        if kind_of(cid, store.get) != "directory":
            raise LocalFault(
                "not-a-directory", f"{args.content} is a file", fix="swarmd content stat shows it"
            )
        rows: list[dict[str, Any]] = [
            {
                "name": entry.name,
                "cid": cid_text(entry.cid),
                "kind": _kind(store, entry.cid),
                "dag_bytes": entry.dag_bytes,
            }
            for entry in list_directory(cid, store.get)
        ]
    rows.sort(key=lambda row: str(row["name"]))
    if out.as_json:
        out.document({"cid": cid_text(cid), "entries": rows})
    elif out.quiet:
        for row in rows:
            out.line(row["cid"])
    elif rows:
        shown = [(row["name"], row["kind"], size(row["dag_bytes"]), row["cid"]) for row in rows]
        out.print(table(["name", "kind", ("size", RIGHT), ("cid", WHOLE)], shown))
    else:
        out.note("an empty folder")
    return OK


def _kind(store: NodeContent, cid: bytes) -> str:
    try:
        return kind_of(cid, store.get)
    except (LocalFault, RemoteFault):
        return "?"


def _list_pins(ctx: Context) -> int:
    out = ctx.out
    with node_content(ctx) as store:
        rows = [{**pin, "cid": cid_text(pin["cid"])} for pin in store.pins()]
    if out.as_json:
        out.document({"pins": rows})
    elif out.quiet:
        for row in rows:
            out.line(row["cid"])
    elif rows:
        from swarmd.node.console.needs import when

        shown = [
            (row["cid"], "all" if row["recursive"] else "the block", when(row["at_s"] * 10**9), row["name"])
            for row in rows
        ]
        out.print(table([("cid", WHOLE), "keeps", ("pinned", WHOLE), "name"], shown))
    else:
        out.note("nothing is pinned; add something: swarmd content add FILE")
    return OK


# Pins, stat, gc, verify ------------------------------------------------------------------------------------


def run_pin(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    with node_content(ctx) as store:
        pin = store.pin(at(store, args.content), recursive=not args.direct, name=args.name or "")
    row = {**pin, "cid": cid_text(pin["cid"])}
    if out.as_json:
        out.document(row)
    else:
        out.note(f"pinned {row['cid']}" + ("" if row["recursive"] else ", this block only"))
    return OK


def run_unpin(ctx: Context) -> int:
    root, path = content_path(ctx.args.content)
    with node_content(ctx) as store:
        cid = resolve(root, path, store.get) if path else root
        if not store.unpin(cid):
            raise LocalFault(
                "not-pinned", f"{cid_text(cid)} is not pinned", fix="swarmd content ls lists the pins"
            )
    if ctx.out.as_json:
        ctx.out.document({"unpinned": cid_text(cid)})
    else:
        ctx.out.note(f"unpinned {cid_text(cid)}; swarmd content gc frees what nothing else keeps")
    return OK


def run_stat(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    with node_content(ctx) as store:
        if args.content is not None:
            from swarmd.node.content.stat import stat_of

            found = stat_of(at(store, args.content), store.get)
        else:
            found = dict(store.usage())
    if out.as_json:
        out.document(found)
    elif args.content is not None:
        out.print(
            facts([(name, size(value) if name.endswith("bytes") else value) for name, value in found.items()])
        )
    else:
        quota = size(found["max_bytes"]) if found["max_bytes"] else "none"
        out.print(
            facts(
                [
                    ("blocks", found["blocks"]),
                    ("content", size(found["bytes"])),
                    ("on disk", size(found["disk_bytes"])),
                    ("quota", quota),
                    ("pins", found["pins"]),
                    ("corrupt", found["corrupt"]),
                    ("journal", f"{found['journal_blocks']} blocks, {size(found['journal_bytes'])}"),
                ]
            )
        )
    return OK


def run_gc(ctx: Context) -> int:
    out = ctx.out
    with node_content(ctx) as store, meter(out, "marking", None, unit="blocks") as told:
        done = store.collect(ctx.args.grace, told.at)
    if out.as_json:
        out.document(dict(done))
        return OK
    if out.quiet:
        return OK
    out.note(f"freed {done['blocks']} blocks, {size(done['bytes'])}; {size(done['disk_bytes'])} of the disk")
    if done["young_blocks"]:
        out.note(
            f"{done['young_blocks']} more, {size(done['young_bytes'])}, are needed by nothing but younger than the "
            "grace period (--grace)"
        )
    return OK


def run_verify(ctx: Context) -> int:
    out = ctx.out
    with node_content(ctx) as store, meter(out, "verifying", store.usage()["bytes"]) as told:
        done = store.verify(told.at)
    corrupt = [cid_text(cid) for cid in done["corrupt"]]
    if out.as_json:
        out.document({"blocks": done["blocks"], "bytes": done["bytes"], "corrupt": corrupt})
    else:
        for cid in corrupt:
            out.line(f"corrupt  {cid}")
        out.note(f"{done['blocks']} blocks, {size(done['bytes'])}, hash to their CIDs; {len(corrupt)} do not")
        if corrupt:
            out.note("they count as missing from now on: fetch or add them again, or swarmd content gc")
    return FAILED if corrupt else OK


# CAR files -------------------------------------------------------------------------------------------------


def run_export(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    with node_content(ctx) as store, meter(out, "writing", None) as told:
        roots = []
        for text in args.content:
            root, _ = content_path(text)
            fetched(store, root)
            roots.append(at(store, text))
        if args.output == "-":
            if is_terminal(sys.stdout.buffer):
                raise UsageFault("a CAR is not for a terminal", fix="-o FILE, or a pipe")
            blocks, count = write_car(roots, sys.stdout.buffer, store.get, told.advance)
            sys.stdout.buffer.flush()
            return OK
        with whole_file(Path(args.output)) as file:
            blocks, count = write_car(roots, file, store.get, told.advance)
    if out.as_json:
        cids = [cid_text(root) for root in roots]
        out.document({"file": args.output, "roots": cids, "blocks": blocks, "bytes": count})
    else:
        out.note(f"wrote {clean(args.output)}: {blocks} blocks, {size(count)}")
    return OK


def run_import(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    rows = []
    for name in args.files:
        stdin = name == "-"
        try:
            file = sys.stdin.buffer if stdin else open(name, "rb")
        except OSError as error:
            raise LocalFault("no-file", f"{name}: {error.strerror}", fix="check the path") from None
        total = None if stdin else Path(name).stat().st_size
        with file, node_content(ctx) as store, meter(out, "importing", total) as told:
            roots, blocks = import_car(file, store.put_many, told.advance)
            if not args.no_pin:
                told.phase("pinning")
                for root in roots:
                    store.pin(root, name=args.name or ("" if stdin else Path(name).name))
        rows.append({"file": name, "roots": [cid_text(root) for root in roots], "blocks": blocks})
    if out.as_json:
        out.document({"imported": rows})
        return OK
    for row in rows:
        for root in row["roots"]:
            out.line(root)
        out.note(f"{row['blocks']} blocks from {clean(row['file'])}")
    return OK
