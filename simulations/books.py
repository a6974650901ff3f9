"""What a set of envelopes comes to: the needs, the purses and the escrows of who holds exactly these.

Derived from scratch and slowly, from what the oracle says of each envelope and what earlier checkpoints settled: the
money and the outcomes of needs, written a second time.
"""

from base64 import b32encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope
from swarmd.simulations import challenges, transfers
from swarmd.simulations import deals as trades
from swarmd.simulations.oracle import Oracle
from swarmd.simulations.reading import Fact, Reading


@dataclass(slots=True)
class Outcome:
    """Where one need stands. `paid`: task -> (worker, minor units). `decision`, `finals`: the envelopes that say so."""

    state: str
    paid: dict[str, tuple[str, int]]
    closing: str | None
    decision: bytes = b""
    finals: dict[str, bytes] = field(default_factory=dict)
    # As it is when no window holds it any more:
    earned: dict[str, tuple[str, int]] = field(default_factory=dict)
    end: str | None = None


@dataclass(slots=True)
class Purse:
    available: int = 0
    locked: int = 0
    earned: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """An open need as a checkpoint found it: its NEED, all that was on record, whose committees were drawn for it, the
    first epoch that found it undecided (-1: none), and what stands whatever comes. `paid`: its money is locked."""

    need: bytes
    held: frozenset[bytes]
    draws: tuple[int, ...]
    undecided: int
    decision: bytes
    finals: Mapping[str, bytes]
    found: Mapping[bytes, int] = field(
        default_factory=dict
    )  # result or pending challenge -> when first in a cut
    paid: bool = True


@dataclass(frozen=True, slots=True)
class Closed:
    """A need that the checkpoint that opens `epoch` closed, with its escrow: (state, held, paid, returned)."""

    need: Envelope
    outcome: Outcome
    escrow: tuple[str, int, dict[str, tuple[str, int]], int]
    epoch: int


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


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a checkpoint settled. `open` and `closed` (all since genesis) by thread; `cut`: chain -> seq.

    `locks`: entries that are applied or wait, `applied`: owner -> how many are. `returned`: bonds that went home, `bonds`:
    what those came to whose challenge was judged.
    """

    epoch: int = 0
    cut: Mapping[tuple[str, int, int], int] = field(default_factory=dict)
    open: Mapping[str, Standing] = field(default_factory=dict)
    closed: Mapping[str, Closed] = field(default_factory=dict)
    parked: Mapping[bytes, int] = field(
        default_factory=dict
    )  # waits for its causes -> the epoch that found it so

    locks: Mapping[str, Lock] = field(default_factory=dict)
    applied: Mapping[str, int] = field(default_factory=dict)
    returned: frozenset[str] = frozenset()
    # Of the pool of verifiers: who has left (-> the epoch whose checkpoint found it), and who had a seat once.
    left: Mapping[str, int] = field(default_factory=dict)
    seated: frozenset[str] = frozenset()
    bonds: Mapping[str, Outcome] = field(default_factory=dict)
    sent: transfers.Money = field(default_factory=transfers.Money)

    # Of escrows: what was fixed of open ones, the ended ones with (end, paid, home, fee), what their purses came to, words
    # that are dealt with, those that wait (-> since which epoch), who settled how often (well, badly), the cut's time.
    deals: Mapping[str, tuple[trades.Item, ...]] = field(default_factory=dict)
    dealt: Mapping[str, tuple[str, int, int, int]] = field(default_factory=dict)
    purses: Mapping[str, Outcome] = field(default_factory=dict)
    heard: frozenset[bytes] = frozenset()
    waiting: Mapping[bytes, int] = field(default_factory=dict)
    standings: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    cut_ns: int = 0
    time_ns: int = 0  # when the latest of a batch that ends a chain of a cut was said
    present: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # author -> epochs, all of them
    over: Mapping[str, int] = field(default_factory=dict)  # author -> its last epoch that is closed
    strays: Mapping[bytes, int] = field(
        default_factory=dict
    )  # as `parked`: challenges of needs that a checkpoint before the last one closed
    # Locks that accounts have gone on past, unpaid, and needs whose lock waits on though nobody waits for them any more.
    lapsed: frozenset[str] = frozenset()
    unpaid: frozenset[str] = frozenset()

    def closed_to(self, said: Envelope) -> bool:
        """Was it said in an epoch of its author's that is closed? Then it counts if it is in a cut, and not else."""
        return said.epoch <= self.over.get(said.sender, -1)

    def carried(self) -> list[bytes]:
        """What who begins with this ruling has of open needs."""
        held = (ref for standing in self.open.values() for ref in standing.held)
        return [*held, *self.parked, *self.waiting, *self.sent.votes]

    def is_over(self, need: Envelope) -> bool:
        """Is the account entry of a NEED applied, or another in its place? Then it opens nothing any more."""
        return bool(need.payload["fund"]["seq"] < self.applied.get(need.sender, 0))

    def draws(self, need: Envelope) -> tuple[int, ...]:
        """The epochs whose committees were drawn for a need."""
        standing = self.open.get(need.thread)
        return standing.draws if standing is not None else (need.epoch,)


