"""Joining a mesh with a ticket: its genesis is asked of the inviter and checked against the ticket's hash.

Nothing is written before everything is at hand. The genesis goes to disk last: a home with a genesis is whole,
one without can be joined with again.
"""

import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

import trio
from swarmd.bootstrap.book import PeerBook
from swarmd.bootstrap.swarmkey import KEY_FILE as PSK_FILE
from swarmd.bootstrap.swarmkey import load_psk, write_psk
from swarmd.bootstrap.tickets import Ticket
from swarmd.node import setup
from swarmd.node.groups import run
from swarmd.node.keys import KEY_FILE, Identity, load_key
from swarmd.node.ports import PeerGone
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.cids import cid_text, dag_cbor_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis, parse_genesis

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 20.0
DIAL_TIMEOUT_S = 8.0


def genesis_answer(genesis: Genesis) -> bytes:
    """What a member answers to {"t": "genesis"}: the bytes whose hash is the mesh's id."""
    return encode(genesis.to_map())


def check_genesis(raw: bytes, mesh: str) -> Genesis:
    """LocalFault `other-genesis` unless `raw` is the genesis that `mesh` (a CID) names."""
    if cid_text(dag_cbor_cid(raw)) != mesh:
        raise LocalFault(
            "other-genesis",
            "this is not the genesis that the ticket names",
            fix="ask the inviter for a new ticket; if it happens again, do not trust that node",
        )
    try:
        return parse_genesis(decode(raw))
    except RemoteFault as fault:
        raise LocalFault(
            "bad-genesis", fault.message, fix="join with the inviter's version of swarmd"
        ) from None


def genesis_of_file(path: Path, mesh: str) -> Genesis:
    return check_genesis(genesis_answer(setup.load_genesis(path)), mesh)


class Visitor:
    """A peer for a moment: it asks one thing and has nothing to say."""

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        return

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return b""

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        return

    async def on_peer_down(self, peer_id: str) -> None:
        return


@dataclass(frozen=True, slots=True)
class Attempt:
    addr: str
    error: str


async def fetch_genesis(ticket: Ticket, seed: bytes) -> Genesis:
    """From the first address of the ticket that answers. LocalFault `inviter-unreachable` tells of each."""
    # Late: all of libp2p comes with it.
    from swarmd.node.transport.p2p import P2PLimits, P2PTransport

    limits = P2PLimits(dial_timeout_s=DIAL_TIMEOUT_S)
    transport = P2PTransport(seed, ticket.mesh, limits=limits, psk=ticket.psk)
    attempts: list[Attempt] = []
    found: Genesis | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, Visitor())
        for addr in ticket.addrs:
            try:
                peer_id = await transport.connect(addr)
                raw = await transport.request(peer_id, encode({"t": "genesis"}), timeout_s=FETCH_TIMEOUT_S)
                found = check_genesis(raw, ticket.mesh)
                break
            except (PeerGone, RemoteFault) as error:
                attempts.append(Attempt(addr, str(error).removeprefix(f"{addr}: ")))
        nursery.cancel_scope.cancel()
    if found is None:
        tried = "; ".join(f"{attempt.addr}: {attempt.error}" for attempt in attempts)
        raise LocalFault(
            "inviter-unreachable",
            f"no address of the ticket answers as a node of that mesh ({tried})",
            fix="is the inviter up, and reachable from here? Else get its genesis.json and use --genesis",
        )
    return found


def join(home: Path, ticket: Ticket, genesis_file: Path | None = None) -> tuple[Identity, Genesis]:
    """Make `home` a member of the ticket's mesh. LocalFault; nothing is made or changed then."""
    if (home / setup.GENESIS_FILE).exists():
        raise LocalFault("home-exists", f"{home} is a swarmd home already", fix="choose another --home")
    # A mesh may know its members by their keys: the key of the home if it has one.
    seed = load_key(home).seed if (home / KEY_FILE).exists() else secrets.token_bytes(32)
    if genesis_file is not None:
        genesis = genesis_of_file(genesis_file, ticket.mesh)
    else:
        genesis = run(lambda: fetch_genesis(ticket, seed))
    identity = setup.create_home(home)
    _take_psk(home, ticket.psk)
    remember(home, ticket, identity)
    setup.write_genesis(home / setup.GENESIS_FILE, genesis)
    return identity, genesis


def _take_psk(home: Path, psk: bytes | None) -> None:
    if load_psk(home) == psk:
        return
    # Of an attempt that did not get to its end: this home has no genesis yet.
    (home / PSK_FILE).unlink(missing_ok=True)
    if psk is not None:
        write_psk(home, psk)


def remember(home: Path, ticket: Ticket, identity: Identity) -> None:
    """The ticket's addresses, for the first start."""
    from swarmd.bootstrap.addresses import peer_id_of
    from swarmd.protocol.didkey import public_key_of

    book = PeerBook(peer_id_of(public_key_of(identity.did)))
    book.load(home)
    for addr in ticket.addrs:
        book.learn(addr, "ticket")
    book.save(home)
