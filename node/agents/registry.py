"""Which agents this host has, kept in `agents.json` in the node's home."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from swarmd.node.ports import Capability
from swarmd.protocol.amounts import format_usdc, parse_usdc
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.faults import LocalFault

MAX_AGENTS = 256
MAX_CAPABILITIES = 64
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MAX_ARGV_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as its operator registered it.

    A "command" agent is `argv`, run once per job; an "attached" one connects by itself, and a record of
    it lets the operator set its prices or switch it off. Bounds are checked by `AgentRegistry.add`.
    """

    name: str
    kind: Literal["command", "attached"]
    capabilities: tuple[Capability, ...]
    argv: tuple[str, ...] = ()
    cwd: str | None = None  # None: a private folder for each run
    env: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 60.0
    memory_mb: int = 512  # 0: no limit
    output_limit_bytes: int = 8 * 1_048_576
    concurrency: int = 2
    enabled: bool = True

    def price_of(self, capability: str) -> int | None:
        return next((offer.price for offer in self.capabilities if offer.name == capability), None)

    def document(self, *, secrets: bool) -> dict[str, Any]:
        """The JSON form. Without `secrets` the values of `env` are left out: they may be API keys."""
        found = asdict(self)
        found["capabilities"] = [
            {"name": offer.name, "price": format_usdc(offer.price)} for offer in self.capabilities
        ]
        found["argv"] = list(self.argv)
        found["env"] = {name: value if secrets else "***" for name, value in self.env}
        return found


def offer(name: str, price: str) -> Capability:
    """A validated Capability: its name and its price in USDC as decimal text. Raises LocalFault."""
    return Capability(check_name(name, "capability"), parse_usdc(price))


