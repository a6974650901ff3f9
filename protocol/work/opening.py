"""NEED and UPDATE_PLAN: what is asked for, as a graph of tasks."""

from typing import Any

from swarmd.protocol import limits
from swarmd.protocol.envelope import Envelope, need_id
from swarmd.protocol.limits import S_NS
from swarmd.protocol.terms import Terms
from swarmd.protocol.work.facts import TaskSpec, task_spec
from swarmd.protocol.work.graph import Cycle, Graph
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void


def misplaced(envelope: Envelope) -> str:
    """Why a NEED cannot be what its thread is about, or "" if it can.

    A misplaced one leaves no trace: it comes from another chain than the true NEED, so nodes hear the two in
    either order, and a stranger must not be able to block a thread whose id it can foresee.
    """
    if envelope.thread != need_id(envelope.sender, envelope.payload["fund"]["seq"]):
        return "the id is not that of the sender's account entry"
    return ""


def opens_nothing(envelope: Envelope) -> str:
    """Why a NEED could not be the first of its thread, or "" if it could."""
    try:
        open_need(envelope)
    except Void as void:
        return str(void)
    return ""


def open_need(envelope: Envelope, window_s: int = 0) -> Need:
    """The record of a NEED that is not `misplaced`. Raises Void if it contradicts itself.

    `window_s`: for how long genesis lets results be challenged.
    """
    payload = envelope.payload
    if reason := misplaced(envelope):
        raise Void(reason)
    specs = [task_spec(task) for task in payload["tasks"]]
    check_graph(specs)
    cheapest = sum(spec.max_price for spec in specs)
    need = Need(
        id=envelope.thread,
        owner=envelope.sender,
        envelope=envelope.id,
        epoch=envelope.epoch,
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        title=payload["title"],
        budget=payload["budget"],
        deadline_ns=payload["deadline_ns"],
        fund_seq=payload["fund"]["seq"],
        tasks={spec.id: spec for spec in specs},
        window_s=0 if payload.get("pay") == "at_once" else window_s,
    )
    if cheapest > payload["budget"]:
        raise Void("the tasks' top prices add up to more than the budget")
    if payload["deadline_ns"] - envelope.ts_ns > limits.MAX_DEADLINE_S * S_NS:
        raise Void(f"the deadline is more than {limits.MAX_DEADLINE_S} s away")
    need.record(envelope)
    for spec, raw in zip(specs, payload["tasks"], strict=True):
        _plan_task(need, spec, raw, envelope)
    need.derive_all()
    return need


def _plan_task(need: Need, spec: TaskSpec, raw: Any, envelope: Envelope) -> None:
    need.plan.add_task(spec.id, raw, envelope.lamport, envelope.id)
    for parent in spec.parents:
        need.plan.link(parent, spec.id)


def check_graph(specs: list[TaskSpec]) -> None:
    """Unique ids, known parents, no cycle; Void names what is wrong."""
    parents = {spec.id: spec.parents for spec in specs}
    if len(parents) != len(specs):
        raise Void("two tasks have one id")
    edges = 0
    for spec in specs:
        edges += len(spec.parents)
        unknown = set(spec.parents) - parents.keys()
        if unknown:
            raise Void(f"task {spec.id} comes after {min(unknown)}, which does not exist")
        if len(spec.parents) > 48:
            raise Void(f"task {spec.id} has more than 48 parents")
    if edges > limits.MAX_EDGES_PER_NEED:
        raise Void("too many edges")
    try:
        Graph(parents)
    except Cycle as cycle:
        raise Void(f"the tasks wait for each other: {cycle}") from cycle


def update_plan(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    claimed = {
        claim.task
        for ref in envelope.refs
        if (claim := need.claims.get(ref)) is not None and claim.worker == envelope.sender
    }
    if envelope.sender != need.owner and not claimed:
        raise Void("only the owner, or a worker that refers to its claim, updates a plan")
    ops = envelope.payload["ops"]
    if envelope.sender != need.owner:
        # What is noted of the whole need, its anchor for one, is its owner's word.
        foreign = next(
            (op["task"] for op in ops if op["op"] == "ANNOTATE" and op["task"] not in claimed), None
        )
        if foreign is not None:
            raise Void(f"a worker notes something of {foreign or 'the need'}, which it has not claimed")
    added = tuple(task_spec(op["task"]) for op in ops if op["op"] == "ADD_TASK")
    if added:
        if envelope.sender != need.owner:
            raise Void("only the owner adds tasks")
        base = list(need.tasks.values()) + [
            spec for ref in envelope.refs for spec in need.updates.get(ref, ())
        ]
        check_graph(base + list(added))
    if any(op["op"] == "STATE" for op in ops):
        raise Void("states follow from the verbs of work, not from UPDATE_PLAN")
    fresh = {spec.id for spec in added}
    for op in ops:
        if op["op"] == "LINK" and op["child"] not in fresh:
            raise Void(f"a link into {op['child']}, which this update does not add")
    for op in ops:
        if op["op"] == "ADD_TASK":
            _plan_task(need, task_spec(op["task"]), op["task"], envelope)
        elif op["op"] == "LINK":
            need.plan.link(op["parent"], op["child"])
        else:
            need.plan.annotate(op["task"], op["key"], op["value"], envelope.lamport, envelope.id)
    if added:
        need.updates[envelope.id] = added
    return []
