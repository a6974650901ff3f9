"""`swarmd backup`: create, verify, restore. The passphrase never comes from the command line: `ps` shows that."""

import getpass
import sys
import time
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.node import size
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import clean, facts
from swarmd.protocol.faults import LocalFault

VARIABLE = "SWARMD_BACKUP_PASSPHRASE"
LEAST_BYTES = 8
SNAPSHOT_TIMEOUT_S = 600.0


def run_create(ctx: Context) -> int:
    from swarmd.node.backup.create import create_backup

    file = Path(ctx.args.file)
    if file.exists():
        raise LocalFault("backup-exists", f"{file} is there already", fix="choose another name")
    passphrase = _passphrase(ctx, new=True)
    with _home_at_rest(ctx) as copy:
        manifest = create_backup(ctx.home, file, passphrase, copy=copy)
    return _show(ctx, file, manifest, "holds")


class _home_at_rest:
    """Hold the home's lock; or, where a daemon does, what asks that daemon for a copy of its databases."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._lock: Any = None

    def __enter__(self) -> Any:
        from swarmd.node.home_lock import home_lock

        lock = home_lock(self._ctx.home)
        try:
            lock.__enter__()
        except LocalFault as fault:
            if fault.code != "already-running":
                raise
            return self._ask
        self._lock = lock
        return None

    def _ask(self, folder: Path) -> None:
        with self._ctx.client(SNAPSHOT_TIMEOUT_S) as client:
            client.call("backup.snapshot", {"folder": str(folder)})

    def __exit__(self, *exc: Any) -> None:
        if self._lock is not None:
            self._lock.__exit__(*exc)


def run_verify(ctx: Context) -> int:
    from swarmd.node.backup.restore import verify_backup

    file = Path(ctx.args.file)
    manifest = verify_backup(file, lambda: _passphrase(ctx))
    return _show(ctx, file, manifest, "is whole; it holds")


def run_restore(ctx: Context) -> int:
    from swarmd.node.backup.restore import restore_backup

    args, out = ctx.args, ctx.out
    if not args.home:
        raise UsageFault("name the new home", fix="swarmd backup restore FILE --home NEW")
    file = Path(args.file)
    manifest = restore_backup(file, ctx.home, lambda: _passphrase(ctx), alone=args.alone)
    code = _show(ctx, file, manifest, "is restored;")
    if not out.as_json:
        out.note("never run two nodes with this key: they would contradict each other, and be cut off for it")
        if not args.alone:
            out.note("it listens to the mesh before it speaks; swarmd status says when it has heard enough")
        out.note(f"start it with: swarmd --home {clean(ctx.home)} up")
    return code


def run_recover(ctx: Context) -> int:
    from swarmd.node.backup.recover import recover
    from swarmd.node.home_lock import home_lock

    with home_lock(ctx.home):
        found = recover(ctx.home)
    out = ctx.out
    aside = None if found.aside is None else str(found.aside)
    if out.as_json:
        out.document({"did": found.did, "mesh": found.mesh, "damage": found.damage, "aside": aside})
    elif not out.quiet:
        out.note(f"the journal of {clean(found.did)}: {clean(found.damage)}")
        if aside is not None:
            out.note(f"what was left is in {clean(aside)}")
        out.note(
            "it begins with an empty one, and listens to the mesh before it speaks: swarmd status says how far it is"
        )
        out.note(f"start it with: swarmd --home {clean(ctx.home)} up")
    return OK


def run_speak(ctx: Context) -> int:
    was = ctx.ask("backup.speak")
    if ctx.out.as_json:
        ctx.out.document(was)
    else:
        ctx.out.note(f"it speaks; it had heard {was['heard']} of {was['needed']} verifiers")
    return OK


def _show(ctx: Context, file: Path, manifest: Any, verb: str) -> int:
    out = ctx.out
    held = manifest.to_map()
    if out.as_json:
        out.document({"file": str(file), "bytes": file.stat().st_size, **held})
    elif out.quiet:
        out.line(manifest.state_digest)
    else:
        out.note(f"{clean(file)} ({size(file.stat().st_size)}) {verb}")
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(manifest.created_ns // 1_000_000_000))
        pairs = [
            ("node", manifest.did),
            ("mesh", manifest.mesh),
            ("made", f"{made} by swarmd {manifest.swarmd}"),
            ("inputs", manifest.inputs),
            ("files", f"{len(manifest.files)}, {size(sum(n for n, _ in manifest.files.values()))}"),
            ("state digest", manifest.state_digest),
        ]
        out.print(facts(pairs))
    return OK


def _passphrase(ctx: Context, *, new: bool = False) -> bytes:
    """From --passphrase-file, the environment, or whoever sits at the terminal."""
    if ctx.args.passphrase_file:
        text = _first_line(Path(ctx.args.passphrase_file))
    elif VARIABLE in ctx.env:
        text = ctx.env[VARIABLE]
    elif sys.stdin.isatty():
        text = getpass.getpass("passphrase: ")
        if new and getpass.getpass("again: ") != text:
            raise LocalFault("no-passphrase", "the two differ", fix="try again")
    else:
        raise LocalFault(
            "no-passphrase",
            "no passphrase, and no terminal to ask for it",
            fix=f"use --passphrase-file FILE, or set {VARIABLE}",
        )
    found = text.encode()
    if new and len(found) < LEAST_BYTES:
        raise LocalFault(
            "weak-passphrase",
            f"the passphrase has {len(found)} bytes",
            fix=f"take {LEAST_BYTES} at least, better six random words: whoever opens the file has the key",
        )
    return found


def _first_line(path: Path) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(4_096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise LocalFault("no-passphrase", f"{path}: {why}", fix="name a readable text file") from None
