"""What the node itself needs of its content, whether anybody pinned it or not."""

from collections.abc import Iterator, Mapping
from typing import Any

from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.state import State


def roots_of_needs(state: State) -> Iterator[bytes]:
    """The inputs, schemas and results of every need that the state still has."""
    for need in state.needs.values():
        for spec in need.all_specs():
            yield from _roots_of_task(spec.input, spec.verify)
        for run in need.runs.values():
            if run.commit is not None:
                yield run.commit.result
            if run.final is not None:
                yield run.final.result


def roots_said(envelope: Envelope) -> Iterator[bytes]:
    """What `roots_of_needs` may have more, or have for longer, after this envelope."""
    payload = envelope.payload
    if envelope.kind == kinds.NEED:
        for task in payload["tasks"]:
            yield from _roots_of_task(task["input"], task["verify"])
    elif envelope.kind == kinds.UPDATE_PLAN:
        for op in payload["ops"]:
            if op["op"] == "ADD_TASK":
                yield from _roots_of_task(op["task"]["input"], op["task"]["verify"])
    elif envelope.kind == kinds.COMMIT:
        yield bytes(payload["result"])


def _roots_of_task(inputs: Mapping[str, Mapping[str, Any]], verify: Mapping[str, Any]) -> Iterator[bytes]:
    yield from (bytes(each["cid"]) for each in inputs.values() if "cid" in each)
    if "schema" in verify:
        yield bytes(verify["schema"])