@dataclass(slots=True)
class Books:
    """needs, purses by did, escrows: need -> (state, held, paid, returned); `record`: what is on record of each need."""

    needs: dict[str, Outcome] = field(default_factory=dict)
    opened: dict[str, Envelope] = field(default_factory=dict)
    record: dict[str, frozenset[bytes]] = field(default_factory=dict)
    facts: dict[str, list[Fact]] = field(default_factory=dict)  # of each need
    bonds: dict[str, Outcome] = field(default_factory=dict)  # of challenges that have ended
    deals: dict[str, trades.Account] = field(default_factory=dict)
    loose: set[bytes] = field(default_factory=set)  # words about escrows that wait for what they refer to
    money: dict[str, Outcome] = field(default_factory=dict)  # of purses
    void: set[bytes] = field(default_factory=set)
    locks: dict[str, Lock] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    sent: transfers.Money = field(default_factory=transfers.Money)
    purses: dict[str, Purse] = field(default_factory=dict)
    escrows: dict[str, tuple[str, int, dict[str, tuple[str, int]], int]] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)
    heads: dict[str, tuple[int, bytes]] = field(
        default_factory=dict
    )  # owner -> what its account goes on after

    def following(self, owner: str) -> Lock | None:
        """What an account has come to and cannot pay for."""
        return self.next_of(owner, self.heads, self.locks.values())

    def next_of(
        self, owner: str, heads: Mapping[str, tuple[int, bytes]], locks: Iterable[Lock]
    ) -> Lock | None:
        """Of `locks`, the one that continues the chain of an account: a certified one, else the smallest by hash."""
        here = heads.get(owner, (0, bytes(32)))
        fitting = [lock for lock in locks if lock.owner == owner and (lock.seq, lock.prev) == here]
        sure = [lock for lock in fitting if lock.hash() in self.sent.certified]
        free = sure or [lock for lock in fitting if lock.name not in self.sent.transfers]
        return min(free, key=Lock.hash, default=None)


def books(
    oracle: Oracle,
    ruling: Ruling,
    held: Iterable[bytes],
    ruled: Mapping[str, bytes],
    first: Mapping[str, bytes],
) -> Books:
    """What a node in the epoch of `ruling` that holds exactly these envelopes must believe.

    `ruled`: need -> the plan that an arbiter chose. `first`: need -> which of several NEEDs it heard first.
    """
    found = Books(lapsed=set(ruling.lapsed))
    held = list(held)
    by_thread: dict[str, set[bytes]] = {name: set(standing.held) for name, standing in ruling.open.items()}
    for ref in held:
        envelope = oracle.seen[ref]
        # Closed is closed (P4), and what is said in an epoch counts when it has begun.
        if envelope.thread not in ruling.closed and envelope.epoch <= ruling.epoch:
            by_thread.setdefault(envelope.thread, set()).add(ref)
    for thread, ids in by_thread.items():
        standing = ruling.open.get(thread)
        opening = standing.need if standing is not None else first.get(thread)
        needs = [need for need in oracle.needs_of(thread) if need.id in ids]
        need = next((need for need in needs if need.id == opening), needs[0] if needs else None)
        if need is None or (standing is None and ruling.is_over(need)):
            continue
        reading = oracle.reading(need.id, ruling.draws(need))
        facts = _taken(reading, ids, found)
        found.opened[thread], found.facts[thread] = need, facts
        found.needs[thread] = _outcome(reading, facts, ruled.get(thread, b""), standing)
        for name, (end, paid) in challenges.bonds_of(reading, facts, bond_name).items():
            found.bonds[name] = Outcome("", paid, end)
    _deals(oracle, ruling, held, found)
    found.sent = transfers.heard(oracle, ruling.sent, ruling.epoch, held)
    found.locks = _locks(oracle, ruling, found, held)
    settle(oracle, found, ruling, ruling.returned)
    return found


