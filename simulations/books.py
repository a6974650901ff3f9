"""What a set of envelopes comes to: the needs, the purses and the escrows of who holds exactly these.

Derived from scratch and slowly, from what the oracle says of each envelope: the money and the outcomes of needs,
written a second time.
"""

from base64 import b32encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope
from swarmd.simulations.oracle import Fact, Oracle


@dataclass(slots=True)
class Outcome:
    """Where one need stands. `paid`: task -> (worker, minor units)."""

    state: str
    paid: dict[str, tuple[str, int]]
    closing: str | None


@dataclass(slots=True)
class Purse:
    available: int = 0
    locked: int = 0
    earned: int = 0


@dataclass(slots=True)
class Books:
    """needs, purses by did, escrows: need -> (state, held, paid, returned)."""

    needs: dict[str, Outcome] = field(default_factory=dict)
    void: set[bytes] = field(default_factory=set)
    purses: dict[str, Purse] = field(default_factory=dict)
    escrows: dict[str, tuple[str, int, dict[str, tuple[str, int]], int]] = field(default_factory=dict)


def books(oracle: Oracle, held: Iterable[bytes], ruled: Mapping[str, bytes]) -> Books:
    """What a node that holds exactly these envelopes must believe. `ruled`: need -> the plan that an arbiter chose."""
    found = Books()
    held = list(held)
    threads = _closed(oracle, held, found)
    for thread, facts in threads.items():
        found.needs[thread] = _outcome(oracle, facts, ruled.get(thread, b""))
    _settle(oracle, found, _locks(oracle, threads, held))
    return found


def _closed(oracle: Oracle, held: Iterable[bytes], books: Books) -> dict[str, list[Fact]]:
    """Valid facts by thread, of the envelopes whose causes are held too."""
    waiting = sorted((oracle.seen[i] for i in held), key=lambda e: (e.kind != "NEED", e.lamport, e.id))
    have: set[bytes] = set()
    threads: dict[str, list[Fact]] = {}
    moved = True
    while moved and waiting:
        left = []
        for envelope in waiting:
            thread = envelope.thread
            if envelope.kind == "NEED":
                why = oracle.reason(envelope.id)
                if why == "misplaced":
                    continue
                if not why:
                    threads[thread] = [oracle.facts[envelope.id]]
                elif thread in threads:
                    books.void.add(envelope.id)
            elif thread not in threads or any(ref not in have for ref in envelope.refs):
                left.append(envelope)
                continue
            elif oracle.reason(envelope.id):
                books.void.add(envelope.id)
            else:
                threads[thread].append(oracle.facts[envelope.id])
            have.add(envelope.id)
        moved, waiting = len(left) < len(waiting), left
    return threads


def _outcome(oracle: Oracle, facts: list[Fact], ruled: bytes) -> Outcome:
    def of(*kinds: str) -> list[Fact]:
        return [fact for fact in facts if fact.said.kind in kinds]

    ends = [f for f in of("FINALIZE") if not f.commit]
    closed = min(ends, key=lambda f: (f.said.ts_ns, f.said.id), default=None)
    closing = closed.said.payload["outcome"] if closed else None
    decides = of("DECIDE")
    decides = [decide for decide in decides if decide.proposal == ruled] or decides
    if not decides:
        state = closing.upper() if closing else ("PROPOSED" if of("PROPOSE") else "OPEN")
        return Outcome(state, {}, closing)
    # Highest epoch (there is one), then the higher lamport, then the smaller decider.
    best = min(decides, key=lambda f: (-f.said.epoch, -f.said.lamport, f.said.sender, f.said.id))
    paid: dict[str, tuple[int, bytes, Fact]] = {}
    for final in of("FINALIZE"):
        if not final.commit or final.proposal != best.proposal:
            continue
        if closed is not None and closed.said.ts_ns < final.said.ts_ns:
            continue
        entry = (final.said.lamport, bytes(final.said.id), final)
        if final.task not in paid or entry[:2] < paid[final.task][:2]:
            paid[final.task] = entry
    payments = {task: (final.worker, final.price) for task, (_, _, final) in paid.items()}
    if len(payments) == len(oracle.seen[best.proposal].payload["plan"]):
        return Outcome("FINALIZED", payments, "released")
    state = closing.upper() if closing else ("RUNNING" if of("CLAIM") else "DECIDED")
    return Outcome(state, payments, closing)


