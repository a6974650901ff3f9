"""`[content] backend = "kubo"` in the daemon: what this node adds and fetches goes to the kubo of this host as well.

The node's own store stays the one that its journal counts on; kubo gets each content whole, pins it by the strategy, and
serves it to IPFS. When kubo is away the node goes on, and kubo gets what it missed when it is back.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import trio
from swarmd.node.content import pinning
from swarmd.node.content.dag import walk
from swarmd.node.content.kubo import GROUP_BLOCKS, GROUP_BYTES, KuboStore
from swarmd.node.content.pinning import PinStrategy
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import LocalFault, RemoteFault

log = logging.getLogger(__name__)

MAX_WAITING: Final = 16_384
_RETRY_MIN_S: Final = 1.0
_RETRY_MAX_S: Final = 60.0

Get = Callable[[bytes], bytes | None]


class KuboMirror:
    """`get` reads the node's own store, on the daemon's loop."""

    def __init__(self, kubo: KuboStore, get: Get, strategy: PinStrategy) -> None:
        self.kubo = kubo
        self.mirrored = 0
        self.dropped = 0
        self.error = ""  # why kubo does not take content now; "" while it does
        self._get = get
        self._strategy = strategy
        self._waiting: OrderedDict[bytes, None] = OrderedDict()
        self._woken = trio.Event()
        self.idle = trio.Event()

    def add(self, cid: bytes) -> None:
        """The content under `cid` is here now. Only queues."""
        if cid not in self._waiting and len(self._waiting) >= MAX_WAITING:
            self._waiting.popitem(last=False)
            self.dropped += 1
        self._waiting[cid] = None
        self.idle = trio.Event()
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = _RETRY_MIN_S
        while True:
            if not self._waiting:
                self.idle.set()
                self._woken = trio.Event()
                await self._woken.wait()
                continue
            cid = next(iter(self._waiting))
            try:
                await self._mirror(cid)
                self._waiting.pop(cid, None)
                self.error, pause_s = "", _RETRY_MIN_S
                self.mirrored += 1
            except RemoteFault as fault:
                log.debug("%s is not mirrored: %s", cid_text(cid), fault)
                self._waiting.pop(cid, None)  # its author's fault: it will not get better
            except LocalFault as fault:
                if fault.code == "content-missing":
                    self._waiting.pop(cid, None)  # it is not here any more
                    continue
                if not self.error:
                    log.warning("kubo does not take content: %s", fault)
                self.error = fault.message
                await trio.sleep(pause_s)
                pause_s = min(_RETRY_MAX_S, pause_s * 2)

    async def _mirror(self, root: bytes) -> None:
        """Send every block under `root`, then pin."""
        group: dict[bytes, bytes] = {}
        size = total = 0
        for cid in walk(root, self._get):
            block = self._get(cid)
            if block is None:
                raise LocalFault("content-missing", f"block {cid_text(cid)} is not here")
            group[cid] = block
            size, total = size + len(block), total + len(block)
            if size >= GROUP_BYTES or len(group) >= GROUP_BLOCKS:
                await self._send(group)
                group, size = {}, 0
            await trio.lowlevel.checkpoint()
        await self._send(group)
        await trio.to_thread.run_sync(
            pinning.keep, self.kubo, self._strategy, root, total, int(time.time()), abandon_on_cancel=True
        )

    async def _send(self, group: dict[bytes, bytes]) -> None:
        if group:
            await trio.to_thread.run_sync(self.kubo.put_many, list(group.items()), abandon_on_cancel=True)

    def status(self) -> dict[str, Any]:
        """For operators."""
        return {
            "addr": self.kubo.addr,
            "mirrored": self.mirrored,
            "waiting": len(self._waiting),
            "dropped": self.dropped,
            "error": self.error,
        }
