"""The `state.*` operations of the local socket."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node.migrations import NEWEST
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.digest import Digests


def state_ops(
    runner: Runner, replica: Callable[[], Mapping[str, Any]]
) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
    """`state.show` {}: digests, what the journal holds, and how the replica is."""

    digests = Digests()

    async def show(call: LocalCall) -> Any:
        state, heads = runner.state, runner.chains.heads
        inputs, size = runner.journal.size()
        return {
            "state_digest": digests.state(state).hex(),
            "mesh_digest": digests.mesh(state).hex(),
            "epoch": max((epoch for _, epoch, _ in heads), default=0),
            "needs": len(state.needs),
            "batches": sum(head.seq + 1 for head in heads.values()),
            "chains": len(heads),
            "authors": len({author for author, _, _ in heads}),
            "journal": {"schema": NEWEST, "inputs": inputs, "bytes": size},
            "replica": dict(replica()),
        }

    return {"state.show": show}
