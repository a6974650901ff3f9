"""The daemon's part in a backup: it copies its databases, since the chain's can be read by nobody else."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from swarmd.node.backup.snapshot import SNAPSHOT_FOLDER, copy_databases
from swarmd.node.chain import ChainService
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.faults import CorruptState, LocalFault


def backup_ops(home: Path, chain: ChainService) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
    """`backup.snapshot` {folder}: copies them into that folder, which must be HOME/snapshot."""

    async def snapshot(call: LocalCall) -> Any:
        folder = home / SNAPSHOT_FOLDER
        # The caller names it, so that one that means another home notices.
        if not _same(folder, call.args.get("folder")):
            raise LocalFault("bad-args", f"the folder must be {folder}, made by the caller")
        try:
            # The runner goes on meanwhile; what waits are anchors.
            await chain.copying(lambda copy: copy_databases(home, folder, copy))
        except CorruptState as fault:
            # A reader's trouble. If the daemon's own reads meet it, it will stop by itself.
            raise LocalFault(fault.code, fault.message, fix=fault.fix) from None
        return {"folder": str(folder)}

    return {"backup.snapshot": snapshot}


def _same(folder: Path, named: Any) -> bool:
    try:
        return type(named) is str and folder.samefile(named)
    except OSError:
        return False
