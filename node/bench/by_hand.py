"""The rules of the policies that ship as plain Python, to measure them against: same facts, same reasons.

A concern applies if its section is in the data, as in the composed policies.

What a node would run if policies were code of its own: fast, and neither metered, nor signed, nor the operator's.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from swarmd.protocol.kinds import KINDS
from swarmd.protocol.limits import MAX_PAYLOAD_BYTES

_KINDS = frozenset(KINDS)
_GATES = frozenset(("preflight", "ingress", "commit"))


def reasons(facts: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """The deny rules hit, sorted."""
    kind, gate, sender, role = (facts.get(name) for name in ("kind", "gate", "sender", "role"))
    found = []
    if gate not in _GATES:
        found.append("gate-unknown")
    if not (type(kind) is str and kind in _KINDS):
        found.append("kind-not-allowed")
    if gate != "commit" and not (
        _number(size := facts.get("payload_size")) and 0 <= size < MAX_PAYLOAD_BYTES
    ):
        found.append("payload-too-big")
    if type(sender) is not str:
        found.append("sender-missing")
    elif sender in data["deny"]["senders"]:
        found.append("sender-denied")
    budget = facts.get("budget")
    if "budget" in facts and not (_number(budget) and 0 <= budget <= data["limits"]["max_budget"]):
        found.append("budget-over-cap")
    if "roles" in data:
        _role(kind, sender, role, data["roles"], found)
    if kind == "NEED":
        _need(facts, data, found)
    _lists(facts, data, found)
    if "local" in facts:
        _local(facts, data, found)
    if gate == "commit":
        _result(facts, data, found)
    return sorted(found)


def _role(kind: Any, sender: Any, role: Any, roles: Mapping[str, Any], found: list[str]) -> None:
    if role not in ("member", "verifier"):
        found.append("role-unknown")
    if role is not None and kind in roles["kinds"] and role not in roles["kinds"][kind]:
        found.append("role-not-allowed")
    if kind in roles["denied"].get(sender, ()):
        found.append("kind-denied-to-sender")


def _need(facts: Mapping[str, Any], data: Mapping[str, Any], found: list[str]) -> None:
    spending, rates = data.get("spending"), data.get("rates")
    limits = []
    if spending is not None:
        most = spending["max_budget"].get(facts.get("role"))
        limits += [
            ("need-over-role-limit", "budget", most),
            ("task-over-limit", "max_price", spending["max_price"]),
        ]
    if rates is not None:
        limits += [
            ("too-many-tasks", "tasks", rates["max_tasks"]),
            ("deadline-too-far", "deadline_s", rates["max_deadline_s"]),
        ]
    for rule, name, most in limits:
        value = facts.get(name)
        if not (_number(value) and _number(most) and value <= most):
            found.append(rule)
    capabilities = facts.get("capabilities")
    if "capabilities" in data and not (type(capabilities) is list and capabilities):
        found.append("capabilities-missing")
    if "content_types" in data and type(facts.get("content_types")) is not list:
        found.append("content-types-missing")


def _lists(facts: Mapping[str, Any], data: Mapping[str, Any], found: list[str]) -> None:
    lists, capabilities = data.get("capabilities"), facts.get("capabilities")
    if lists is not None and type(capabilities) is list:
        if not all(_matches(each, lists["allowed"]) for each in capabilities):
            found.append("capability-not-allowed")
        if any(_matches(each, lists["denied"]) for each in capabilities):
            found.append("capability-denied")
    types, content_types = data.get("content_types"), facts.get("content_types")
    if types is not None and type(content_types) is list:
        if not all(each in types["allowed"] for each in content_types):
            found.append("content-type-not-allowed")


def _matches(capability: Any, patterns: list[str]) -> bool:
    return any(
        capability == pattern
        or (pattern.endswith("*") and type(capability) is str and capability.startswith(pattern[:-1]))
        for pattern in patterns
    )


def _local(facts: Mapping[str, Any], data: Mapping[str, Any], found: list[str]) -> None:
    spent, needs, budget = (
        facts["local"].get("spent_24h"),
        facts["local"].get("needs_1h"),
        facts.get("budget"),
    )
    if "spending" in data:
        known = _number(budget) and _number(spent)
        if not (known and spent + budget <= data["spending"]["max_per_day"]):
            found.append("daily-spending-over-limit")
    if "rates" in data and not (_number(needs) and needs < data["rates"]["max_needs_per_hour"]):
        found.append("too-many-needs")


def _result(facts: Mapping[str, Any], data: Mapping[str, Any], found: list[str]) -> None:
    claimed, actual, limits = facts.get("claimed", {}), facts.get("actual", {}), data["telemetry"]
    size, cpu = claimed.get("size"), claimed.get("cpu_ms")
    if not (_number(size) and _number(cpu) and _number(actual.get("size"))):
        found.append("telemetry-missing")
    if "size" in claimed and "size" in actual and size != actual["size"]:
        found.append("size-misstated")
    if "cpu_ms" in actual:
        most = actual["cpu_ms"]
        plausible = _number(most) and _number(cpu) and cpu <= most * limits["max_ratio"] + limits["slack_ms"]
        if not plausible:
            found.append("cpu-overstated")


def _number(value: Any) -> TypeGuard[float]:
    return type(value) is int or type(value) is float
