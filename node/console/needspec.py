"""A need as the command line and plan files say it, made ready for the daemon: files are read here, since the
daemon may run elsewhere in the tree of folders, and it must not read what its caller could not."""

import codecs
import io
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from swarmd.node.console.outcome import UsageFault
from swarmd.protocol.amounts import parse_usdc

PLAN_EXAMPLE = '{"budget": "1.50", "tasks": [{"id": "count", "capability": "text.wordcount", ...}]}'


# A larger file goes to the daemon's content in blocks, and the need names its CID.
STREAM_ABOVE_BYTES = 1_048_576
# Takes a stream to the daemon's content; the CID.
Upload = Callable[[io.RawIOBase], str]


def need_spec(args: Namespace, cwd: Path, upload: Upload) -> dict[str, Any]:
    """The `spec` of `need.post` from the flags of `swarmd need post`. UsageFault names the flag."""
    if args.graph and args.capability:
        raise UsageFault("give a capability or --graph, not both")
    if args.graph:
        spec = _plan(args, cwd, upload)
    elif args.capability:
        spec = _single(args, cwd, upload)
    else:
        raise UsageFault(
            "a need asks for something",
            fix="swarmd need post CAPABILITY ... or swarmd need post --graph FILE",
        )
    for name, value in (
        ("title", args.title),
        ("budget", args.budget),
        ("deadline_s", args.deadline),
        ("agent", args.agent),
        ("pay", "at_once" if args.pay_at_once else None),
    ):
        if value is not None:
            spec[name] = value
    if spec.get("budget") is None:
        raise UsageFault("what may it cost?", fix="--budget 1.00 (USDC), or a budget in the plan")
    if isinstance(spec["budget"], str):
        parse_usdc(spec["budget"])
    return spec


def _single(args: Namespace, cwd: Path, upload: Upload) -> dict[str, Any]:
    task: dict[str, Any] = {"id": "task", "capability": args.capability, "input": {}}
    for flag, texts, read in _FLAGS:
        for text in getattr(args, texts):
            name, value = _pair(text, flag)
            if name in task["input"]:
                raise UsageFault(f"{flag} {name}=...: argument {name} is given twice")
            task["input"][name] = read(value, flag, cwd, upload)
    if args.max_price is not None:
        parse_usdc(args.max_price)
        task["max_price"] = args.max_price
    if args.verify is not None:
        task["verify"] = _verify(args.verify, cwd)
    return {"tasks": [task]}


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageFault(f"{flag} {text}: not NAME=VALUE", fix=f"such as {flag} text=@book.txt")
    return name, value


def _text_flag(value: str, flag: str, cwd: Path, upload: Upload) -> dict[str, Any]:
    if value.startswith("@"):
        where = f"{flag} {value}"
        with _opened(value[1:], flag, cwd) as file:
            head = _head(file)
            if len(head) > STREAM_ABOVE_BYTES:
                return {"cid": upload(_Rest(head, file, where)), "as": "text"}
        return {"text": _utf8(head, where)}
    return {"text": value}


def _json_flag(value: str, flag: str, cwd: Path, _upload: Upload) -> dict[str, Any]:
    if value.startswith("@"):
        return {"json": _json(_read(value[1:], flag, cwd), f"{flag} {value}")}
    return {"json": _json(value.encode(), f"{flag} {value}")}


def _file_flag(value: str, flag: str, cwd: Path, upload: Upload) -> dict[str, Any]:
    with _opened(value, flag, cwd) as file:
        head = _head(file)
        if len(head) > STREAM_ABOVE_BYTES:
            return {"cid": upload(_Rest(head, file)), "as": "bytes"}
    return {"bytes": head}


def _cid_flag(value: str, flag: str, cwd: Path, _upload: Upload) -> dict[str, Any]:
    cid, colon, kind = value.partition(":")
    return {"cid": cid, **({"as": kind} if colon else {})}


# flag, attribute, how its value becomes a binding
_FLAGS: Sequence[tuple[str, str, Callable[[str, str, Path, Upload], dict[str, Any]]]] = (
    ("--text", "text", _text_flag),
    ("--json-arg", "json_arg", _json_flag),
    ("--file", "file", _file_flag),
    ("--cid", "cid", _cid_flag),
)


def _verify(text: str, cwd: Path) -> dict[str, Any]:
    kind, _, value = text.partition("=")
    if kind == "reexec" and not value:
        return {"type": "reexec"}
    if kind == "schema" and value:
        raw = _read(value[1:], "--verify", cwd) if value.startswith("@") else value.encode()
        return {"type": "schema", "schema": _json(raw, "--verify schema")}
    if kind == "command" and value:
        return {"type": "command", "name": value}
    raise UsageFault(
        f"--verify {text}: no such check", fix="reexec, schema=@FILE or command=NAME (of verifier_commands)"
    )