def _taken(reading: Reading, ids: Iterable[bytes], books: Books) -> list[Fact]:
    """The valid facts among envelopes whose causes are among them too."""
    seen = reading.seen
    others = (seen[i] for i in ids if i != reading.need.id)
    waiting = sorted(others, key=lambda e: (e.lamport, e.id))
    have = {reading.need.id}
    facts = [reading.facts[reading.need.id]]
    moved = True
    while moved and waiting:
        left = []
        for envelope in waiting:
            why = reading.why(envelope.id)
            if why is None or any(ref not in have for ref in envelope.refs):
                left.append(envelope)
                continue
            have.add(envelope.id)
            if why:
                books.void.add(envelope.id)
            else:
                facts.append(reading.facts[envelope.id])
        moved, waiting = len(left) < len(waiting), left
    books.record[reading.need.thread] = frozenset(have)
    return facts


def _deals(oracle: Oracle, ruling: Ruling, held: Iterable[bytes], books: Books) -> None:
    """Escrows: what the last checkpoint fixed, and then the words that came since."""
    words: dict[str, list[Envelope]] = {name: [] for name in ruling.deals}
    for ref in dict.fromkeys(held):
        said = oracle.seen[ref]
        fresh = ref not in ruling.heard and said.epoch <= ruling.epoch and said.thread not in ruling.dealt
        if said.thread.startswith("escrow-") and fresh:
            words.setdefault(said.thread, []).append(said)
    for thread, said_of in sorted(words.items()):
        base = ruling.deals.get(thread, ())
        taken, loose = trades.ordered(base, said_of)
        books.loose |= loose
        account = trades.Account(thread).read((*base, *taken))
        if account.phase != "none":
            books.deals[thread] = account
            if account.purse:
                books.money[account.purse] = Outcome("", account.payments(), None)


def _outcome(reading: Reading, facts: list[Fact], ruled: bytes, standing: Standing | None) -> Outcome:
    def of(*kinds: str) -> list[Fact]:
        return [fact for fact in facts if fact.said.kind in kinds]

    down = challenges.reversed_of(reading, facts)
    ends = [f for f in of("FINALIZE") if not f.commit and not f.shown]
    closed = min(ends, key=lambda f: (f.said.ts_ns, f.said.id), default=None)
    closing = closed.said.payload["outcome"] if closed else None
    decides = of("DECIDE")
    fixed = standing.decision if standing is not None else b""
    stands = [decide for decide in decides if decide.said.id == fixed]
    decides = stands or [decide for decide in decides if decide.proposal == ruled] or decides
    if not decides:
        state = closing.upper() if closing else ("PROPOSED" if of("PROPOSE") else "OPEN")
        return Outcome(state, {}, closing, end=closing)
    # Of the latest draw (no other is valid), the higher lamport, then the smaller decider; the first of the same plan.
    best = min(decides, key=lambda f: (-f.draw, -f.said.lamport, f.said.sender, f.said.id))
    alike = [f for f in decides if f.proposal == best.proposal]
    best = min(alike, key=lambda f: (f.said.lamport, f.said.sender, f.said.id))
    paid: dict[str, tuple[int, bytes, Fact]] = {}
    certain = standing.finals if standing is not None else {}
    for final in of("FINALIZE"):
        if not final.commit or final.proposal != best.proposal or final.commit in down:
            continue
        is_fixed = certain.get(final.task) == final.said.id
        if closed is not None and closed.said.ts_ns < final.said.ts_ns and not is_fixed:
            continue
        entry = (-1 if is_fixed else final.said.lamport, bytes(final.said.id), final)
        if final.task not in paid or entry[:2] < paid[final.task][:2]:
            paid[final.task] = entry
    payments = {task: (final.worker, final.price) for task, (_, _, final) in paid.items()}
    finals = {task: ref for task, (_, ref, _) in paid.items()}
    decision = bytes(best.said.id)
    whole = len(payments) == len(reading.seen[best.proposal].payload["plan"])
    earned, end = payments, "released" if whole else closing
    ended = end
    if challenges.is_held(reading, facts, bool(payments)):
        payments, end = {}, None  # as long as results can be challenged
    if whole:
        return Outcome("FINALIZED", payments, end, decision, finals, earned, ended)
    state = closing.upper() if closing else ("RUNNING" if of("CLAIM") else "DECIDED")
    return Outcome(state, payments, end, decision, finals, earned, ended)


def _locks(oracle: Oracle, ruling: Ruling, books: Books, held: Iterable[bytes]) -> dict[str, Lock]:
    """Of all needs, and of every challenge that was heard in time, whatever else is true of it."""
    found = dict(ruling.locks)
    fresh = [lock_of(need) for need in books.opened.values()]
    for ref in held:
        said = oracle.seen[ref]
        if said.kind == "CHALLENGE" and said.epoch <= ruling.epoch:
            stake = said.payload["bond"]
            fresh.append(Lock(bond_name(said), said.sender, stake["seq"], stake["prev"], stake["amount"]))
        if (name := stake_of(said, oracle.terms.stake)) and said.epoch <= ruling.epoch:
            fund = said.payload["fund"]
            fresh.append(Lock(name, said.sender, fund["seq"], fund["prev"], said.payload["amount"]))
        if said.kind == "ESCROW" and said.payload["op"] == "fund" and said.epoch <= ruling.epoch:
            fund, name = said.payload["fund"], trades.purse_name(said)
            fresh.append(Lock(name, said.sender, fund["seq"], fund["prev"], said.payload["amount"]))
    fresh += [Lock(name, t.owner, t.seq, t.prev, t.amount) for name, t in books.sent.transfers.items()]
    for lock in fresh:
        if lock.seq >= ruling.applied.get(lock.owner, 0):
            found.setdefault(lock.name, lock)
    return found


