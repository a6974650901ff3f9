"""The NATS side of the hybrid mode: frames of this mesh on one NATS subject, through nats-py under trio-asyncio.

NATS carries what P2P does, signed as it is: a NATS server, or whoever may publish on the subject, can withhold
frames but not forge them. It is optional: pip install 'swarmd[nats]'.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import trio
from swarmd.node.bridges.hybrid import HybridInbox
from swarmd.protocol.faults import LocalFault

log = logging.getLogger(__name__)

_QUEUE_FRAMES = 4_096
_CONNECT_TIMEOUT_S = 5
_RETRY_MIN_S = 0.2
_RETRY_MAX_S = 15.0


def subject_of(mesh: str) -> str:
    """`swarm.MESH.flush`; a dot would part a subject in two."""
    return f"swarm.{mesh.replace('.', '_')}.flush"


def _trio_asyncio() -> Any:
    """Without the loops that it has everybody make from then on: mDNS closes the loop of its thread from another one,
    and with one of these it failed, and the daemon with it."""
    own = asyncio.new_event_loop
    import trio_asyncio  # type: ignore[import-untyped]

    asyncio.new_event_loop = asyncio.events.new_event_loop = own
    return trio_asyncio


class NatsBridge:
    """Publishes our frames on NATS and offers `inbox` those of others. LocalFault `no-nats` without nats-py."""

    def __init__(self, url: str, mesh: str, inbox: HybridInbox) -> None:
        try:
            import nats

            trio_asyncio = _trio_asyncio()
        except ImportError:
            raise LocalFault(
                "no-nats", "the NATS bridge needs nats-py and trio-asyncio", fix="pip install 'swarmd[nats]'"
            ) from None
        self._nats: Any = nats
        self._trio_asyncio: Any = trio_asyncio
        self.inbox = inbox
        self.connected = False
        self.counters = {"out": 0, "in": 0, "dropped": 0, "too_big": 0, "connects": 0}
        self._url = url
        self._subject = subject_of(mesh)
        self._send, self._receive = trio.open_memory_channel[bytes](_QUEUE_FRAMES)

    def publish(self, frame: bytes) -> None:
        """Queue a frame of ours. Never waits; dropped and counted while the server is away."""
        try:
            self._send.send_nowait(frame)
        except trio.WouldBlock:
            self.counters["dropped"] += 1

    def heard(self, frame: bytes) -> None:
        """P2P brought this one."""
        self.inbox.heard(frame)

    def status(self) -> Mapping[str, Any]:
        return {
            "url": self._url.rsplit("@", 1)[-1],  # without a password
            "subject": self._subject,
            "connected": self.connected,
            **self.counters,
            **self.inbox.status(),
        }

    async def run(self) -> None:
        """Until cancelled. A server that is away is tried again, for ever; P2P goes on meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.inbox.run)
            pause_s = _RETRY_MIN_S
            while True:
                before = self.counters["connects"]
                try:
                    async with self._trio_asyncio.open_loop():
                        await self._serve()
                except Exception as error:
                    # The isolation boundary of the bridge: whatever asyncio, the network or the server makes of
                    # it, the daemon and P2P go on.
                    log.debug("the NATS bridge ended: %r", error)
                if self.counters["connects"] > before:
                    pause_s = _RETRY_MIN_S
                log.warning("NATS at %s is away; trying again in %.1f s", self.status()["url"], pause_s)
                await trio.sleep(pause_s)
                pause_s = min(_RETRY_MAX_S, 2 * pause_s)

    async def _serve(self) -> None:
        """One connection, from dialing to its end."""
        as_trio = self._trio_asyncio.aio_as_trio
        ended = trio.Event()

        async def on_closed() -> None:
            ended.set()

        async def on_error(error: Exception) -> None:
            log.debug("NATS: %r", error)

        async def on_message(message: Any) -> None:
            self.counters["in"] += 1
            self.inbox.offer(message.data)

        client = await as_trio(self._nats.connect)(
            self._url,
            allow_reconnect=False,
            connect_timeout=_CONNECT_TIMEOUT_S,
            no_echo=True,
            error_cb=on_error,
            closed_cb=on_closed,
            disconnected_cb=on_closed,
        )
        try:
            await as_trio(client.subscribe)(self._subject, cb=on_message)
            await as_trio(client.flush)()
            self.connected = True
            self.counters["connects"] += 1
            log.info("bridged to NATS at %s, subject %s", self.status()["url"], self._subject)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, client)
                await ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.connected = False
            with trio.move_on_after(1, shield=True):
                await as_trio(client.close)()

    async def _pump(self, client: Any) -> None:
        as_trio = self._trio_asyncio.aio_as_trio
        async for frame in self._receive:
            if len(frame) > client.max_payload:
                self.counters["too_big"] += 1
                continue
            await as_trio(client.publish)(self._subject, frame)
            self.counters["out"] += 1
