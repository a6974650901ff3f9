"""Kademlia of one mesh on the wire of libp2p's kad-dht: looks up peers and who has what, and answers who asks.

Its protocol is named after the mesh, so only its members meet in it. It keeps provider records (`providers`, bounded)
and no values: nothing of ours needs them, and what is not stored cannot be filled up. Why not the KadDHT that libp2p
0.8.1 brings: docs/adr/0011-own-kademlia-and-relay.md.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.peer.id import ID
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.node.ports import PeerGone, PeerInfo
from swarmd.node.transport.p2p.host import MeshHost, public_key_of
from swarmd.node.transport.p2p.identify import identify, readable
from swarmd.node.transport.p2p.kad.content import ContentRouting
from swarmd.node.transport.p2p.kad.lookup import Lookup
from swarmd.node.transport.p2p.kad.providers import is_content_key
from swarmd.node.transport.p2p.kad.table import BUCKET_SIZE, Contact, RoutingTable, key_of
from swarmd.node.transport.p2p.rates import Bucket
from swarmd.node.transport.p2p.rpc import NOT_ANSWERED, ask, read_message, tell, write_message
from swarmd.protocol.faults import LocalFault, RemoteFault

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 4_096
MAX_ANSWER_BYTES = 65_536
MAX_CLOSER_PEERS = 2 * BUCKET_SIZE
MAX_KEY_BYTES = 128
MAX_ADDRS_PER_PEER = 8
QUESTION_TIMEOUT_S = 5.0
# What others say of a peer may be wrong: a lookup does not wait long for it.
DIAL_TIMEOUT_S = 4.0
MAX_DIALS_PER_PEER = 3
STREAM_IDLE_S = 30.0
MAX_QUESTIONS_PER_STREAM = 64
# A token bucket per peer: a lookup asks a peer once.
QUESTIONS_PER_S = 5.0
QUESTIONS_BURST = 50
# ADD_PROVIDER costs less, and comes in rows.
ADDS_PER_S = 20.0
ADDS_BURST = 1_000
REFRESH_MIN_S = 1.0
REFRESH_MAX_S = 300.0
# Addresses change: who asks us is asked where it listens, at most so often.
MEET_AGAIN_S = 60.0


class Network(Protocol):
    """What Kademlia needs of the transport."""

    @property
    def peer_id(self) -> str: ...

    def peers(self) -> Any: ...

    async def connect(self, addr: str) -> str: ...

    def report(self, peer_id: str, code: str) -> None: ...


class Kademlia:
    """A plugin of the transport. `heard(addr)` gets every address that a lookup comes by."""

    def __init__(self, network: Network, mesh: str, heard: Callable[[str], None]) -> None:
        self.protocol = TProtocol(f"/swarm/{mesh}/kad/1.0.0")
        self.counters: Counter[str] = Counter()
        self._network = network
        self._heard = heard
        self._own = ID.from_base58(network.peer_id)
        self.table = RoutingTable(self._own.to_bytes(), self._is_connected)
        self._host: MeshHost | None = None
        self._nursery: trio.Nursery | None = None
        self._woken = trio.Event()
        self._meeting: set[bytes] = set()
        self._met_at_s: dict[bytes, float] = {}
        self._allowance: dict[tuple[bytes, bool], Bucket] = {}
        self.content = ContentRouting(self)

    @property
    def own_id(self) -> bytes:
        return self._own.to_bytes()

    # Plugin --------------------------------------------------------------------------------------------

    def attach(self, host: MeshHost) -> None:
        self._host = host
        host.set_stream_handler(self.protocol, self._serve)

    async def run(self) -> None:
        """Keep the table fresh: look ourselves up, then a few random places; soon after a change, else rarely."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                nursery.start_soon(self.content.run)
                for peer in self._connected():
                    nursery.start_soon(self._meet, peer)
                pause_s = REFRESH_MIN_S
                while True:
                    self._woken = trio.Event()
                    with trio.move_on_after(pause_s) as scope:
                        await self._woken.wait()
                    pause_s = min(REFRESH_MAX_S, pause_s * 2) if scope.cancelled_caught else REFRESH_MIN_S
                    await trio.sleep(0.1)  # peers come in flocks
                    await self.lookup(self._own.to_bytes())
                    if len(self.table) > BUCKET_SIZE:
                        await self.lookup(secrets.token_bytes(32))
            finally:
                self._nursery = None

    def wake(self) -> None:
        """Look ourselves up soon: those asked ask us where we listen."""
        self._woken.set()

    def on_peer_up(self, peer_id: str) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._meet, ID.from_base58(peer_id))

    # Who is there --------------------------------------------------------------------------------------

    def _connected(self) -> list[ID]:
        peers: list[PeerInfo] = list(self._network.peers())
        return [ID.from_base58(peer.peer_id) for peer in peers]

    def _is_connected(self, peer_id: bytes) -> bool:
        return self._host is not None and bool(self._host.swarm.get_connections(ID(peer_id)))

    async def _meet(self, peer: ID) -> None:
        """Take a connected peer into the table, if it speaks our protocol and says where it listens."""
        raw = peer.to_bytes()
        if self._host is None or raw in self._meeting or public_key_of(peer) is None:
            return
        self._meeting.add(raw)
        self._met_at_s.pop(raw, None)
        self._met_at_s[raw] = trio.current_time()
        while len(self._met_at_s) > 1_024:
            del self._met_at_s[next(iter(self._met_at_s))]
        try:
            told = await identify(self._host, peer)
        except PeerGone as error:
            log.debug("not taken into the table: %s", error)
            return
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
            return
        finally:
            self._meeting.discard(raw)
        if self.protocol not in told.protocols:
            return
        if raw not in self.table:
            self._woken.set()
        self.table.add(Contact(raw, told.addrs[:MAX_ADDRS_PER_PEER]))
        for addr in told.addrs[:MAX_ADDRS_PER_PEER]:
            self._heard(addr)

    # Looking up ----------------------------------------------------------------------------------------

    async def lookup(self, target: bytes) -> list[Contact]:
        """The peers nearest to a target (a peer id's bytes, or any other), nearest first, as the mesh knows them."""
        self.counters["lookups"] += 1
        begin = self.table.closest(key_of(target), BUCKET_SIZE)
        lookup = Lookup(target, self._own.to_bytes(), begin, self._query)
        found = await lookup.run()
        self.counters["asked"] += lookup.asked
        for contact in found:
            for addr in contact.addrs:
                self._heard(addr)
        return found

    async def find(self, peer_id: str) -> tuple[str, ...]:
        """The addresses of a peer; () if nobody near it knows it."""
        try:
            target = ID.from_base58(peer_id)
        except ValueError:
            raise LocalFault("bad-peer-id", f"not a peer id: {peer_id!r}") from None
        found = await self.lookup(target.to_bytes())
        return next((contact.addrs for contact in found if contact.peer_id == target.to_bytes()), ())

    def provide(self, cid: bytes) -> None:
        """Let the mesh know soon that we have the content under `cid`."""
        self.content.provide(cid)

    async def find_providers(self, cid: bytes) -> list[tuple[str, tuple[str, ...]]]:
        """(peer id, multiaddrs) of some who say that they have the content under `cid`."""
        self.counters["content-lookups"] += 1
        found = await self.content.find(cid)
        return [(str(ID(contact.peer_id)), contact.addrs) for contact in found]

    async def _query(self, contact: Contact, target: bytes) -> list[Contact]:
        """Whom the contact knows near the target. PeerGone if it cannot be asked."""
        answer = await self._ask(contact, Message(type=Message.FIND_NODE, key=target))
        return self._contacts(answer.closerPeers)

    async def get_providers(self, contact: Contact, key: bytes) -> tuple[list[Contact], list[Contact]]:
        """(who has it, as the contact heard; whom it knows nearer). PeerGone if it cannot be asked."""
        answer = await self._ask(contact, Message(type=Message.GET_PROVIDERS, key=key))
        return self._contacts(answer.providerPeers), self._contacts(answer.closerPeers)

    async def add_provider(self, contact: Contact, keys: Sequence[bytes]) -> None:
        """Tell the contact that we have `keys`. PeerGone if it cannot be told."""
        host = await self._reach(contact)
        messages = [Message(type=Message.ADD_PROVIDER, key=key) for key in keys]
        for message in messages:
            _pack_contact(message.providerPeers.add(), Contact(self.own_id, tuple(host.announced())))
        await tell(host, ID(contact.peer_id), self.protocol, *messages, timeout_s=QUESTION_TIMEOUT_S)
        self.counters["announced"] += len(keys)

    async def _ask(self, contact: Contact, question: Message) -> Message:
        host = await self._reach(contact)
        peer = ID(contact.peer_id)
        try:
            answer = await ask(
                host,
                peer,
                self.protocol,
                question,
                Message,
                max_bytes=MAX_ANSWER_BYTES,
                timeout_s=QUESTION_TIMEOUT_S,
            )
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
            raise PeerGone(f"{peer}: {fault}") from None
        crowd = max(len(answer.closerPeers), len(answer.providerPeers))
        if answer.type != question.type or crowd > MAX_CLOSER_PEERS:
            self._network.report(str(peer), "bad-kad-message")
            raise PeerGone(f"{peer}: not an answer to what it was asked")
        return answer

    def _contacts(self, entries: Iterable[Message.Peer]) -> list[Contact]:
        """Those of an answer that can be dialed, ourselves left out."""
        found = []
        for each in entries:
            other = _peer_of(each.id)
            if other is not None and other != self._own:
                found.append(
                    Contact(other.to_bytes(), tuple(readable(other, each.addrs)[:MAX_ADDRS_PER_PEER]))
                )
        return found

    async def _reach(self, contact: Contact) -> MeshHost:
        """The host, once it is connected to the contact."""
        if not self._is_connected(contact.peer_id):
            await self._connect(contact)
        assert self._host is not None
        return self._host

    async def _connect(self, contact: Contact) -> None:
        error: Exception = PeerGone("it has no address")
        for addr in contact.addrs[:MAX_DIALS_PER_PEER]:
            try:
                with trio.fail_after(DIAL_TIMEOUT_S):
                    await self._network.connect(addr)
                return
            except (PeerGone, LocalFault, trio.TooSlowError) as failed:
                error = failed
        self.table.remove(contact.peer_id)
        raise PeerGone(str(error))

    # Answering -----------------------------------------------------------------------------------------

    async def _serve(self, stream: INetStream) -> None:
        """The stream handler. What is against the rules ends the stream and is charged."""
        peer = stream.muxed_conn.peer_id
        met_at_s = self._met_at_s.get(peer.to_bytes(), -MEET_AGAIN_S)
        if self._nursery is not None and trio.current_time() - met_at_s >= MEET_AGAIN_S:
            self._nursery.start_soon(self._meet, peer)
        try:
            for _ in range(MAX_QUESTIONS_PER_STREAM):
                with trio.fail_after(STREAM_IDLE_S):
                    question = await read_message(stream, Message, MAX_REQUEST_BYTES)
                    if not self._may_ask(peer, adds=question.type == Message.ADD_PROVIDER):
                        self.counters["refused"] += 1
                        raise RemoteFault("kad-flood", "too many questions")
                    if question.type == Message.ADD_PROVIDER:
                        self._take_provider(question, peer)  # which is not answered
                    else:
                        await write_message(stream, self._answer(question, peer))
                self.counters["answered"] += 1
        except RemoteFault as fault:
            self._network.report(str(peer), fault.code)
        except NOT_ANSWERED as error:
            log.debug("kad stream of %s ended: %r", peer, error)
        finally:
            with trio.move_on_after(1.0, shield=True):
                await stream.reset()

    def _may_ask(self, peer: ID, *, adds: bool) -> bool:
        who = (peer.to_bytes(), adds)
        bucket = self._allowance.pop(who, None) or (
            Bucket(ADDS_PER_S, ADDS_BURST) if adds else Bucket(QUESTIONS_PER_S, QUESTIONS_BURST)
        )
        self._allowance[who] = bucket
        while len(self._allowance) > 2_048:
            del self._allowance[next(iter(self._allowance))]
        return bucket.try_take()

    def _take_provider(self, message: Message, sender: ID) -> None:
        """The sender has something. What it says of others does not count, as in the specification."""
        if not is_content_key(message.key) or len(message.providerPeers) > MAX_CLOSER_PEERS:
            raise RemoteFault("bad-kad-message", "not a provider record of sha2-256")
        for each in message.providerPeers:
            if each.id == sender.to_bytes() and public_key_of(sender) is not None:
                addrs = tuple(readable(sender, each.addrs)[:MAX_ADDRS_PER_PEER])
                self.content.records.add(message.key, Contact(sender.to_bytes(), addrs))
                self.counters["records-taken"] += 1
                return
        raise RemoteFault("bad-kad-message", "a provider record of somebody else")

    def _answer(self, question: Message, asker: ID) -> Message:
        if question.type == Message.PING:
            return Message(type=Message.PING)
        if question.type not in (Message.FIND_NODE, Message.GET_PROVIDERS):
            raise RemoteFault("kad-unsupported", f"message type {question.type}")
        if not 0 < len(question.key) <= MAX_KEY_BYTES:
            raise RemoteFault("bad-kad-message", f"a key of {len(question.key)} bytes")
        answer = Message(type=question.type)
        if question.type == Message.GET_PROVIDERS:
            answer.key = question.key
            for provider in self.content.records.of(question.key)[:BUCKET_SIZE]:
                _pack_contact(answer.providerPeers.add(), provider)
        nearest = self.table.closest(key_of(question.key), BUCKET_SIZE, without=(asker.to_bytes(),))
        for contact in nearest:
            entry = answer.closerPeers.add()
            _pack_contact(entry, contact)
            alive = self._is_connected(contact.peer_id)
            entry.connection = Message.CONNECTED if alive else Message.CAN_CONNECT
        return answer


def _peer_of(raw: bytes) -> ID | None:
    peer = ID(bytes(raw))
    return peer if public_key_of(peer) is not None else None


def _pack_contact(entry: Message.Peer, contact: Contact) -> None:
    entry.id = contact.peer_id
    for addr in contact.addrs[:MAX_ADDRS_PER_PEER]:
        entry.addrs.append(_packed(addr))


def _packed(addr: str) -> bytes:
    """On the wire an address goes without the peer id it ends in."""
    raw: bytes = Multiaddr(addr.rpartition("/p2p/")[0]).to_bytes()
    return raw
