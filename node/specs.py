"""From a need as people write it (JSON) to the payload of a NEED: inputs become content, prices become minor units."""

import re
from collections.abc import Callable
from typing import Any

from swarmd.protocol.amounts import parse_usdc
from swarmd.protocol.canonical_json import BadJson, canonical_json
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import parse_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.kinds import TASK_ID
from swarmd.protocol.limits import MAX_INLINE_BYTES

DEFAULT_DEADLINE_S = 300
MAX_INLINE_BLOCKS = 16
Add = Callable[[bytes], tuple[bytes, int]]
_SPEC_KEYS = {"title", "budget", "deadline_s", "tasks", "pay", "agent"}
_TASK_KEYS = {"id", "capability", "input", "max_price", "verify", "after"}


def _bad(where: str, why: str) -> LocalFault:
    return LocalFault("bad-need", f"{where}: {why}", fix="see swarmd need post --help for the format")


def _only(value: Any, where: str, known: set[str], needed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(where, "must be an object")
    unknown = sorted(set(map(str, value)) - known)
    if unknown:
        raise _bad(where, f"unknown field {unknown[0]!r}; there are {', '.join(sorted(known))}")
    lacking = sorted(needed - set(value))
    if lacking:
        raise _bad(where, f"field {lacking[0]!r} is missing")
    return value


class SpecReader:
    """`add` stores bytes as content and returns (CID, size). Small content is not stored here: it travels inline in
    the NEED, and is kept in the transaction of that."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self.inline: list[bytes] = []

    def need(self, spec: Any) -> dict[str, Any]:
        """The arguments of the engine's `need.post`; LocalFault `bad-need` naming the field."""
        _only(spec, "need", _SPEC_KEYS, {"tasks"})
        tasks = spec["tasks"]
        if not isinstance(tasks, list) or not tasks:
            raise _bad("tasks", "a list of at least one task")
        budget = self._amount(spec.get("budget"), "budget")
        share = budget // len(tasks)
        title = spec.get("title") or str(tasks[0].get("capability", "") if isinstance(tasks[0], dict) else "")
        deadline_s = spec.get("deadline_s", DEFAULT_DEADLINE_S)
        if type(deadline_s) is not int:
            raise _bad("deadline_s", "a whole number of seconds")
        if not isinstance(title, str):
            raise _bad("title", "must be text")
        if spec.get("pay") not in (None, "at_once"):
            raise _bad("pay", '"at_once", or nothing')
        agent = spec.get("agent")
        if agent is not None and (not isinstance(agent, str) or not re.fullmatch(TASK_ID, agent)):
            raise _bad("agent", "a name: letters, digits, '.', '_', '-', at most 64")
        return {
            "title": title,
            "budget": budget,
            "deadline_s": deadline_s,
            "tasks": [self._task(task, f"tasks[{i}]", share) for i, task in enumerate(tasks)],
            "inline": self.inline,
            **({"pay": spec["pay"]} if spec.get("pay") else {}),
            **({"agent": agent} if agent is not None else {}),
        }

    def _amount(self, value: Any, where: str) -> int:
        if not isinstance(value, str):
            raise _bad(where, 'an amount of USDC as text, such as "1.50"')
        try:
            return parse_usdc(value)
        except LocalFault as fault:
            raise _bad(where, fault.message) from None

    def _task(self, task: Any, where: str, share: int) -> dict[str, Any]:
        _only(task, where, _TASK_KEYS, {"capability"})
        inputs = task.get("input", {})
        if not isinstance(inputs, dict):
            raise _bad(f"{where}.input", "must be an object: argument -> where it comes from")
        price = task.get("max_price")
        body: dict[str, Any] = {
            "id": task.get("id", "task"),
            "capability": task["capability"],
            "max_price": share if price is None else self._amount(price, f"{where}.max_price"),
            "input": {name: self._binding(value, f"{where}.input.{name}") for name, value in inputs.items()},
            "verify": self._verify(task.get("verify", {"type": "reexec"}), f"{where}.verify"),
        }
        if task.get("after"):
            body["after"] = task["after"]
        return body

    def _binding(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _bad(where, 'an object with "text", "json", "bytes", "cid" or "task"')
        if "text" in value and isinstance(value["text"], str):
            return {"cid": self._content(value["text"].encode(), where), "as": "text"}
        if "bytes" in value and isinstance(value["bytes"], bytes):
            return {"cid": self._content(value["bytes"], where), "as": "bytes"}
        if "json" in value:
            return {"cid": self._content(self._json(value["json"], where), where), "as": "json"}
        if "cid" in value:
            kind = value.get("as", "json")
            if kind not in ("json", "text", "bytes"):
                raise _bad(f"{where}.as", "json, text or bytes")
            try:
                return {"cid": Link(parse_cid(value["cid"])), "as": kind}
            except RemoteFault as fault:
                raise _bad(f"{where}.cid", fault.message) from None
        if "task" in value:
            pointer = value.get("pointer", "")
            if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
                raise _bad(f"{where}.pointer", 'a JSON Pointer such as "/chunks/0", or ""')
            return {"task": value["task"], "pointer": pointer}
        raise _bad(where, 'an object with "text", "json", "bytes", "cid" or "task"')

    def _json(self, value: Any, where: str) -> bytes:
        try:
            return canonical_json(value)
        except BadJson as error:
            raise _bad(where, str(error)) from None

    def _verify(self, value: Any, where: str) -> dict[str, Any]:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind == "reexec":
            return {"type": "reexec"}
        if kind == "schema":
            schema = value.get("schema")
            if not isinstance(schema, dict | bool):
                raise _bad(f"{where}.schema", "a JSON Schema")
            return {"type": "schema", "schema": self._content(self._json(schema, where), where)}
        if kind == "command":
            return {"type": "command", "name": value.get("name")}
        raise _bad(f"{where}.type", "reexec, schema or command")

    def _content(self, data: bytes, where: str) -> Link:
        if data in self.inline:
            return Link(raw_cid(data))
        if len(data) <= MAX_INLINE_BYTES and len(self.inline) < MAX_INLINE_BLOCKS:
            self.inline.append(data)
            return Link(raw_cid(data))
        return Link(self._add(data)[0])
