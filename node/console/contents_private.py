"""Private content at the command line: `content add --to`, `content get --unseal`, `content group`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import WHOLE, table
from swarmd.node.content.directories import kind_of
from swarmd.node.content.extract import Limits, Written
from swarmd.node.content.private import Sealed, unseal
from swarmd.node.content.recipients import change_group, load_groups, recipients_of
from swarmd.node.content.remote import NodeContent
from swarmd.node.content.unixfs import read_file
from swarmd.node.keys import load_key
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import LocalFault

__all__ = ["Sealed", "opened", "readers", "run_group_add", "run_group_rm", "run_groups", "unseal_into"]


def readers(ctx: Context, words: list[str]) -> list[str]:
    """The DIDs that may read what is sealed to `words`: those, and this node."""
    return [load_key(ctx.home).did, *recipients_of(ctx.home, words)]


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file, or stdin for `-`."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")
    except OSError as error:
        raise LocalFault(
            "no-file", f"{path}: {error.strerror}", fix="check the path and its rights"
        ) from None
    with file:
        yield file


def unseal_into(
    ctx: Context,
    cid: bytes,
    out: BinaryIO,
    store: NodeContent,
    limits: Limits,
    progress: Callable[[int], None],
) -> Written:
    """The plaintext of private content into `out`."""
    if kind_of(cid, store.get) != "file":
        raise LocalFault("not-private", f"{cid_text(cid)} is a folder", fix="leave --unseal out")
    done = Written(files=1, entries=1)
    parts = read_file(cid, store.get, max_bytes=min(limits.max_bytes, limits.max_file_bytes))
    for part in unseal(parts, load_key(ctx.home).seed):
        out.write(part)
        done.bytes += len(part)
        progress(len(part))
    return done


def run_groups(ctx: Context) -> int:
    groups, out = load_groups(ctx.home), ctx.out
    if out.as_json:
        out.document({"groups": groups})
    elif out.quiet:
        for name in groups:
            out.line(name)
    elif groups:
        rows = [(name, did) for name, dids in groups.items() for did in dids]
        out.print(table([("group", WHOLE), ("member", WHOLE)], rows))
    else:
        out.note("no groups; make one: swarmd content group add NAME DID")
    return OK


def run_group_add(ctx: Context) -> int:
    return _changed(ctx, change_group(ctx.home, ctx.args.group, add=ctx.args.dids))


def run_group_rm(ctx: Context) -> int:
    code = _changed(ctx, change_group(ctx.home, ctx.args.group, remove=ctx.args.dids))
    if not ctx.out.as_json:
        ctx.out.note(
            "they get nothing that is sealed to it from now on; what was sealed before, they can still open"
        )
    return code


def _changed(ctx: Context, members: object) -> int:
    assert isinstance(members, list)
    if ctx.out.as_json:
        ctx.out.document({"group": ctx.args.group, "members": members})
    else:
        ctx.out.note(f"{ctx.args.group} has {len(members)} members")
    return OK
