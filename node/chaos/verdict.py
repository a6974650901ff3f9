"""Was anything wrong? Judges what the nodes' journals hold against what was acknowledged and what they report."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmd.node.chaos.reading import ENDS, Outcome, Reading
from swarmd.node.journal import Journal
from swarmd.node.replay import recording
from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.protocol.batch import parse_sealed
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.cbor import decode
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import CorruptState, Fault

PROPERTIES: Mapping[str, str] = {
    "P1": "one decided proposal per need and epoch, one vote per member",
    "P2": "a replay gives the node's own state, one in another order the mesh's",
    "P5": "only the holder of a lease commits under it, in its time; the next attempt shows how it ended",
    "P6": "every decision and result cites a quorum of its committee",
    "P9": "money is conserved on every node; whatever was acknowledged is there, once",
    "P10": "no daemon ended by itself",
    "blame": "no daemon accuses another, as all are honest",
    "result": "no result but the right one is accepted",
    "convergence": "the nodes agree once nothing goes wrong any more",
    "liveness": "every need came to an end",
    "recovery": "each need posted when all was well again got its result",
}
MAX_VIOLATIONS = 100
SHUFFLE_SKEW_S = 20.0


@dataclass(frozen=True, slots=True)
class Violation:
    property: str
    node: str  # "" if it is the mesh's
    text: str

    def to_map(self) -> dict[str, str]:
        return {"property": self.property, "node": self.node, "text": self.text}


@dataclass(slots=True)
class NodeEvidence:
    """A copy of a node's journal (a folder, with the genesis), and what its daemon said at that very moment.

    `accounts`: did -> (available, locked) in minor units; `needs`: need -> state.
    """

    name: str
    folder: Path
    state_digest: str
    mesh_digest: str
    accounts: Mapping[str, tuple[int, int]]
    needs: Mapping[str, str]


@dataclass(slots=True)
class Evidence:
    """`acknowledged`: need -> title; `unanswered`: titles of needs that may or may not be there."""

    nodes: Sequence[NodeEvidence]
    acknowledged: Mapping[str, str]
    unanswered: frozenset[str] = frozenset()
    deaths: Sequence[str] = ()
    late: Sequence[str] = ()  # what had not converged in time
    accusations: Sequence[str] = ()  # of one daemon by another
    after: Sequence[str] = ()  # needs posted when all was well again


@dataclass(slots=True)
class Verdict:
    violations: list[Violation] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)  # state -> needs
    envelopes: int = 0

    def properties(self) -> dict[str, str]:
        broken = {violation.property for violation in self.violations}
        return {name: "broken" if name in broken else "held" for name in PROPERTIES}


def judge(evidence: Evidence, seed: int) -> Verdict:
    """The verdict; `seed` picks the other order of the replay (P2)."""
    verdict = Verdict()

    def add(found: Iterable[Violation]) -> None:
        verdict.violations.extend(found)

    add(Violation("P10", "", death) for death in evidence.deaths)
    add(Violation("blame", "", accusation) for accusation in evidence.accusations)
    add(Violation("convergence", "", late) for late in evidence.late)
    held: dict[str, dict[bytes, Envelope]] = {}
    for node in evidence.nodes:
        try:
            held[node.name] = _envelopes(node.folder)
        except Fault as fault:
            add([Violation("P2", node.name, f"its journal cannot be read: {fault}")])
    if held:
        genesis = load_genesis(evidence.nodes[0].folder / GENESIS_FILE)
        union = {id_: said for saids in held.values() for id_, said in saids.items()}
        verdict.envelopes = len(union)
        reading = Reading(genesis, union.values())
        add(Violation(broken, "", text) for broken, text in reading.check())
        outcomes = {need: reading.outcome(need) for need in reading.needs}
        for outcome in outcomes.values():
            verdict.ends[outcome.state] = verdict.ends.get(outcome.state, 0) + 1
        add(_acknowledged(evidence, reading))
        add(_results(reading))
        add(
            Violation("liveness", "", f"{need} is still {outcome.state}")
            for need, outcome in outcomes.items()
            if outcome.state not in ENDS
        )
        for need in evidence.after:
            state = outcomes[need].state if need in outcomes else "gone"
            if state != "FINALIZED":
                add([Violation("recovery", "", f"{need}, posted when all was well again, is {state}")])
        add(_proofs(evidence))
        for node in evidence.nodes:
            if node.name in held:
                add(_agrees(node, held[node.name], union, reading, outcomes))
    for node in evidence.nodes:
        if node.name in held:
            add(_replays(node, seed))
    del verdict.violations[MAX_VIOLATIONS:]
    return verdict


def _envelopes(folder: Path) -> dict[bytes, Envelope]:
    """Every envelope of a journal by its id, each batch's signature checked anew."""
    mesh_id = load_genesis(folder / GENESIS_FILE).mesh_id
    journal = Journal(folder / "journal.db")
    try:
        verified: set[bytes] = set()
        found: dict[bytes, Envelope] = {}
        for (body,) in journal.db.execute("select body from batches"):
            batch = parse_sealed(mesh_id, decode(body), verified)
            found |= {bytes(envelope.id): envelope for envelope in batch.envelopes}
        return found
    finally:
        journal.close()


