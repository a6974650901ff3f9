"""What the auditor holds against what is said: votes, decisions, results, ballots and signatures, each judged once."""

from collections.abc import Callable

from swarmd.protocol import cids
from swarmd.protocol.envelope import Envelope
from swarmd.simulations.node import SimNode
from swarmd.simulations.oracle import Oracle
from swarmd.simulations.reading import Fact, Reading
from swarmd.simulations.workload import right_answer

Check = Callable[[str, bool, SimNode, str], None]


class Statements:
    """`check` is told of each property whether it holds. `honest`: did -> does that node keep to the rules?"""

    def __init__(self, oracle: Oracle, honest: dict[str, bool], check: Check) -> None:
        self.oracle = oracle
        self._honest = honest
        self._check = check
        self._votes: dict[tuple[str, str], list[Fact]] = {}
        self._double_voters: dict[str, set[str]] = {}
        self._decisions: dict[tuple[str, int], set[bytes]] = {}
        self._ballots: dict[tuple[str, str], list[Envelope]] = {}
        self._signed: dict[tuple[str, str, int], bytes] = {}
        self._signers: dict[tuple[str, int, bytes, int], set[str]] = {}
        self._final: dict[tuple[str, int], bytes] = {}

    def weigh(self, node: SimNode, envelope: Envelope, reading: Reading | None) -> None:
        """An envelope that nobody saw before; `reading`: what its need means, None if there is none."""
        if envelope.thread.startswith("epoch-"):
            self._ballot(node, envelope)
            return
        if envelope.kind == "MONEY":
            self._signatures(node, envelope)
            return
        fact = reading.facts.get(envelope.id) if reading is not None else None
        if fact is None or reading is None:
            return
        if envelope.kind == "ATTEST_PLAN":
            said = self._votes.setdefault((envelope.thread, envelope.sender), [])
            twice = any(_contradict(fact, other) for other in said)
            said.append(fact)
            if twice:
                self._double_voters.setdefault(envelope.thread, set()).add(envelope.sender)
            if self._honest[envelope.sender]:
                self._check("P1", not twice, node, f"{envelope.sender[-8:]} voted twice in {envelope.thread}")
        elif envelope.kind == "DECIDE":
            self._decision(node, envelope, reading)
        elif envelope.kind == "FINALIZE" and fact.commit:
            self._result(node, envelope, reading)

    def _ballot(self, node: SimNode, envelope: Envelope) -> None:
        """No honest member votes twice about the end of an epoch."""
        if envelope.kind != "ATTEST_PLAN" or not self._honest[envelope.sender]:
            return
        said = self._ballots.setdefault((envelope.thread, envelope.sender), [])
        said.append(envelope)
        rounds: dict[int, bytes] = {}
        asked = 0
        twice = False
        for vote in sorted(said, key=lambda e: e.lamport):
            if vote.payload["verdict"] == "skip":
                asked = max(asked, vote.payload["round"])
            elif vote.payload["verdict"] == "accept" and vote.refs[0] in self.oracle.seen:
                proposal = self.oracle.seen[vote.refs[0]]
                round_ = proposal.payload["round"]
                twice = twice or round_ < asked or rounds.setdefault(round_, proposal.id) != proposal.id
        self._check("P1", not twice, node, f"{envelope.sender[-8:]} voted twice about {envelope.thread}")

    def _signatures(self, node: SimNode, envelope: Envelope) -> None:
        """An honest member signs one entry of a number, and one is final at most."""
        if envelope.payload["op"] != "confirm":
            return
        members, quorum = self.oracle.epoch_enders(envelope.epoch)
        for owner, seq, entry in envelope.payload["entries"]:
            known = self._signed.setdefault((envelope.sender, owner, seq), bytes(entry))
            if self._honest[envelope.sender]:
                self._check("P1", known == entry, node, f"{envelope.sender[-8:]} signed two entries {seq}")
            signers = self._signers.setdefault((owner, seq, bytes(entry), envelope.epoch), set())
            signers |= {envelope.sender} & set(members)
            if len(signers) >= quorum:
                final = self._final.setdefault((owner, seq), bytes(entry))
                self._check("P9", final == entry, node, f"two entries {seq} of {owner[-8:]} are final")

    def _decision(self, node: SimNode, envelope: Envelope, reading: Reading) -> None:
        fact = reading.facts[envelope.id]
        known = self._decisions.setdefault((envelope.thread, fact.draw), set())
        known.add(fact.proposal)
        # Among honest members two decisions cannot be: only more than may lie, each seen to contradict itself, explain
        # a second.
        liars = [did for did in self._double_voters.get(envelope.thread, ()) if not self._honest[did]]
        members, _ = reading.planners(fact.draw)
        excused = len(liars) > self.oracle.liars_borne(len(members))
        self._check("P1", len(known) == 1 or excused, node, f"{len(known)} decisions in {envelope.thread}")

    def _result(self, node: SimNode, envelope: Envelope, reading: Reading) -> None:
        """Is the accepted result what an honest agent makes of the input?"""
        fact = reading.facts[envelope.id]
        need = reading.need
        spec = next(task for task in need.payload["tasks"] if task["id"] == fact.task)
        claim = self.oracle.seen[reading.facts[fact.commit].certificate[0]]
        finals = {f.task: f.result for r in claim.refs if (f := reading.facts.get(r)) and f.commit}
        bound = {
            name: {"cid": binding["cid"] if "cid" in binding else finals[binding["task"]]}
            for name, binding in spec["input"].items()
        }
        right = cids.raw_cid(right_answer(spec["capability"], bound)) == fact.result
        # Committees that look at the form alone let lies pass: then it is for challenges to mend (P3).
        right = right or self.oracle.terms.window_s > 0
        self._check("result", right, node, f"a wrong result of {fact.task} in {envelope.thread} is accepted")


def _contradict(one: Fact, other: Fact) -> bool:
    """Two statements of one member about a plan, before one committee, that no honest one makes both."""
    if one.draw != other.draw:
        return False
    early, late = sorted((one, other), key=lambda fact: fact.said.lamport)
    verdicts = early.said.payload["verdict"], late.said.payload["verdict"]
    match verdicts:
        case "accept", "accept":
            return early.round == late.round and early.proposal != late.proposal
        case "skip", "accept":
            return late.round < early.round
        case "accept", "skip":
            return late.shown_round < early.round < late.round
    return False
