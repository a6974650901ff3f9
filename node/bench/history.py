"""Valid signed histories of any length: what a mesh of five verifiers says while it does needs of two tasks each.

A need of two tasks is twelve envelopes (NEED, PROPOSE, ATTEST_PLAN, DECIDE, and for each task CLAIM, COMMIT, ATTEST,
FINALIZE), so six a task. `window` needs are under way at a time. Authors flush as the daemon does, at 64 envelopes.
Everything follows from the arguments, so a history is made once and kept in the user's cache.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import nacl.signing
from swarmd.node.sealing import seal
from swarmd.protocol import cids, kinds, limits
from swarmd.protocol.batch import Batch
from swarmd.protocol.cbor import Link
from swarmd.protocol.chains import Chain, Chains, Head
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import Envelope, build, epoch_thread, need_id, pool_thread, trace_of
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.ledger.accounts import GENESIS_HEAD, fund_entry
from swarmd.protocol.terms import Terms

MEMBERS = 5
TASKS_PER_NEED = 2
OPS_PER_TASK = 6
WINDOW = 256
START_NS = 1_760_000_000 * limits.S_NS
_STEP_NS = 10_000
_PRICE = 1_000
_LEASE_S = 3_600
_TASKS = ("t1", "t2")
_ANSWER = b'{"echo":1}'
_LENGTH = struct.Struct(">I")


def key_of(number: int) -> nacl.signing.SigningKey:
    return nacl.signing.SigningKey(sha256(b"swarmd/bench/history/" + bytes([number])).digest())


def did_number(number: int) -> str:
    """The did of member `number`; from MEMBERS on of somebody who is no verifier."""
    return did_of(bytes(key_of(number).verify_key))


def genesis(chain_epochs: int = limits.CHAIN_EPOCHS) -> Genesis:
    dids = [did_number(number) for number in range(MEMBERS)]
    rich = {did: 10**15 for did in (*dids, did_number(MEMBERS))}
    return Genesis("bench", tuple(sorted(dids)), rich, chain_epochs=chain_epochs)


@dataclass(slots=True)
class _Author:
    key: nacl.signing.SigningKey
    did: str
    chains: Chains = field(default_factory=Chains)
    said: list[Envelope] = field(default_factory=list)
    next_seq: int = 0  # of its account's entries
    head: bytes = GENESIS_HEAD

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data).signature


@dataclass(slots=True)
class _Need:
    id: str
    owner: _Author
    seq: int
    seat: _Author  # of the plan committee, which has one here: in bootstrap mode K is 1
    workers: dict[str, _Author]
    judges: dict[str, _Author]
    refs: dict[str, bytes] = field(default_factory=dict)


class History:
    """`flushes(needs)` says what the mesh says, in an order in which each envelope comes after what it refers to."""

    def __init__(
        self, window: int = WINDOW, step_ns: int = _STEP_NS, chain_epochs: int = limits.CHAIN_EPOCHS
    ) -> None:
        """`step_ns`: from one envelope's time to that of the next."""
        self.genesis = genesis(chain_epochs)
        self.mesh_id = self.genesis.mesh_id
        self.terms = Terms(self.genesis)
        self.epoch = 0
        self._window = window
        self._step_ns = step_ns
        keys = [key_of(number) for number in range(MEMBERS)]
        self._authors = [_Author(key, did_of(bytes(key.verify_key))) for key in keys]
        self._by_did = {author.did: author for author in self._authors}
        self._lamport = 0
        self._made = 0

    def flushes(self, needs: int) -> Iterator[tuple[bytes, list[Batch]]]:
        """(frame, batches) of each flush of the next `needs` needs. Can be called again for more."""
        while needs:
            count = min(needs, self._window)
            needs -= count
            for phase in self.wave(count):
                yield from phase

    def wave(self, count: int) -> Iterator[Iterator[tuple[bytes, list[Batch]]]]:
        """The next `count` needs in phases, each the flushes of what is said in it. Between two an epoch may end."""
        needs = [self._open() for _ in range(count)]
        for phase in _PHASES:
            for need in needs:
                phase(self, need)
            yield self.flush()

    def begin(self, epoch: int, rosters: Mapping[int, Roster], over: Mapping[str, int]) -> None:
        """From now on everybody writes in `epoch`; `over` are the chains that are closed with it."""
        for author in self._authors:
            author.chains.close(over)
        self.epoch = epoch
        self.terms = Terms(self.genesis, dict(rosters))

    @property
    def now_ns(self) -> int:
        """When the last envelope was said."""
        return START_NS + self._lamport * self._step_ns

    def heads(self) -> dict[Chain, Head]:
        return {chain: head for author in self._authors for chain, head in author.chains.heads.items()}

    def flush(self) -> Iterator[tuple[bytes, list[Batch]]]:
        for author in self._authors:
            said, author.said = author.said, []
            for first in range(0, len(said), limits.MAX_ENVELOPES_PER_BATCH):
                part = said[first : first + limits.MAX_ENVELOPES_PER_BATCH]
                for frame, batches in seal(self.mesh_id, author.did, author.chains, part, author.sign):
                    for batch in batches:
                        author.chains.accept(batch)
                    yield frame, batches

    def _say(self, author: _Author, need: _Need, kind: str, payload: dict[str, Any], *refs: str) -> bytes:
        return self._speak(author, need.id, kind, payload, tuple(need.refs[ref] for ref in refs))

    def _speak(
        self, author: _Author, thread: str, kind: str, payload: dict[str, Any], refs: tuple[bytes, ...]
    ) -> bytes:
        self._lamport += 1
        envelope = build(
            kind=kind,
            thread=thread,
            sender=author.did,
            lamport=self._lamport,
            ts_ns=self.now_ns,
            epoch=self.epoch,
            payload=payload,
            refs=refs,
            policy=bytes(32),
            eval_digest=bytes(32),
            trace=trace_of(thread, self._lamport),
        )
        author.said.append(envelope)
        return envelope.id

    # The end of an epoch -------------------------------------------------------------------------------

    def vote(self, root: bytes, state: bytes) -> None:
        """What the committee says of the snapshot that ends this epoch: CHECKPOINT, its votes and DECIDE."""
        drawn = ballots.epoch_committee(self.terms.roster(self.epoch), self.epoch)
        thread, number = epoch_thread(self.epoch + 1), self.epoch + 1
        first = self._by_did[drawn.members[0]]
        payload = {"epoch": number, "round": 0, "root": root, "state": state}
        checkpoint = self._speak(first, thread, kinds.CHECKPOINT, payload, ())
        votes = [
            self._speak(
                self._by_did[did],
                thread,
                kinds.ATTEST_PLAN,
                {"verdict": "accept", "reason": ""},
                (checkpoint,),
            )
            for did in drawn.members[: drawn.quorum]
        ]
        decided = {"round": 0, "k": drawn.quorum}
        self._speak(first, thread, kinds.DECIDE, decided, (checkpoint, *votes))

    def show_all(self) -> None:
        """A sign of life of every verifier, as each gives when an epoch has begun."""
        for author in self._authors:
            self._speak(author, pool_thread(author.did), kinds.POOL, {"op": "heartbeat"}, ())

    # A need's life -------------------------------------------------------------------------------------

    def _open(self) -> _Need:
        number = self._made
        self._made += 1
        owner = self._authors[number % MEMBERS]
        seq = owner.next_seq
        owner.next_seq += 1
        name = need_id(owner.did, seq)
        terms, epoch = self.terms, self.epoch
        seat = terms.draw("plan", name, "", epoch, (owner.did,)).members[0]
        workers, judges = {}, {}
        for at, task in enumerate(_TASKS):
            worker = self._authors[(number + 1 + at) % MEMBERS]
            gone = (owner.did, worker.did)
            judge = terms.draw("result", name, task, epoch, gone).members[0]
            workers[task], judges[task] = worker, self._by_did[judge]
        return _Need(name, owner, seq, self._by_did[seat], workers, judges)

    def _need(self, need: _Need) -> None:
        owner, value = need.owner, f"{need.seq}".encode()
        budget = TASKS_PER_NEED * _PRICE
        payload = {
            "title": f"bench {need.seq}",
            "budget": budget,
            "deadline_ns": START_NS + limits.MAX_DEADLINE_S * limits.S_NS,
            "fund": {"seq": need.seq, "prev": owner.head},
            "tasks": [
                {
                    "id": task,
                    "capability": "bench.echo",
                    "max_price": _PRICE,
                    "input": {"value": {"cid": Link(cids.raw_cid(value)), "as": "json"}},
                    "verify": {"type": "reexec"},
                }
                for task in _TASKS
            ],
            "inline": [value],
        }
        owner.head = fund_entry(owner.did, need.seq, owner.head, need.id, budget).hash
        need.refs["need"] = self._say(owner, need, kinds.NEED, payload)

    def _propose(self, need: _Need) -> None:
        plan = {task: [[need.workers[task].did, _PRICE]] for task in _TASKS}
        payload = {"round": 0, "lease_s": _LEASE_S, "plan": plan}
        need.refs["proposal"] = self._say(need.seat, need, kinds.PROPOSE, payload, "need")
        vote = {"verdict": "accept", "reason": ""}
        need.refs["vote"] = self._say(need.seat, need, kinds.ATTEST_PLAN, vote, "proposal")
        decided = {"round": 0, "k": 1}
        need.refs["decide"] = self._say(need.seat, need, kinds.DECIDE, decided, "proposal", "vote")

    def _claim(self, need: _Need) -> None:
        for task in _TASKS:
            payload = {"task": task, "attempt": 0, "lease_s": _LEASE_S}
            need.refs[task] = self._say(need.workers[task], need, kinds.CLAIM, payload, "decide")

    def _commit(self, need: _Need) -> None:
        telemetry = {"wall_ms": 3, "cpu_ms": 2, "max_rss_kb": 20_000, "output_bytes": len(_ANSWER)}
        for task in _TASKS:
            payload = {
                "task": task,
                "result": Link(cids.raw_cid(_ANSWER)),
                "size": len(_ANSWER),
                "telemetry": telemetry,
                "inline": _ANSWER,
            }
            need.refs[task] = self._say(need.workers[task], need, kinds.COMMIT, payload, task)

    def _judge(self, need: _Need) -> None:
        for task in _TASKS:
            judge = need.judges[task]
            verdict = {"task": task, "verdict": "accept", "score": 100, "reason": "the same result"}
            need.refs["attest"] = self._say(judge, need, kinds.ATTEST, verdict, task)
            final = {"outcome": "accepted", "task": task, "result": Link(cids.raw_cid(_ANSWER))}
            self._say(judge, need, kinds.FINALIZE, final, task, "attest")


_PHASES = (History._need, History._propose, History._claim, History._commit, History._judge)


# Kept ----------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/swarmd/bench` or `~/.cache/swarmd/bench`."""
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if xdg.startswith("/") else Path.home() / ".cache") / "swarmd" / "bench"


def kept_frames(tasks: int, folder: Path | None = None) -> Path:
    """A file with the frames of a history of `tasks` tasks (an even number), made unless it is there.

    Its name has a hash of how such a history begins, so another wire format has another file.
    """
    folder = folder or cache_folder()
    begins = sha256(b"".join(frame for frame, _ in History().flushes(2))).hexdigest()[:16]
    path = folder / f"history-{tasks}-{begins}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                for frame, _ in History().flushes(tasks // TASKS_PER_NEED):
                    file.write(_LENGTH.pack(len(frame)) + frame)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def read_frames(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(head)[0])