def _acknowledged(evidence: Evidence, reading: Reading) -> Iterator[Violation]:
    titles = Counter(need.payload["title"] for need in reading.needs.values())
    for need, title in evidence.acknowledged.items():
        found = reading.needs.get(need)
        if found is None:
            yield Violation("P9", "", f"{need} ({title}) was acknowledged and is gone")
        elif found.payload["title"] != title:
            yield Violation("P9", "", f"{need} was acknowledged as {title}, it is {found.payload['title']}")
    asked = {*evidence.acknowledged.values(), *evidence.unanswered}
    for title, count in sorted(titles.items()):
        if count > 1:
            yield Violation("P9", "", f"{title} was posted once and is there {count} times")
        if title not in asked:
            yield Violation("P9", "", f"{title} is there, and nobody posted it")


def _proofs(evidence: Evidence) -> Iterator[Violation]:
    for node in evidence.nodes:
        journal = Journal(node.folder / "journal.db")
        try:
            for what, _ in journal.proofs():
                yield Violation("blame", node.name, f"its journal holds a proof of {what}")
        finally:
            journal.close()


def _results(reading: Reading) -> Iterator[Violation]:
    """Every task of the load answers with the title of its need."""
    for thread, saids in reading.threads.items():
        right = {"echo": reading.needs[thread].payload["title"]} if thread in reading.needs else None
        commits = {bytes(said.id): said for said in saids if said.kind == "COMMIT"}
        for said in saids:
            if said.kind != "FINALIZE" or said.payload["outcome"] != "accepted":
                continue
            for commit in (commits[bytes(ref)] for ref in said.refs if bytes(ref) in commits):
                try:
                    value = parse_json(commit.payload.get("inline", b""))
                except BadJson:
                    value = None
                if value != right:
                    yield Violation("result", "", f"{thread}/{said.payload['task']}: {value}, not {right}")


def _agrees(
    node: NodeEvidence,
    held: Mapping[bytes, Envelope],
    union: Mapping[bytes, Envelope],
    reading: Reading,
    outcomes: Mapping[str, Outcome],
) -> Iterator[Violation]:
    """Does the node hold and believe what follows from all that was said?"""
    lacking = union.keys() - held.keys()
    if lacking:
        kinds = sorted({union[id_].kind for id_ in lacking})
        yield Violation("convergence", node.name, f"lacks {len(lacking)} envelopes: {', '.join(kinds)}")
    expected = reading.accounts(dict(outcomes))
    for did, (available, locked) in expected.items():
        said = node.accounts.get(did)
        if said != (available, locked):
            yield Violation("P9", node.name, f"{did} has {said}, it should be {(available, locked)}")
    total = sum(available + locked for available, locked in node.accounts.values())
    if total != sum(reading.genesis.balances.values()):
        yield Violation("P9", node.name, f"money is not conserved: {total} in all accounts")
    if any(amount < 0 for account in node.accounts.values() for amount in account):
        yield Violation("P9", node.name, "an account is negative")
    for need, outcome in outcomes.items():
        if node.needs.get(need) != outcome.state:
            name = "liveness" if node.needs.get(need) not in ENDS else "convergence"
            yield Violation(
                name, node.name, f"{need} is {node.needs.get(need)}, it should be {outcome.state}"
            )


def _replays(node: NodeEvidence, seed: int) -> Iterator[Violation]:
    try:
        with recording(node.folder) as taken:
            same = taken.replay()
            other = taken.replay_shuffled(seed, SHUFFLE_SKEW_S)
    except CorruptState as fault:
        # The core's own invariants, checked in full after each input.
        name = fault.code if fault.code in PROPERTIES else "P9" if "money" in fault.code else "P2"
        yield Violation(name, node.name, f"its replay breaks off: {fault}")
        return
    except Exception as error:
        # An engine that breaks on a journal of its own is a finding, and must not cost the rest of the report.
        yield Violation("P2", node.name, f"its replay breaks off: {error!r}"[:500])
        return
    if same.state_digest != node.state_digest:
        yield Violation("P2", node.name, "a replay of its journal gives another state than it reports")
    if same.mesh_digest != node.mesh_digest:
        yield Violation("P2", node.name, "a replay of its journal gives another mesh than it reports")
    if other.mesh_digest != node.mesh_digest:
        yield Violation("P2", node.name, f"heard in another order (seed {seed}) it believes something else")


def summary_of(verdict: Verdict) -> dict[str, Any]:
    """The verdict's part of the report."""
    return {
        "needs": sum(verdict.ends.values()),
        **{state.lower(): verdict.ends.get(state, 0) for state in ENDS},
        "envelopes": verdict.envelopes,
        "violations": [violation.to_map() for violation in verdict.violations],
        "properties": verdict.properties(),
    }