def check_name(name: object, what: str) -> str:
    """A name of an agent or capability; LocalFault `bad-name` for any other value."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise LocalFault(
            "bad-name",
            f"not a name of a{'n' if what[0] in 'aeiou' else ''} {what}: {str(name)[:80]!r}",
            fix="use up to 64 lower-case letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )
    return name


def resolve_argv(argv: Sequence[str], base: Path, path: str | None = None) -> tuple[str, ...]:
    """`argv` as it can be run from any folder: the program found on PATH (or from `base`), and arguments
    that name an existing file relative to `base` made absolute (`python wordcount.py`).

    Raises LocalFault `no-such-program` or `not-executable`.
    """
    if not argv:
        raise LocalFault(
            "no-command", "a command agent needs a command", fix="put it after --: -- python agent.py"
        )
    for argument in argv:
        _check_text(argument, "an argument")
    if sum(len(os.fsencode(argument)) + 1 for argument in argv) > _MAX_ARGV_BYTES:
        raise LocalFault("bad-command", f"the command is longer than {_MAX_ARGV_BYTES} bytes")
    rest = tuple(_absolute_file(argument, base) for argument in argv[1:])
    return (_program(argv[0], base, path), *rest)


def _program(name: str, base: Path, path: str | None) -> str:
    if "/" not in name:
        found = shutil.which(name, path=path)
        if found is None:
            raise LocalFault(
                "no-such-program", f"no program {name!r} on PATH", fix="give its whole path, or install it"
            )
        return os.path.abspath(found)
    # Not resolved: a virtualenv's python is a symbolic link that means something.
    program = os.path.normpath(base / name)
    if not os.path.isfile(program):
        raise LocalFault("no-such-program", f"there is no program {program}", fix="check the path")
    if not os.access(program, os.X_OK):
        raise LocalFault(
            "not-executable",
            f"{program} is not executable",
            fix=f"run `chmod +x {program}`, or name its interpreter: -- python {name}",
        )
    return program


def _absolute_file(argument: str, base: Path) -> str:
    if argument.startswith(("-", "/")) or not argument:
        return argument
    path = base / argument
    try:
        return os.path.normpath(path) if path.is_file() else argument
    except OSError:
        return argument  # too long for a file name, say


class AgentRegistry:
    """The records, in memory and on disk. Every change is on disk before it returns, or not made."""

    def __init__(self, file: Path) -> None:
        """Load `file`; it need not exist. LocalFault `bad-agents-file` if it is damaged: it is left alone."""
        self._file = file
        self._records: dict[str, AgentRecord] = _load(file)
        self.on_change: list[Callable[[], None]] = []

    def list(self) -> tuple[AgentRecord, ...]:
        """By name."""
        return tuple(self._records[name] for name in sorted(self._records))

    def get(self, name: str) -> AgentRecord | None:
        return self._records.get(name)

    def add(
        self,
        record: AgentRecord,
        *,
        base: Path = Path("/"),
        path: str | None = None,
        replace_it: bool = False,
    ) -> AgentRecord:
        """Register an agent, its command resolved against the caller's folder and PATH.

        Raises LocalFault with the fix for whatever is wrong with it, `name-taken` unless `replace_it`.
        """
        if record.kind == "command":
            record = replace(record, argv=resolve_argv(record.argv, base, path))
        check_record(record)
        if record.name in self._records and not replace_it:
            raise LocalFault(
                "name-taken",
                f"there is an agent {record.name!r}",
                fix="--replace puts the new one in its place; or choose another name",
            )
        if len(self._records) >= MAX_AGENTS and record.name not in self._records:
            raise LocalFault("too-many-agents", f"a host has at most {MAX_AGENTS} agents")
        self._commit(self._records | {record.name: record})
        return record

    def remove(self, name: str) -> AgentRecord:
        """Forget an agent; jobs it runs go on. LocalFault `no-such-agent`."""
        found = self.known(name)
        self._commit({key: value for key, value in self._records.items() if key != name})
        return found

    def enable(self, name: str, enabled: bool) -> AgentRecord:
        """Switch an agent on or off. LocalFault `no-such-agent`."""
        changed = replace(self.known(name), enabled=enabled)
        self._commit(self._records | {name: changed})
        return changed

    def known(self, name: str) -> AgentRecord:
        found = self._records.get(name)
        if found is None:
            names = ", ".join(sorted(self._records)[:20]) or "none"
            raise LocalFault("no-such-agent", f"no agent {str(name)[:80]!r}", fix=f"registered are: {names}")
        return found

    def _commit(self, records: dict[str, AgentRecord]) -> None:
        _save(self._file, records.values())
        self._records = records
        for callback in self.on_change:
            callback()


# field -> (least, most, unit for people)
_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "timeout_s": (0.1, 86_400, "seconds"),
    "output_limit_bytes": (1, 16 * 1_048_576, "bytes"),
    "concurrency": (1, 1_024, "jobs at a time"),
}
_MEMORY_MB = (32, 1_048_576)


def check_record(record: AgentRecord) -> None:
    """LocalFault for a record out of bounds. Does not look at the disk."""
    check_name(record.name, "agent")
    if record.kind not in ("command", "attached"):
        raise LocalFault("bad-agent", f"an agent is a command or attached, not {record.kind!r}")
    check_offers(record.capabilities)
    for field, (least, most, unit) in _BOUNDS.items():
        value = getattr(record, field)
        if type(value) not in (int, float) or not least <= value <= most:
            raise LocalFault("bad-agent", f"{field} is {value!r}; it may be {least:g} to {most:g} {unit}")
    low, high = _MEMORY_MB
    if type(record.memory_mb) is not int or not (record.memory_mb == 0 or low <= record.memory_mb <= high):
        raise LocalFault(
            "bad-agent", f"memory_mb is {record.memory_mb!r}; it may be {low} to {high}, or 0 for no limit"
        )
    if type(record.enabled) is not bool:
        raise LocalFault("bad-agent", "enabled is true or false")
    if record.cwd is not None and (not isinstance(record.cwd, str) or not os.path.isabs(record.cwd)):
        raise LocalFault("bad-agent", f"cwd is {record.cwd!r}; it must be an absolute path")
    _check_text(record.cwd or "", "cwd")
    for name, value in record.env:
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise LocalFault("bad-agent", f"not a name of an environment variable: {str(name)[:80]!r}")
        _check_text(value, f"the value of {name}")


def _check_text(value: object, what: str) -> None:
    """What `agents.json` and the system can both hold: UTF-8 without NUL."""
    try:
        if isinstance(value, str) and "\0" not in value:
            value.encode("utf-8")
            return
    except UnicodeEncodeError:
        pass
    raise LocalFault("bad-agent", f"{what} is not UTF-8 text, or has a NUL character in it")


def check_offers(offers: Sequence[Capability]) -> None:
    if not 1 <= len(offers) <= MAX_CAPABILITIES:
        raise LocalFault(
            "bad-agent",
            f"an agent has 1 to {MAX_CAPABILITIES} capabilities, not {len(offers)}",
            fix="name one with --capability, such as text.wordcount",
        )
    names = [check_name(each.name, "capability") for each in offers]
    if len(set(names)) != len(names):
        raise LocalFault("bad-agent", "a capability is there twice")


def record_of(document: object) -> AgentRecord:
    """The record of its JSON form (`AgentRecord.document`), checked. LocalFault `bad-agent` if it is none."""
    if not isinstance(document, dict):
        raise LocalFault("bad-agent", "an agent is a map")
    fields = dict(document)
    unknown = set(fields) - set(AgentRecord.__dataclass_fields__)
    if unknown:
        raise LocalFault("bad-agent", f"unknown field: {sorted(map(str, unknown))[0]!r}")
    try:
        fields["capabilities"] = tuple(
            offer(each["name"], each["price"]) for each in fields.get("capabilities", ())
        )
        fields["argv"] = tuple(fields.get("argv", ()))
        fields["env"] = tuple(sorted(dict(fields.get("env", {})).items()))
        record = AgentRecord(**fields)
    except (TypeError, KeyError, ValueError) as error:
        raise LocalFault("bad-agent", f"not a description of an agent: {error!r}") from None
    check_record(record)
    return record


def _load(file: Path) -> dict[str, AgentRecord]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _bad_file(file, str(error)) from None
    try:
        document = parse_json(data)
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise _bad_file(file, f"it is not of format {_FORMAT}")
        records = [record_of(each) for each in document["agents"]]
    except (BadJson, KeyError, TypeError) as error:
        raise _bad_file(file, str(error)) from None
    except LocalFault as fault:
        raise (fault if fault.code == "bad-agents-file" else _bad_file(file, fault.message)) from None
    return {record.name: record for record in records}


def _bad_file(file: Path, why: str) -> LocalFault:
    return LocalFault(
        "bad-agents-file",
        f"{file} cannot be used: {why}",
        fix="mend it, or move it away and add the agents again; nothing was changed",
    )


def _save(file: Path, records: Iterable[AgentRecord]) -> None:
    """Replace `file` as a whole (0600): after a crash there is the old one or the new one."""
    agents = [record.document(secrets=True) for record in sorted(records, key=lambda each: each.name)]
    text = json.dumps({"format": _FORMAT, "agents": agents}, indent=1, ensure_ascii=False) + "\n"
    temporary: str | None = None
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(fd, "wb") as out:
            out.write(text.encode("utf-8"))
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise LocalFault(
            "disk", f"cannot write {file}: {error.strerror}", fix="see whether the disk is full or read-only"
        ) from None
