"""Challenge windows at checkpoints, a second time: which needs a cut ends, what they owe, and which bonds go home.

From what the auditor's books say of a cut, and the rules of docs/challenges.md; nothing of the core's.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from swarmd.simulations import challenges
from swarmd.simulations.books import Books, Outcome, Ruling, bond_name, settle
from swarmd.simulations.oracle import Oracle
from swarmd.simulations.reading import Reading

S_NS = 1_000_000_000


def end_needs(oracle: Oracle, before: Ruling, books: Books, at_ns: int) -> set[str]:
    """The needs that end with a cut whose latest word is of `at_ns`; their outcomes become what they owe then."""
    ended = {
        thread
        for thread, outcome in books.needs.items()
        if outcome.end is not None
        and thread in books.escrows
        and not _kept(oracle, before, books, thread, at_ns)
    }
    for thread in ended:
        outcome = books.needs[thread]
        left = books.opened[thread].payload["budget"] - sum(price for _, price in outcome.earned.values())
        paid = outcome.earned | challenges.rewards(
            _reading(oracle, before, books, thread), books.facts[thread], left
        )
        books.needs[thread] = replace(outcome, paid=paid, closing=outcome.end)
    return ended


def _reading(oracle: Oracle, before: Ruling, books: Books, thread: str) -> Reading:
    need = books.opened[thread]
    return oracle.reading(need.id, before.draws(need))


def _since(before: Ruling, thread: str) -> Mapping[bytes, int]:
    standing = before.open.get(thread)
    return standing.found if standing is not None else {}


def _kept(oracle: Oracle, before: Ruling, books: Books, thread: str, at_ns: int) -> bool:
    """Does a window, or a challenge that is being judged, keep the need open?"""
    reading = _reading(oracle, before, books, thread)
    if not challenges.is_watched(reading):
        return False
    window_ns, since = oracle.terms.window_s * S_NS, _since(before, thread)
    results = [reading.facts[final].commit for final in books.needs[thread].finals.values()]
    if any(commit not in since or at_ns < since[commit] + window_ns for commit in results):
        return True
    return any(
        _funded(books, bond) and not _lapsed(since, challenge, at_ns, window_ns)
        for challenge, bond in challenges.pending(reading, books.facts[thread], bond_name).items()
    )


def _funded(books: Books, bond: str) -> bool:
    return bond in books.escrows and books.escrows[bond][0] == "funded"


def _lapsed(since: Mapping[bytes, int], challenge: bytes, at_ns: int, window_ns: int) -> bool:
    """Has its committee had a whole window?"""
    return challenge in since and at_ns >= since[challenge] + window_ns


def bonds_home(
    oracle: Oracle, before: Ruling, books: Books, ended: Collection[str], late: Collection[str], at_ns: int
) -> frozenset[str]:
    """Bonds that nothing will be judged for. `late`: of challenges that wait for what they refer to."""
    window_ns = oracle.terms.window_s * S_NS
    judged = {
        bond
        for thread in books.needs.keys() - set(ended)
        for challenge, bond in challenges.pending(
            _reading(oracle, before, books, thread), books.facts[thread], bond_name
        ).items()
        if not _lapsed(_since(before, thread), challenge, at_ns, window_ns)
    }
    settled = judged | set(late) | books.bonds.keys() | before.bonds.keys()
    idle = (name for name in books.locks if name.startswith("bond-") or name in before.unpaid)
    return frozenset(name for name in idle if name not in settled)


def overdue(oracle: Oracle, before: Ruling, books: Books, at_ns: int) -> set[str]:
    """The needs of the checkpoint before that nobody has paid for, and nobody waits for any more."""
    terms = oracle.terms
    after_ns = (terms.expiry_grace_s + 2 * terms.epoch_s) * S_NS
    return {
        thread
        for thread in before.open.keys() & books.opened.keys() - books.escrows.keys()
        if at_ns >= books.opened[thread].payload["deadline_ns"] + after_ns
    }


def lapse(oracle: Oracle, before: Ruling, books: Books, home: Collection[str], over: Collection[str]) -> None:
    """Accounts go on past what they cannot pay for and nobody waits for: the needs that are `over`, and bonds on their way
    home. One account after the other, for what comes behind may be paid then, and pay somebody else's."""
    bonds = {name for name in home if name.startswith("bond-") or name in before.unpaid}
    idle = {*over, *bonds, *(name for name, end in books.bonds.items() if end.closing == "returned")}
    for owner in sorted({books.locks[name].owner for name in idle if name in books.locks}):
        while (lock := books.following(owner)) is not None and lock.name in idle:
            books.lapsed.add(lock.name)
            settle(oracle, books, before, home)


def bonds_settled(before: Ruling, books: Books) -> dict[str, Outcome]:
    """What bonds came to, for good: rulings about needs that go on or are closed now."""
    return {**{name: end for name, end in books.bonds.items() if name in books.escrows}, **before.bonds}


def found(oracle: Oracle, before: Ruling, books: Books, thread: str, at_ns: int) -> dict[bytes, int]:
    """When checkpoints first found the results of an open need that stand, and the challenges that are being judged."""
    reading = _reading(oracle, before, books, thread)
    if not challenges.is_watched(reading):
        return {}
    refs = [reading.facts[final].commit for final in books.needs[thread].finals.values()]
    for challenge, bond in challenges.pending(reading, books.facts[thread], bond_name).items():
        if _funded(books, bond):
            refs.append(challenge)
    since = _since(before, thread)
    return {ref: since.get(ref, at_ns) for ref in refs}
