"""AutoNAT v1 (libp2p specs): peers dial us back, so that we know whether others reach us; we do so for them.

A server dials only the address that it sees the asker at, and a few times a minute: nobody can point it at others.
It opens TCP, checks by noise that the asker is there, and closes.
"""

import ipaddress
import logging
from collections.abc import Callable, Sequence

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.autonat.pb.autonat_pb2 import Message
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.bootstrap.addresses import ip_of, is_relayed
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.host import MeshHost
from swarmd.node.transport.p2p.host import ip_of as remote_ip
from swarmd.node.transport.p2p.identify import identify, readable
from swarmd.node.transport.p2p.kad.service import Network
from swarmd.node.transport.p2p.patches import BufferedTCPStream
from swarmd.node.transport.p2p.pnet import protect
from swarmd.node.transport.p2p.rates import Bucket
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED, ask, read_message, write_message
from swarmd.protocol.faults import RemoteFault

log = logging.getLogger(__name__)

PROTOCOL = TProtocol("/libp2p/autonat/1.0.0")
MAX_BYTES = 8_192
MAX_ADDRS = 4
DIAL_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 30.0
# How often we dial back: for one peer, and for all of them.
PER_PEER_PER_S = 0.1
PER_PEER_BURST = 5
MAX_DIALS_AT_ONCE = 4
# How often we ask, and whom.
FIRST_AFTER_S = 1.0
UNKNOWN_EVERY_S = 15.0
KNOWN_EVERY_S = 300.0
MAX_SERVERS = 4
ENOUGH_FAILURES = 2