# Plan files ------------------------------------------------------------------------------------------------


def _plan(args: Namespace, cwd: Path, upload: Upload) -> dict[str, Any]:
    for flag, name, _ in _FLAGS:
        if getattr(args, name):
            raise UsageFault(f"{flag} does not go with --graph: the plan has its own inputs")
    for flag, value in (("--verify", args.verify), ("--max-price", args.max_price)):
        if value is not None:
            raise UsageFault(f"{flag} does not go with --graph: each task of the plan has its own")
    if args.graph == "-":
        raw, base = sys.stdin.buffer.read(), cwd
    else:
        raw, base = _read(args.graph, "--graph", cwd), (cwd / args.graph).parent
    spec = _json(raw, args.graph, "write a plan as docs/cli.md#a-plan shows it")
    if not isinstance(spec, dict) or not isinstance(spec.get("tasks"), list):
        raise UsageFault(f"{args.graph} is no plan", fix=PLAN_EXAMPLE)
    for index, task in enumerate(spec["tasks"]):
        inputs = task.get("input") if isinstance(task, dict) else None
        # Anything else that is wrong with a task the daemon says, with the same names for the places.
        if not isinstance(inputs, dict):
            continue
        for name, binding in inputs.items():
            if isinstance(binding, dict) and "file" in binding:
                inputs[name] = _file_binding(binding, f"tasks[{index}].input.{name}", base, upload)
    return spec


def _file_binding(binding: dict[str, Any], where: str, base: Path, upload: Upload) -> dict[str, Any]:
    """{"file": path, "as"?: text|json|bytes}: without `as`, JSON by its name, text if it is UTF-8, else bytes."""
    path, kind = binding["file"], binding.get("as")
    if not isinstance(path, str) or kind not in (None, "text", "json", "bytes"):
        raise UsageFault(f'{where}: not {{"file": PATH, "as": "text" | "json" | "bytes"}}')
    with _opened(path, where, base) as file:
        raw = _head(file)
        if len(raw) > STREAM_ABOVE_BYTES and kind != "json" and (kind or not path.endswith(".json")):
            # Too large to look at whole before it is sent: text only if it is said to be.
            kind = kind or "bytes"
            return {"cid": upload(_Rest(raw, file, where if kind == "text" else "")), "as": kind}
        raw += file.read()
    if kind is None:
        kind = "json" if path.endswith(".json") else "text" if _is_utf8(raw) else "bytes"
    if kind == "json":
        return {"json": _json(raw, where)}
    return {"text": _utf8(raw, where)} if kind == "text" else {"bytes": raw}


@contextmanager
def _opened(path: str, where: str, base: Path) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(base / Path(path).expanduser(), "rb")
    except OSError as error:
        raise UsageFault(f"{where}: cannot read {path}: {error.strerror}", fix="check the path") from None
    except (ValueError, RuntimeError) as error:  # a NUL in it, or ~nobody
        raise UsageFault(f"{where}: {path!r} is no path: {error}") from None
    with file:
        yield file


def _read(path: str, where: str, base: Path) -> bytes:
    with _opened(path, where, base) as file:
        return file.read()


def _head(file: BinaryIO) -> bytes:
    """All of a small file; of a large one a little more than what makes it one."""
    parts = []
    left = STREAM_ABOVE_BYTES + 1
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class _Rest(io.RawIOBase):
    """`head`, then the rest of `file`; checked to be UTF-8 on the way if `text` says where it comes from."""

    def __init__(self, head: bytes, file: BinaryIO, text: str = "") -> None:
        self._head = head
        self._file = file
        self._where = text
        self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._head[: len(buffer)] if self._head else self._file.read(len(buffer))
        self._head = self._head[len(part) :]
        if self._decoder is not None:
            try:
                self._decoder.decode(part, final=not part)
            except UnicodeDecodeError as error:
                raise UsageFault(
                    f"{self._where} is not UTF-8: {error.reason}", fix="--file sends bytes"
                ) from None
        buffer[: len(part)] = part
        return len(part)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _utf8(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageFault(
            f"{where} is not UTF-8: {error.reason} at byte {error.start}", fix="--file sends bytes"
        ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _json(raw: bytes, where: str, fix: str = "text must be quoted: name='\"value\"'") -> Any:
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{where} is not JSON: {error if raw.strip() else 'it is empty'}", fix=fix) from None