@dataclass(frozen=True, slots=True)
class Lock:
    """An entry of an account's chain: it locks `amount` for `name`, a need or a bond."""

    name: str
    owner: str
    seq: int
    prev: bytes
    amount: int

    def hash(self) -> bytes:
        body = encode([self.owner, self.seq, self.prev, self.name, self.amount])
        return sha256(b"swarmd/entry/1\0" + body).digest()


def _locks(oracle: Oracle, threads: dict[str, list[Fact]], held: Iterable[bytes]) -> list[Lock]:
    """Of all needs, and of every challenge that was heard, whatever else is true of it."""
    found = []
    for thread, facts in threads.items():
        need = facts[0].said
        fund = need.payload["fund"]
        found.append(Lock(thread, need.sender, fund["seq"], fund["prev"], need.payload["budget"]))
    for ref in held:
        said = oracle.seen[ref]
        if said.kind == "CHALLENGE" and said.epoch == 0:
            stake = said.payload["bond"]
            found.append(Lock(bond_name(said), said.sender, stake["seq"], stake["prev"], stake["amount"]))
    return sorted(set(found), key=lambda lock: lock.name)


def bond_name(said: Envelope) -> str:
    """The escrow of a challenge's bond: the hash of who stakes which entry on what."""
    stake, refs = said.payload["bond"], [bytes(ref) for ref in said.refs]
    entry = [stake["seq"], stake["prev"], stake["amount"]]
    body = encode([said.sender, entry, said.thread, said.payload["task"], refs])
    return "bond-" + b32encode(sha256(b"swarmd/bond/1\0" + body).digest()[:20]).decode().lower()


def _settle(oracle: Oracle, books: Books, locks: list[Lock]) -> None:
    """The money: entries of each owner's chain, in order, as soon as it can pay them."""
    purses = {did: Purse(amount) for did, amount in oracle.terms.balances.items()}
    chains: dict[str, tuple[int, bytes]] = {}
    waiting = {lock.name: lock for lock in locks}
    moved = True
    while moved:
        moved = False
        for owner in sorted({lock.owner for lock in waiting.values()}):
            here = chains.get(owner, (0, bytes(32)))
            fitting = [w for w in waiting.values() if w.owner == owner and (w.seq, w.prev) == here]
            lock = min(fitting, key=Lock.hash, default=None)
            purse = purses.setdefault(owner, Purse())
            if lock is None or purse.available < lock.amount:
                continue
            chains[owner] = (lock.seq + 1, lock.hash())
            del waiting[lock.name]
            moved = True
            _escrow(books, lock, purses)
    for name in waiting:
        books.escrows[name] = ("waiting", 0, {}, 0)
    books.purses = purses


def _escrow(books: Books, lock: Lock, purses: dict[str, Purse]) -> None:
    outcome = books.needs.get(lock.name) or Outcome("", {}, None)
    purse = purses[lock.owner]
    amount = lock.amount
    purse.available -= amount
    purse.locked += amount
    held = amount
    for worker, price in outcome.paid.values():
        held -= price
        purse.locked -= price
        payee = purses.setdefault(worker, Purse())
        payee.available += price
        payee.earned += price
    returned = 0
    if outcome.closing is not None:
        returned, held = held, 0
        purse.locked -= returned
        purse.available += returned
    books.escrows[lock.name] = (outcome.closing or "funded", held, outcome.paid, returned)
