"""The `checkpoint.*` operations of the local socket."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio
from swarmd.node.checkpoint import files
from swarmd.node.checkpoint.records import Kept
from swarmd.node.checkpoint.service import Checkpoints
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.batch import verify_proof
from swarmd.protocol.checkpoint import unpacking
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Commanded

Op = Callable[[LocalCall], Awaitable[Any]]


def checkpoint_ops(checkpoints: Checkpoints, runner: Runner) -> Mapping[str, Op]:
    """`list` {limit}, `show` {epoch}, `export` {epoch, file}, `advance` {}, `retrieve` {need}."""
    records = checkpoints.records

    async def listed(call: LocalCall) -> Any:
        limit = _number(call, "limit", 50)
        newest = runner.state.epoch
        found = list(records.since(max(1, newest - limit + 1), limit))
        return {**checkpoints.status(), "checkpoints": [_row(kept) for kept in reversed(found)]}

    async def show(call: LocalCall) -> Any:
        epoch = _number(call, "epoch", runner.state.epoch)
        kept = records.at(epoch)
        if kept is None:
            raise LocalFault(
                "no-checkpoint", f"no checkpoint opens epoch {epoch} here", fix="see swarmd checkpoint list"
            )
        mesh_id = runner.genesis.mesh_id
        rosters = records.rosters()
        said = [verify_proof(mesh_id, proof) for proof in kept.certificate]
        return {
            **_row(kept),
            "proposer": said[0].sender,
            "round": said[0].payload["round"],
            "at_ns": said[0].ts_ns,
            "signers": sorted({vote.sender for vote in said[1:]}),
            "roster": list(rosters[epoch].members),
            "next_roster": list(rosters[epoch + 1].members),
            "whole": records.packed(kept.state) is not None,
        }

    async def export(call: LocalCall) -> Any:
        epoch, to = _number(call, "epoch", runner.state.epoch), Path(str(call.args.get("file")))
        size = files.export(records, runner.genesis, epoch, to)
        return {"epoch": epoch, "file": str(to), "bytes": size}

    async def advance(call: LocalCall) -> Any:
        before = runner.state.epoch
        reply = runner.tell(lambda at_ns: Commanded("epoch.advance", {}, at_ns), reply=True)
        assert reply is not None
        await reply.wait()
        while runner.state.epoch == before:  # noqa: ASYNC110  an operator's command, seconds apart
            await trio.sleep(0.05)
        return {"epoch": runner.state.epoch}

    async def retrieve(call: LocalCall) -> Any:
        name = checkpoints.archive.find(str(call.args.get("need")))
        if name is None:
            raise LocalFault("unknown-need", "no need of that id was closed by a checkpoint here")
        return checkpoints.archive.retrieve(name)

    return {
        "checkpoint.list": listed,
        "checkpoint.show": show,
        "checkpoint.export": export,
        "checkpoint.advance": advance,
        "checkpoint.retrieve": retrieve,
    }


def _row(kept: Kept) -> dict[str, Any]:
    prev, root = unpacking.links(kept.head)
    return {
        "epoch": kept.epoch,
        "state": kept.state.hex(),
        "prev": prev.hex(),
        "root": root.hex(),
        "ops": unpacking.ops_of(kept.head),
        "signatures": len(kept.certificate) - 1,
    }


def _number(call: LocalCall, name: str, default: int) -> int:
    value = call.args.get(name, default)
    if type(value) is not int or value < 0:
        raise LocalFault("bad-args", f"{name} is a number")
    return value
