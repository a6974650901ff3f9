"""`swarmd service`: the daemon as a service of this host."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import clean, facts
from swarmd.node.home_lock import running_pid
from swarmd.node.own_python import own_python
from swarmd.node.service_files import LABEL, NAME, Service, launchd_plist, systemd_unit
from swarmd.protocol.faults import LocalFault

COMMAND_TIMEOUT_S = 120.0


def run_install(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    kind, path = _kind(ctx), _path(ctx)
    if args.user and not args.system:
        raise UsageFault("--user goes with --system: a user's own service runs as that user")
    if not args.print and not (ctx.home / "node.key").exists():
        raise LocalFault("no-home", f"{ctx.home} is no swarmd home", fix="run swarmd init first")
    body = _body(ctx, kind)
    if args.print:
        if out.as_json:
            out.document({"kind": kind, "path": str(path), "text": body.decode()})
        else:
            out.line(body.decode().rstrip("\n"))
        return OK
    was = path.read_bytes() if path.exists() else None
    if was not in (None, body) and not args.replace:
        raise LocalFault(
            "service-exists", f"{path} is there and differs", fix="look at it, then add --replace"
        )
    _write(path, body)
    if args.now:
        for command in _start_commands(kind, path, args.system):
            _run(command)
    if out.as_json:
        out.document({"kind": kind, "path": str(path), "changed": was != body, "started": bool(args.now)})
        return OK
    out.note(f"wrote {clean(path)}")
    if not args.now:
        out.note(
            "start it with: "
            + " && ".join(" ".join(each) for each in _start_commands(kind, path, args.system))
        )
    if kind == "systemd" and not args.system:
        out.note("to run while you are logged out: loginctl enable-linger")
    return OK


def run_uninstall(ctx: Context) -> int:
    kind, path = _kind(ctx), _path(ctx)
    if not path.exists():
        raise LocalFault("no-service", f"{path} is not there", fix="see swarmd service status")
    failed = ""
    try:
        for command in _stop_commands(kind, path, ctx.args.system):
            _run(command)
    except LocalFault as fault:
        failed = fault.message  # not loaded, or no manager runs here: the file is what remains to remove
    path.unlink()
    if ctx.out.as_json:
        ctx.out.document({"kind": kind, "path": str(path), "note": failed})
    else:
        ctx.out.note(f"removed {clean(path)}; the node's home is as it was: {clean(ctx.home)}")
        if failed:
            ctx.out.progress(f"stopping it: {failed}")
    return OK


def run_status(ctx: Context) -> int:
    kind, path = _kind(ctx), _path(ctx)
    there = path.exists()
    found: dict[str, Any] = {
        "kind": kind,
        "path": str(path),
        "installed": there,
        "current": there and path.read_bytes() == _body(ctx, kind),
        "manager": _manager_says(kind, ctx.args.system) if there else "",
        "pid": running_pid(ctx.home),
    }
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        current = "as this version writes it" if found["current"] else "differs from what this version writes"
        running = f"yes, pid {found['pid']}" if found["pid"] is not None else "no"
        ctx.out.print(
            facts(
                [
                    ("unit", f"{path}, {current}" if there else f"{path}: not installed"),
                    (kind, found["manager"]),
                    ("daemon runs", running),
                ]
            )
        )
        if not there:
            ctx.out.note("install it with: swarmd service install --now")
    return OK if there else FAILED


def _kind(ctx: Context) -> str:
    return ctx.args.kind or ("launchd" if sys.platform == "darwin" else "systemd")


def _path(ctx: Context) -> Path:
    """Where the manager looks for it."""
    user = Path(ctx.env.get("HOME") or "/")
    if _kind(ctx) == "launchd":
        return (
            Path("/Library/LaunchDaemons") if ctx.args.system else user / "Library/LaunchAgents"
        ) / f"{LABEL}.plist"
    if ctx.args.system:
        return Path("/etc/systemd/system") / f"{NAME}.service"
    config = ctx.env.get("XDG_CONFIG_HOME", "")
    return (Path(config) if config.startswith("/") else user / ".config") / "systemd/user" / f"{NAME}.service"


def _body(ctx: Context, kind: str) -> bytes:
    user = (getattr(ctx.args, "user", None) or _account(_path(ctx)) or NAME) if ctx.args.system else ""
    service = Service(_own_argv(), ctx.home, user)
    return systemd_unit(service).encode() if kind == "systemd" else launchd_plist(service)


def _account(path: Path) -> str:
    """Whom the unit that is there runs the daemon as; "" if it does not say."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("User=") for line in lines if line.startswith("User=")), "")


def _own_argv() -> tuple[str, ...]:
    """The swarmd beside this Python if there is one: it needs nothing of the shell's environment."""
    beside = Path(sys.executable).with_name("swarmd")
    return (str(beside),) if beside.exists() else own_python("swarmd.cli")


def _write(path: Path, body: bytes) -> None:
    """All of it or nothing."""
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(body)
        draft.chmod(0o644)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise LocalFault(
            "service-not-written", f"{path}: {error.strerror}", fix="with --system run it as root (sudo)"
        ) from None


def _systemctl(system: bool, *words: str) -> list[str]:
    return ["systemctl", *([] if system else ["--user"]), *words]


def _start_commands(kind: str, path: Path, system: bool) -> list[list[str]]:
    if kind == "launchd":
        return [["launchctl", "load", "-w", str(path)]]
    return [_systemctl(system, "daemon-reload"), _systemctl(system, "enable", "--now", NAME)]


def _stop_commands(kind: str, path: Path, system: bool) -> list[list[str]]:
    if kind == "launchd":
        return [["launchctl", "unload", "-w", str(path)]]
    return [_systemctl(system, "disable", "--now", NAME)]


def _manager_says(kind: str, system: bool) -> str:
    command = ["launchctl", "list", LABEL] if kind == "launchd" else _systemctl(system, "is-active", NAME)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown: {error}"
    if kind == "launchd":
        return "loaded" if done.returncode == 0 else "not loaded"
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.stdout or done.stderr else "unknown"


def _run(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        raise LocalFault(
            "no-service-manager", f"{command[0]} is not on this host", fix="start it with swarmd up -d"
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise LocalFault("timeout", f"{' '.join(command)} takes too long", fix="run it by hand") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LocalFault(
            "service-manager",
            f"{' '.join(command)}: {said}",
            fix="the unit is written: run that by hand, see why",
        )
