"""What a set of envelopes comes to: the needs, the purses and the escrows of who holds exactly these.

Derived from scratch and slowly, from what the oracle says of each envelope: the money and the outcomes of needs,
written a second time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.protocol.cbor import encode
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
    threads = _closed(oracle, held, found)
    for thread, facts in threads.items():
        found.needs[thread] = _outcome(oracle, facts, ruled.get(thread, b""))
    _settle(oracle, found, threads)
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


def _settle(oracle: Oracle, books: Books, threads: dict[str, list[Fact]]) -> None:
    """The money: entries of each owner's chain, in order, as soon as it can pay them."""
    purses = {did: Purse(amount) for did, amount in oracle.terms.balances.items()}
    chains: dict[str, tuple[int, bytes]] = {}
    open_needs = {thread: facts[0].said for thread, facts in threads.items()}
    moved = True
    while moved:
        moved = False
        for thread, need in sorted(open_needs.items()):
            seq, head = chains.get(need.sender, (0, bytes(32)))
            fund, budget = need.payload["fund"], need.payload["budget"]
            purse = purses.setdefault(need.sender, Purse())
            if (fund["seq"], fund["prev"]) != (seq, head) or purse.available < budget:
                continue
            entry = encode([need.sender, seq, head, thread, budget])
            chains[need.sender] = (seq + 1, sha256(b"swarmd/entry/1\0" + entry).digest())
            del open_needs[thread]
            moved = True
            _escrow(books, thread, need.sender, budget, purses)
    for thread in open_needs:
        books.escrows[thread] = ("waiting", 0, {}, 0)
    books.purses = purses


def _escrow(books: Books, thread: str, owner: str, amount: int, purses: dict[str, Purse]) -> None:
    outcome = books.needs[thread]
    purse = purses[owner]
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
    books.escrows[thread] = (outcome.closing or "funded", held, outcome.paid, returned)