def lock_of(need: Envelope) -> Lock:
    """What a NEED locks."""
    fund = need.payload["fund"]
    return Lock(need.thread, need.sender, fund["seq"], fund["prev"], need.payload["budget"])


def stake_of(said: Envelope, least: int) -> str:
    """The escrow of the stake that it locks; "" if it locks none."""
    own = said.kind == "POOL" and said.thread == pool_name(said.sender)
    if not own or said.payload["op"] != "join" or said.payload["amount"] < least:
        return ""
    entry = said.sender.encode() + b"\0" + said.payload["fund"]["seq"].to_bytes(8, "big")
    return "stake-" + b32encode(sha256(b"swarmd/stake/1\0" + entry).digest()[:20]).decode().lower()


def pool_name(did: str) -> str:
    """The thread in which a verifier speaks of its place in the pool."""
    return "pool-" + b32encode(sha256(b"swarmd/pool/1\0" + did.encode()).digest()[:20]).decode().lower()


def bond_name(said: Envelope) -> str:
    """The escrow of a challenge's bond: the hash of who stakes which entry on what."""
    stake, refs = said.payload["bond"], [bytes(ref) for ref in said.refs]
    entry = [stake["seq"], stake["prev"], stake["amount"]]
    body = encode([said.sender, entry, said.thread, said.payload["task"], refs])
    return "bond-" + b32encode(sha256(b"swarmd/bond/1\0" + body).digest()[:20]).decode().lower()


def settle(oracle: Oracle, books: Books, ruling: Ruling, home: Collection[str]) -> None:
    """The money: entries of each owner's chain, in order, as soon as it can pay them. `home`: bonds that go back."""
    books.purses = purses = {did: Purse(amount) for did, amount in oracle.terms.balances.items()}
    books.escrows = {}
    chains: dict[str, tuple[int, bytes]] = {}
    waiting = dict(sorted(books.locks.items()))
    moved = True
    while moved:
        moved = False
        for owner in sorted({lock.owner for lock in waiting.values()}):
            lock = books.next_of(owner, chains, waiting.values())
            purse = purses.setdefault(owner, Purse())
            if lock is None or (purse.available < lock.amount and lock.name not in books.lapsed):
                continue
            chains[owner] = (lock.seq + 1, lock.hash())
            del waiting[lock.name]
            moved = True
            if lock.name not in books.lapsed:
                _escrow(books, lock, _end_of(books, ruling, lock, home))
    books.heads = chains
    books.applied = {owner: seq for owner, (seq, _) in chains.items()}


def _end_of(books: Books, ruling: Ruling, lock: Lock, home: Collection[str]) -> Outcome:
    if lock.name in ruling.closed and lock.name not in ruling.unpaid:
        return ruling.closed[lock.name].outcome
    if lock.name in books.sent.transfers:
        sent = books.sent.transfers[lock.name]
        return Outcome("", {"pay": (sent.to, sent.amount)}, "released")
    if lock.name in books.needs:
        return books.needs[lock.name]
    if lock.name in ruling.bonds:
        return ruling.bonds[lock.name]
    if lock.name in books.bonds and lock.name not in home:
        return books.bonds[lock.name]
    if lock.name in ruling.purses:
        return ruling.purses[lock.name]
    if lock.name in books.money and lock.name not in home:
        return books.money[lock.name]
    return Outcome("", {}, "returned" if lock.name in home else None)


def _escrow(books: Books, lock: Lock, outcome: Outcome) -> None:
    purse = books.purses[lock.owner]
    amount = lock.amount
    purse.available -= amount
    purse.locked += amount
    held = amount
    for task, (worker, price) in outcome.paid.items():
        held -= price
        purse.locked -= price
        if task.startswith(trades.HOME):
            purse.available += price
            continue
        payee = books.purses.setdefault(worker, Purse())
        payee.available += price
        payee.earned += price
    returned = 0
    if outcome.closing is not None:
        returned, held = held, 0
        purse.locked -= returned
        purse.available += returned
    books.escrows[lock.name] = (outcome.closing or "funded", held, outcome.paid, returned)
