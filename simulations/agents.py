"""The work of a simulated node outside its core (agents, judges, content, chain), and how an honest one behaves."""

from typing import TYPE_CHECKING, Any

from swarmd.protocol import cids
from swarmd.protocol.effects import Arbitrate, Fetch, Judge, RunAgent, Submit
from swarmd.protocol.inputs import AgentDone, Arbitrated, ChainSeen, ContentReady, Input, Judged
from swarmd.simulations.clock import MS_NS, S_NS
from swarmd.simulations.disk import Kept, Transaction, effect_id
from swarmd.simulations.workload import SimChain, right_answer, work_ns

if TYPE_CHECKING:
    from swarmd.simulations.checkpoints import Kept as Made
    from swarmd.simulations.node import SimNode

CRASH_SHARE = 0.02
LATE_SHARE = 0.01
ABSTAIN_SHARE = 0.02


class Conduct:
    """How a node behaves where its core leaves the choice to the world. This one is honest."""

    honest = True

    def answer(self, node: "SimNode", effect: RunAgent) -> bytes:
        """The result of a job."""
        return right_answer(effect.capability, effect.input)

    def verdict(self, node: "SimNode", effect: Judge) -> tuple[str, int, str]:
        """(verdict, score, reason) about another's result, by doing the work again."""
        expected = cids.raw_cid(right_answer(effect.capability, effect.input))
        return ("accept", 100, "the same result") if expected == effect.result else ("reject", 0, "another")

    def recipients(self, node: "SimNode") -> list[int] | None:
        """Whom a frame goes to; None for everybody."""
        return None

    def serves(self, node: "SimNode") -> bool:
        """Does it answer sync requests?"""
        return True

    def proposes(self, node: "SimNode", made: "Made") -> "Made":
        """The snapshot that it proposes, having made this one."""
        return made

    def agrees(self, node: "SimNode", same: bool) -> bool:
        """Does it vote for a snapshot, which is the `same` as its own or not?"""
        return same

    def heard(self, node: "SimNode", frame: bytes) -> None:
        """A valid frame came in."""

    def spoke(self, node: "SimNode", transaction: Transaction) -> None:
        """A turn is on disk."""


class Jobs:
    """Carries out effects. What runs when the node dies is lost; the outbox starts it again."""

    def __init__(self, node: "SimNode") -> None:
        self._node = node
        self._running: set[str] = set()

    def forget(self) -> None:
        self._running.clear()

    def start(self, effect: Kept) -> None:
        key = effect_id(effect)
        if key in self._running:
            return
        self._running.add(key)
        match effect:
            case RunAgent():
                self._work(key, effect)
            case Judge():
                self._judge(key, effect)
            case Fetch():
                self._tell(key, 60 * MS_NS, ContentReady, effect.cid)
            case Submit():
                self._submit(key, effect)
            case Arbitrate():
                self._arbitrate(self._node.life, key, effect)
            case _:
                raise TypeError(f"no job: {type(effect).__name__}")

    def _tell(self, key: str, delay_ns: int, kind: Any, *fields: Any) -> None:
        self._node.mesh.loop.after(delay_ns, self._told, self._node.life, key, kind, fields)

    def _told(self, life: int, key: str, kind: Any, fields: tuple[Any, ...]) -> None:
        node = self._node
        if life != node.life:
            return
        self._running.discard(key)

        def make(at_ns: int) -> Input:
            given: Input = kind(*fields, at_ns)
            return given

        node.tell(make)

    def _work(self, key: str, effect: RunAgent) -> None:
        node = self._node
        left_ns = effect.until_ns - node.clock.now_ns()
        took_ns = work_ns(node.random)
        luck = node.random.random()
        crashes = luck < CRASH_SHARE
        # Now and then the daemon was stopped (a paused machine) and the answer comes after the lease.
        late = luck > 1 - LATE_SHARE
        if late:
            took_ns = max(0, left_ns) + S_NS
        if left_ns <= took_ns and not late:
            why = "timeout: no answer within the lease"
            self._tell(key, max(0, left_ns), AgentDone, effect.job_id, None, 0, None, {}, why)
        elif crashes:
            self._tell(key, took_ns, AgentDone, effect.job_id, None, 0, None, {}, "crashed: exit 1")
        else:
            block = node.conduct.answer(node, effect)
            telemetry = {"wall_ms": took_ns // MS_NS, "output_bytes": len(block)}
            done = (effect.job_id, cids.raw_cid(block), len(block), block, telemetry, "")
            self._tell(key, took_ns, AgentDone, *done)

    def _judge(self, key: str, effect: Judge) -> None:
        node = self._node
        verdict = node.conduct.verdict(node, effect)
        if node.random.random() < ABSTAIN_SHARE:
            verdict = ("abstain", 0, "no agent for it here")
        self._tell(key, work_ns(node.random), Judged, effect.job_id, *verdict)

    def _arbitrate(self, life: int, key: str, effect: Arbitrate) -> None:
        """Ask until an answer comes back; a question or an answer that is lost is asked again."""
        node, arbiter = self._node, self._node.mesh.arbiter
        if life != node.life:
            return
        winner = arbiter.decide(effect, node.clock.now_ns(), node.mesh.loop.now_ns)
        if winner is None:
            node.mesh.loop.after(arbiter.patience_ns(), self._arbitrate, life, key, effect)
        else:
            self._tell(key, arbiter.delay_ns(), Arbitrated, effect.need, effect.epoch, winner)

    def _submit(self, key: str, effect: Submit) -> None:
        now_ns = self._node.mesh.loop.now_ns
        tx_hash, block, seen_ns = self._node.mesh.chain.anchor(effect.anchor_id, effect.root, now_ns)
        self._tell(
            key,
            seen_ns - now_ns,
            ChainSeen,
            effect.anchor_id,
            tx_hash,
            block,
            SimChain.CHAIN_ID,
            SimChain.CONTRACT,
        )