class AutoNat:
    """A plugin of the transport. `kind` is "unknown", "public" or "private"; `on_change` is called when it changes.

    `own_addrs` are the addresses to be tried: what we listen on.
    """

    def __init__(self, network: Network, own_addrs: Callable[[], Sequence[str]]) -> None:
        self.kind = "unknown"
        self.confirmed = ""  # the address at which a peer reached us
        self.observed: dict[str, str] = {}  # peer id -> our IP as it sees it
        self.told: dict[str, str] = {}  # peer id -> what it said last
        self.on_change: Callable[[], None] = lambda: None
        self._network = network
        self._own_addrs = own_addrs
        self._host: MeshHost | None = None
        self._woken = trio.Event()
        self._served: dict[bytes, Bucket] = {}
        self._dialing = trio.CapacityLimiter(MAX_DIALS_AT_ONCE)

    def attach(self, host: MeshHost) -> None:
        self._host = host
        host.set_stream_handler(PROTOCOL, self._serve)

    async def run(self) -> None:
        while True:
            self._woken = trio.Event()
            await self.check()
            with trio.move_on_after(UNKNOWN_EVERY_S if self.kind == "unknown" else KNOWN_EVERY_S):
                await self._woken.wait()
                await trio.sleep(FIRST_AFTER_S)

    def on_peer_up(self, peer_id: str) -> None:
        if self.kind == "unknown":
            self._woken.set()

    # Asking --------------------------------------------------------------------------------------------

    async def check(self) -> str:
        """Ask some peers now; returns what is known then."""
        failures = 0
        servers = [peer for peer in self._network.peers() if not any(map(is_relayed, peer.addrs))]
        for peer in servers[:MAX_SERVERS]:
            answer = await self._ask(ID.from_base58(peer.peer_id))
            if answer is None:
                continue
            self.told[peer.peer_id] = answer
            if answer.startswith("/"):
                self._conclude("public", answer)
                return self.kind
            failures += 1
            if failures >= min(ENOUGH_FAILURES, len(servers)):
                self._conclude("private", "")
                return self.kind
        return self.kind

    def _conclude(self, kind: str, confirmed: str) -> None:
        if (kind, confirmed) != (self.kind, self.confirmed):
            self.kind, self.confirmed = kind, confirmed
            log.info("reachable: %s %s", kind, confirmed)
            self.on_change()

    async def _ask(self, peer: ID) -> str | None:
        """The address it reached us at, or why it did not; None if it does not say."""
        assert self._host is not None
        try:
            told = await identify(self._host, peer)
            seen = ip_of(told.observed)
            if seen is not None:
                self.observed[str(peer)] = str(seen)
            if PROTOCOL not in told.protocols:
                return None
            question = Message(type=Message.DIAL)
            question.dial.peer.id = self._host.get_id().to_bytes()
            question.dial.peer.addrs.extend(self._candidates(seen))
            answer = await ask(
                self._host, peer, PROTOCOL, question, Message, max_bytes=MAX_BYTES, timeout_s=ANSWER_TIMEOUT_S
            )
        except PeerGone as error:
            log.debug("autonat: %s", error)
            return None
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
            return None
        response = answer.dialResponse
        if response.status == Message.OK:
            found = readable(self._host.get_id(), [response.addr])
            return found[0] if found else None
        # Refused or confused says nothing of us.
        return "not reached" if response.status == Message.E_DIAL_ERROR else None

    def _candidates(self, seen: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> list[bytes]:
        """Our addresses, and our ports at the address that the peer sees."""
        texts = [addr.rpartition("/p2p/")[0] for addr in self._own_addrs() if not is_relayed(addr)]
        if seen is not None:
            kind = "ip6" if seen.version == 6 else "ip4"
            ports = dict.fromkeys(text.rpartition("/")[2] for text in texts)
            texts = [f"/{kind}/{seen}/tcp/{port}" for port in ports] + texts
        return [Multiaddr(text).to_bytes() for text in dict.fromkeys(texts)][:MAX_ADDRS]

    # Dialing back --------------------------------------------------------------------------------------

    async def _serve(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                question = await read_message(stream, Message, MAX_BYTES)
                if question.type != Message.DIAL:
                    raise RemoteFault("bad-autonat-message", f"type {question.type}")
                answer = Message(type=Message.DIAL_RESPONSE)
                status, addr = await self._dial_back(peer, remote_ip(stream.muxed_conn), question)
                answer.dialResponse.status = status
                if addr:
                    answer.dialResponse.addr = Multiaddr(addr.rpartition("/p2p/")[0]).to_bytes()
                await write_message(stream, answer)
                await stream.close()  # a reset could overtake the answer
                return
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
        except NOT_ANSWERED as error:
            log.debug("autonat stream of %s ended: %r", peer, error)
        with trio.move_on_after(1.0):
            await stream.reset()

    async def _dial_back(
        self, peer: ID, seen: str | None, question: Message
    ) -> tuple["Message.ResponseStatus.ValueType", str]:
        if question.dial.peer.id and question.dial.peer.id != peer.to_bytes():
            raise RemoteFault("bad-autonat-message", "it asks for another peer")
        if seen is None or not self._may_dial(peer.to_bytes()):
            return Message.E_DIAL_REFUSED, ""
        wanted = [addr for addr in readable(peer, question.dial.peer.addrs) if str(ip_of(addr)) == seen]
        if not wanted:
            return Message.E_DIAL_REFUSED, ""
        for addr in wanted[:MAX_ADDRS]:
            async with self._dialing:
                if await self._reaches(addr, peer):
                    return Message.OK, addr
        return Message.E_DIAL_ERROR, ""

    def _may_dial(self, peer: bytes) -> bool:
        bucket = self._served.pop(peer, None) or Bucket(PER_PEER_PER_S, PER_PEER_BURST)
        self._served[peer] = bucket
        while len(self._served) > 1_024:
            del self._served[next(iter(self._served))]
        return bucket.try_take()

    async def _reaches(self, addr: str, peer: ID) -> bool:
        """Does `peer` answer at `addr`? A connection of its own, closed at once."""
        assert self._host is not None
        parts = addr.split("/")
        try:
            with trio.fail_after(DIAL_TIMEOUT_S):
                stream = BufferedTCPStream(await trio.open_tcp_stream(parts[2], int(parts[4])))
                try:
                    raw = RawConnection(stream, True)
                    swarm = self._host.swarm
                    inner = protect(raw, swarm.psk) if swarm.psk is not None else raw
                    await swarm.upgrader.upgrade_security(inner, True, peer)
                    return True
                finally:
                    await stream.close()
        except Exception as error:
            # The isolation boundary of one dial: what answers there is a stranger's choice.
            log.debug("dialing %s back failed: %r", addr, error)
            return False
