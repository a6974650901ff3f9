"""`swarmd bugreport`: what is needed to find a fault, without what identifies or could cost somebody."""

import io
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmd.node.config import load_config
from swarmd.node.console.context import Context
from swarmd.node.console.doctor import diagnose
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import clean, plain
from swarmd.node.health.redact import Redactor
from swarmd.node.log_file import LOG_FILE
from swarmd.node.version import version
from swarmd.protocol.faults import CorruptState, LocalFault

MAX_LOG_BYTES = 4 << 20
# Files of the home whose whole content is a secret.
SECRET_FILES = ("node.key", "swarm.key", "chain/account.key", "chain/keystore.json")
# Ops whose answers go in, and what of them must not: what people wrote, and what agents are told.
_ASKED: dict[str, dict[str, Any]] = {
    "status": {},
    "peers": {},
    "net": {},
    "content.network": {},
    "need.list": {"limit": 200},
    "agent.list": {},
    "settle.status": {},
}
_PAYLOADS = frozenset(
    (
        "title",
        "argv",
        "env",
        "cwd",
        "values",
        "value",
        "result",
        "input",
        "reason",
        "text",
        "memo",
        "stderr",
        "url",
    )
)
# Settings whose values are choices or numbers; of all others only whether they are set.
_TELLING = (bool, int, float)

README = """\
A report of swarmd about one of its nodes, made by `swarmd bugreport` for whoever looks for a fault.

It has no key, passphrase or token, no address of anybody, no title, input or result of a need. Names such as
<did-3f2a91> stand for something: the same one for the same thing in this file, another one in every other file.
Look into it before you pass it on: logs are free text, and what nobody thought of may be in them.
"""


def run_bugreport(ctx: Context) -> int:
    path = Path(ctx.args.file or time.strftime("swarmd-bugreport-%Y%m%d-%H%M%S.tar.gz"))
    redactor = Redactor(_known(ctx), _folders(ctx))
    files = {name: _made(make, redactor) for name, make in _parts(ctx).items()}
    files["README.txt"] = README.encode()
    manifest = {
        "made_s": int(time.time()),
        "swarmd": version(),
        "replaced": dict(sorted(redactor.counts.items())),
    }
    files["manifest.json"] = json.dumps(manifest, indent=2).encode()
    _write(path, files)
    found = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "holds": sorted(files),
        "replaced": manifest["replaced"],
    }
    if ctx.out.as_json:
        ctx.out.document(found)
    elif ctx.out.quiet:
        ctx.out.line(str(path))
    else:
        ctx.out.note(f"wrote {clean(path)}: {', '.join(sorted(files))}")
        ctx.out.note("look into it before you pass it on: tar xzf FILE -O | less")
    return OK


def _parts(ctx: Context) -> dict[str, Callable[[], Any]]:
    """File of the report -> what makes its content: a JSON value or a text, not redacted yet."""
    return {
        "host.json": _host,
        "doctor.json": lambda: diagnose(ctx),
        "config.json": lambda: _config(ctx),
        "home.json": lambda: _home(ctx.home),
        "log.txt": lambda: _log(ctx.home / LOG_FILE, ctx.args.log_lines),
        **{f"{op}.json": (lambda op=op, args=args: _ask(ctx, op, args)) for op, args in _ASKED.items()},  # type: ignore[misc]
    }


def _made(make: Callable[[], Any], redactor: Redactor) -> bytes:
    try:
        value = make()
    except (LocalFault, CorruptState) as fault:
        value = {"error": {"code": fault.code, "message": fault.message}}
    if isinstance(value, str):
        return redactor.text(value).encode()
    # Through JSON first: bytes and the like become what they would be shown as.
    return json.dumps(redactor.value(json.loads(json.dumps(value, default=plain))), indent=2).encode()


def _ask(ctx: Context, op: str, args: dict[str, Any]) -> Any:
    return _without_payloads(ctx.ask(op, **args))


def _without_payloads(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: f"<{key}>" if key in _PAYLOADS and each else _without_payloads(each)
            for key, each in value.items()
        }
    return [_without_payloads(each) for each in value] if isinstance(value, list) else value


def _host() -> dict[str, Any]:
    return {
        "swarmd": version(),
        "python": sys.version,
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "libraries": {
            name: _version_of(name) for name in ("trio", "libp2p", "wasmtime", "web3", "automerge")
        },
    }


def _version_of(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _config(ctx: Context) -> dict[str, Any]:
    rows = load_config(ctx.home, ctx.env).rows()
    return {
        row["name"]: {
            "origin": row["origin"],
            "value": row["value"]
            if row["origin"] == "default" or isinstance(row["value"], _TELLING)
            else f"<set, {len(row['value'])} long>",
        }
        for row in rows
    }


def _home(home: Path) -> list[dict[str, Any]]:
    """Names, sizes and modes of the files at the top of the home."""
    if not home.is_dir():
        return []
    return [
        {"name": path.name, "bytes": path.stat().st_size, "mode": f"{path.stat().st_mode & 0o7777:o}"}
        for path in sorted(home.iterdir())
        if path.is_file()
    ]


def _log(path: Path, lines: int) -> str:
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - MAX_LOG_BYTES))
            data = file.read()
    except OSError as error:
        return f"no log: {error.strerror}\n"
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-lines:]) + "\n"


def _known(ctx: Context) -> set[str]:
    """Secrets and names that this host has, by their very text."""
    found = {platform.node(), platform.node().partition(".")[0], os.environ.get("USER", "")}
    for name, value in ctx.env.items():
        if name.startswith("SWARMD_") and any(word in name for word in ("PASS", "TOKEN", "SECRET", "KEY")):
            found.add(value)
    for name in SECRET_FILES:
        try:
            text = (ctx.home / name).read_text("utf-8", "replace")
        except OSError:
            continue
        found |= {text.strip(), *(line.strip() for line in text.splitlines() if len(line.strip()) >= 16)}
    found |= _agents_secrets(ctx.home / "agents.json") | _mesh_names(ctx.home / "genesis.json")
    return found - {"", "localhost"}


def _agents_secrets(path: Path) -> set[str]:
    """The values of the variables that agents get: API keys, mostly."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    agents = document.get("agents", []) if isinstance(document, dict) else []
    found: set[str] = set()
    for agent in agents if isinstance(agents, list) else []:
        env = agent.get("env") if isinstance(agent, dict) else None
        if isinstance(env, dict):
            found |= {str(value) for value in env.values() if len(str(value)) >= 6}
    return found


def _mesh_names(path: Path) -> set[str]:
    try:
        name = json.loads(path.read_text("utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        return set()
    # A short name is a word that is everywhere.
    return {name} if isinstance(name, str) and len(name) >= 6 else set()


def _folders(ctx: Context) -> dict[str, str]:
    user = ctx.env.get("HOME", "")
    found = {str(ctx.home): "<home>", str(Path(sys.prefix)): "<venv>"}
    return {**found, user: "~"} if len(user) > 1 else found


def _write(path: Path, files: dict[str, bytes]) -> None:
    """A new file (0600): never over one that is there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"swarmd-bugreport/{name}")
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(files[name]))
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(packed.getvalue())
    except FileExistsError:
        raise LocalFault("file-exists", f"{path} is there already", fix="choose another name") from None
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LocalFault("bad-file", f"{path}: {error.strerror}", fix="choose another folder") from None
