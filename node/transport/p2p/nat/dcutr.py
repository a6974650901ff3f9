"""DCUtR (libp2p specs): puts a direct connection in the place of a relayed one, through both sides' NATs.

Who was reached through the relay begins: it tells where it is seen, learns where the other is, first just dials,
and then both dial at the same moment from the ports they listen on, so that each SYN finds the way opened by the
other's. That works through NATs that keep ports; behind others the relayed connection stays.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.bootstrap.addresses import is_relayed
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.host import MeshHost, ip_of
from swarmd.node.transport.p2p.identify import readable
from swarmd.node.transport.p2p.kad.service import Network
from swarmd.node.transport.p2p.rates import Bucket
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED, open_stream, read_message, write_message
from swarmd.protocol.faults import RemoteFault

log = logging.getLogger(__name__)

PROTOCOL = TProtocol("/libp2p/dcutr")
MAX_BYTES = 4_096
MAX_ADDRS = 4
ROUNDS = 3
UP_WITHIN_S = 10.0
MESSAGE_TIMEOUT_S = 10.0
DIRECT_TIMEOUT_S = 3.0
PUNCH_TIMEOUT_S = 3.0
# A peer can make us dial addresses of its choosing this often.
ROUNDS_PER_S = 0.05
ROUNDS_BURST = 2 * ROUNDS


class HolePuncher:
    """A plugin of the transport. `seen_at` are the addresses at which others see our listening ports."""

    def __init__(
        self,
        network: Network,
        seen_at: Callable[[], Sequence[str]],
        listen_ports: Callable[[], Sequence[int]],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._network = network
        self._seen_at = seen_at
        self._listen_ports = listen_ports
        self._host: MeshHost | None = None
        self._busy: set[ID] = set()
        self._allowed: dict[bytes, Bucket] = {}

    def attach(self, host: MeshHost) -> None:
        self._host = host
        self._busy.clear()
        host.set_stream_handler(PROTOCOL, self._serve)

    async def run(self) -> None:
        await trio.sleep_forever()

    def _is_direct(self, peer: ID) -> bool:
        assert self._host is not None
        conns = self._host.swarm.get_connections(peer)
        return any(not conn.is_closed and ip_of(conn.muxed_conn) is not None for conn in conns)

    # The side that was reached through the relay ---------------------------------------------------------

    async def begin(self, peer: ID) -> None:
        """Try for a direct connection to a peer that just reached us through a relay."""
        if self._host is None or peer in self._busy or self._is_direct(peer):
            return
        self._busy.add(peer)
        self.counters["begun"] += 1
        try:
            if await self._upgrade(peer):
                self.counters["direct"] += 1
                await self._leave_relay(peer)
            else:
                self.counters["relayed"] += 1
        except (PeerGone, RemoteFault, SwarmException, *NOT_ANSWERED) as error:
            log.debug("no direct connection to %s: %r", peer, error)
        finally:
            self._busy.discard(peer)

    async def _upgrade(self, peer: ID) -> bool:
        assert self._host is not None
        with trio.fail_after(UP_WITHIN_S):
            while not any(each.peer_id == str(peer) for each in self._network.peers()):  # noqa: ASYNC110
                await trio.sleep(0.05)  # the other side needs the connection in place too
        stream = await open_stream(self._host, peer, PROTOCOL, MESSAGE_TIMEOUT_S)
        try:
            for attempt in range(ROUNDS):
                began_s = trio.current_time()
                with trio.fail_after(MESSAGE_TIMEOUT_S):
                    await write_message(stream, self._message(HolePunch.CONNECT))
                    answer = await read_message(stream, HolePunch, MAX_BYTES)
                rtt_s = trio.current_time() - began_s
                if answer.type != HolePunch.CONNECT:
                    raise RemoteFault("bad-dcutr-message", f"type {answer.type}")
                theirs = readable(peer, answer.ObsAddrs)[:MAX_ADDRS]
                if attempt == 0 and await self._dial_directly(peer, theirs):
                    return True
                with trio.fail_after(MESSAGE_TIMEOUT_S):
                    await write_message(stream, self._message(HolePunch.SYNC))
                await trio.sleep(rtt_s / 2)
                if await self._punch(peer, theirs, initiator=False):
                    return True
        finally:
            with trio.move_on_after(1.0, shield=True):
                await stream.reset()
        return self._is_direct(peer)

    async def _dial_directly(self, peer: ID, addrs: Sequence[str]) -> bool:
        """Perhaps the other is not behind a NAT at all: then it needs no hole."""
        assert self._host is not None
        for addr in addrs:
            with trio.move_on_after(DIRECT_TIMEOUT_S / max(1, len(addrs))):
                try:
                    await self._host.swarm.dial_addr(Multiaddr(addr), peer)
                    return True
                except SwarmException as error:
                    log.debug("not directly: %s: %s", addr, error)
        return self._is_direct(peer)

    async def _leave_relay(self, peer: ID) -> None:
        assert self._host is not None
        for conn in self._host.swarm.get_connections(peer):
            if ip_of(conn.muxed_conn) is None:
                await conn.close()

    # The side that dialed through the relay --------------------------------------------------------------

    async def _serve(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        theirs: list[str] = []
        try:
            for _ in range(2 * ROUNDS):
                with trio.fail_after(2 * MESSAGE_TIMEOUT_S):
                    said = await read_message(stream, HolePunch, MAX_BYTES)
                if said.type == HolePunch.CONNECT:
                    theirs = readable(peer, said.ObsAddrs)[:MAX_ADDRS]
                    with trio.fail_after(MESSAGE_TIMEOUT_S):
                        await write_message(stream, self._message(HolePunch.CONNECT))
                elif said.type == HolePunch.SYNC:
                    if not theirs or not self._may_dial(peer):
                        break
                    if await self._punch(peer, theirs, initiator=True):
                        self.counters["direct"] += 1
                        break
                else:
                    raise RemoteFault("bad-dcutr-message", f"type {said.type}")
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
        except NOT_ANSWERED as error:
            log.debug("dcutr stream of %s ended: %r", peer, error)
        with trio.move_on_after(1.0):
            await stream.reset()

    def _may_dial(self, peer: ID) -> bool:
        bucket = self._allowed.pop(peer.to_bytes(), None) or Bucket(ROUNDS_PER_S, ROUNDS_BURST)
        self._allowed[peer.to_bytes()] = bucket
        while len(self._allowed) > 1_024:
            del self._allowed[next(iter(self._allowed))]
        return bucket.try_take()

    # Both ------------------------------------------------------------------------------------------------

    def _message(self, kind: "HolePunch.Type.ValueType") -> HolePunch:
        message = HolePunch(type=kind)
        if kind == HolePunch.CONNECT:
            own = [addr for addr in self._seen_at() if not is_relayed(addr)][:MAX_ADDRS]
            message.ObsAddrs.extend(Multiaddr(addr.rpartition("/p2p/")[0] or addr).to_bytes() for addr in own)
        return message

    async def _punch(self, peer: ID, addrs: Sequence[str], *, initiator: bool) -> bool:
        """Dial all addresses at this moment from our listening port. The roles in the handshake are fixed, since
        both sides dial: who dialed through the relay is its initiator."""
        assert self._host is not None
        swarm = self._host.swarm
        done = trio.Event()

        async def dial(addr: str, port: int) -> None:
            any_ip = "::" if addr.startswith("/ip6/") else "0.0.0.0"
            try:
                call = swarm.dial_addr if initiator else swarm.dial_addr_as_responder
                await call(Multiaddr(addr), peer, (any_ip, port))
                done.set()
            except SwarmException as error:
                log.debug("no hole to %s: %s", addr, error.__cause__ or error)

        with trio.move_on_after(PUNCH_TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for addr in addrs:
                    for port in list(self._listen_ports())[:2]:
                        nursery.start_soon(dial, addr, port)
                await done.wait()
                nursery.cancel_scope.cancel()
        return self._is_direct(peer)
