"""Nodes of one mesh on one chain, without their daemons: real EVM, real books, their requests passed by hand."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nacl.signing
import pytest
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.anchoring import AnchorMachine
from swarmd.node.chain.anchoring import Terms as ChainTerms
from swarmd.node.chain.desk import SETTLEMENT, TOKEN, Desk
from swarmd.node.chain.embedded import EmbeddedEvm
from swarmd.node.chain.kv import SqliteKv
from swarmd.node.chain.outbox import Outbox
from swarmd.node.keys import Identity
from swarmd.node.settling.desk import Ask, MeshDesk
from swarmd.node.settling.own import load_own
from swarmd.node.settling.terms import Terms
from swarmd.node.settling.wire import Refused
from swarmd.protocol.checkpoint.snapshot import ClosedNeed
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.netting import due_id

MESH_ID = sha256(b"a mesh").digest()
NOW_S = 1_800_000_000
CHAIN_ID = 1337
DEPOSIT = 1_000_000


def identity_of(name: str) -> Identity:
    key = nacl.signing.SigningKey(sha256(name.encode()).digest())
    return Identity(did_of(bytes(key.verify_key)), bytes(key), key)


@dataclass
class Party:
    """A node: its identity, its account, its books."""

    name: str
    identity: Identity
    machine: AnchorMachine
    mesh: MeshDesk
    is_silent: bool = False

    @property
    def did(self) -> str:
        return self.identity.did

    @property
    def account(self) -> bytes:
        return self.machine.signer.account

    def close(self) -> None:
        self.mesh.close()
        self.machine.outbox.close()


@dataclass
class World:
    """The chain of the first party's making, and all parties on it."""

    folder: Path
    names: tuple[str, ...]
    terms: Terms
    parties: dict[str, Party] = field(default_factory=dict)
    evm: Any = None
    now_s: int = NOW_S

    def open(self) -> "World":
        self.folder.mkdir(exist_ok=True)
        signer = LocalSigner(load_or_create_key(self.folder / "account.key"))
        self.evm = EmbeddedEvm(SqliteKv(self.folder / "chain.sqlite"), CHAIN_ID, signer.account)
        bank = Outbox(self.folder / "outbox.sqlite")
        self.bank = Desk(AnchorMachine(self.evm, signer, bank))
        contracts = {name: self.bank.contract(name) for name in (TOKEN, SETTLEMENT)}
        for name in self.names:
            home = self.folder / name
            home.mkdir(exist_ok=True)
            machine = AnchorMachine(
                self.evm,
                LocalSigner(sha256(b"account of " + name.encode()).digest()),
                Outbox(home / "outbox.sqlite"),
                ChainTerms(contracts=contracts),
            )
            identity = identity_of(name)
            mesh = MeshDesk(home, Desk(machine), identity, MESH_ID, self.terms)
            self.parties[name] = Party(name, identity, machine, mesh)
        return self

    def close(self) -> None:
        for party in self.parties.values():
            party.close()
        self.bank.machine.outbox.close()
        self.evm.close()

    def __getitem__(self, name: str) -> Party:
        return self.parties[name]

    def equip(self, amount: int = DEPOSIT) -> "World":
        """Gas and a deposit for each, all bound, and all know it."""
        signer = self.bank.machine.signer
        self.bank.fund("all", amount * len(self.names))
        for party in self.parties.values():
            raw = signer.sign_value(
                party.account,
                10**18,
                nonce=self.evm.nonce(signer.account),
                fees=self.evm.fees(),
                chain_id=CHAIN_ID,
            )
            self.evm.send_raw(raw)
            assert self.evm.mine() == 1
            self.bank.deposit(party.name, amount, party.account)
            party.mesh.bind(now_s=self.now_s)
        self.tell_bindings()
        return self

    def tell_bindings(self) -> None:
        for party in self.parties.values():
            shown = [
                (other.did, binding)
                for other in self.parties.values()
                if (binding := load_own(self.folder / other.name)) is not None
            ]
            assert party.mesh.learn(shown, now_s=self.now_s) == []

    def closed(self, epoch: int, *payments: tuple[str, str, int], but: tuple[str, ...] = ()) -> list[bytes]:
        """A checkpoint closed a need for each (payer, payee, amount): all learn of it, `but` some. The receipts' ids."""
        needs = {}
        for number, (payer, payee, amount) in enumerate(payments):
            name = f"need-{epoch}-{number}"
            paid = {"t": (self[payee].did, amount)}
            needs[name] = ClosedNeed(name, self[payer].did, "released", paid, 0, ())
        for party in self.parties.values():
            if party.name not in but:
                party.mesh.dues.add(epoch, needs, now_s=self.now_s)
        return [due_id(MESH_ID, name, "t") for name in needs]

    def of(self, account: bytes) -> Party:
        return next(party for party in self.parties.values() if party.account == account)

    def ask(self, publisher: Party, ask: Ask) -> None:
        """As the service does, with all patience spent."""
        party = self.of(ask.payer)
        if party.is_silent:
            publisher.mesh.leave_out(ask.payer, ask.root, "silent", now_s=self.now_s)
            return
        try:
            signature = party.mesh.sign(ask.proposal, ask.consents, author=publisher.did, now_s=self.now_s)
        except Refused as refusal:
            publisher.mesh.leave_out(ask.payer, ask.root, refusal.code, refusal.receipts, now_s=self.now_s)
        except RemoteFault as fault:
            publisher.mesh.leave_out(ask.payer, ask.root, fault.code, now_s=self.now_s)
        else:
            publisher.mesh.took(ask.payer, ask.root, signature)

    def settle(self, name: str, *, at_once: bool = True, rounds: int = 40) -> None:
        """Let a node publish until it waits for nothing but the chain, and make the chain's block."""
        publisher = self[name]
        for _ in range(rounds):
            _, asks = publisher.mesh.advance(now_s=self.now_s, at_once=at_once)
            at_once = False
            for ask in asks:
                self.ask(publisher, ask)
            if not asks:
                break
        publisher.machine.tick()
        publisher.mesh.advance(now_s=self.now_s)

    def share_proofs(self) -> None:
        for party in self.parties.values():
            for other in self.parties.values():
                names = party.mesh.lacking(64, before_s=self.now_s)
                party.mesh.keep_proofs(other.mesh.proofs(names))

    def balances(self) -> dict[str, int]:
        return {
            name: self.bank.view(SETTLEMENT, "balanceOf", party.account)[0]
            for name, party in self.parties.items()
        }

    def pass_time(self, to_s: int) -> None:
        """Make a block at that time."""
        with patch("eth._utils.headers.eth_now", lambda: to_s):
            for part in range(2):  # the header of the next block is made with the one before
                self.bank.fund(f"at {to_s} {part}", 1)
        assert self.evm.block_time_s() >= to_s

    def settled_events(self) -> list[dict[str, Any]]:
        codec = self.bank.machine.codec(SETTLEMENT)
        logs = self.evm.logs(
            self.bank.contract(SETTLEMENT),
            codec.topic("Settled"),
            first_block=0,
            last_block=self.evm.head(),
        )
        return [codec.decode_event("Settled", log.topics, log.data) for log in logs]


@pytest.fixture(scope="session")
def worlds() -> type[World]:
    return World


@pytest.fixture(scope="session")
def equipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with everything in place, to be copied."""
    folder = tmp_path_factory.mktemp("equipped") / "world"
    world = World(folder, ("ann", "bob", "cat"), Terms()).open()
    world.equip()
    world.close()
    return folder


@pytest.fixture
def make_world(tmp_path: Path, equipped: Path) -> Iterator[Callable[..., World]]:
    """make_world(min_receipts=..., ...): ann, bob and cat, each with gas, a deposit and a binding that all know."""
    made: list[World] = []

    def make(**terms: Any) -> World:
        shutil.copytree(equipped, tmp_path / "world")
        made.append(World(tmp_path / "world", ("ann", "bob", "cat"), Terms(**terms)).open())
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
