"""Carries out effects after the commit and turns their results into inputs. Idempotent: a job runs once at a time."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trio
from swarmd.node.agents.launcher import Launcher
from swarmd.node.agents.registry import AgentRegistry
from swarmd.node.agents.verifiers import CommandVerifier, Judgement, ReexecVerifier
from swarmd.node.codec import Kept, effect_id
from swarmd.node.jobs import Content
from swarmd.node.ports import AgentHost, Arbiter, Attestation, Chain, Claims, Job, JobResult
from swarmd.node.runner import Runner
from swarmd.node.schemas import SchemaPool
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.cids import dag_cbor_cid
from swarmd.protocol.effects import Arbitrate, CheckClaim, CheckQuote, Fetch, Judge, RunAgent, Submit
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.inputs import AgentDone, Arbitrated, ClaimChecked, ContentReady, Judged, QuoteChecked
from swarmd.protocol.limits import MAX_INLINE_BYTES
from swarmd.protocol.pool.attesting import hash_of

log = logging.getLogger("swarmd.dispatch")

_OF_NEED = (RunAgent, Judge, Arbitrate)
MAX_JOBS = 512
MAX_FETCHES = 64
FETCH_RETRY_S = 5.0
DISK_RETRY_S = 0.5
# After a restart an agent that attaches needs a moment to come back; its jobs wait so long for it.
AGENT_RETURN_S = 10.0
AGENT_POLL_S = 0.05


class Dispatcher:
    """`commands` are the operator's verifier commands by name: argv."""

    def __init__(
        self,
        runner: Runner,
        content: Content,
        agents: AgentHost,
        launcher: Launcher,
        registry: AgentRegistry,
        chain: Chain,
        verifier_commands: dict[str, list[str]],
        scratch: Path,
        arbiter: Arbiter | None = None,
        attestation: Attestation | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._runner = runner
        self._content = content
        self._agents = agents
        self._launcher = launcher
        self._registry = registry
        self._chain = chain
        self._commands = verifier_commands
        self._scratch = scratch
        self._arbiter = arbiter
        self._attestation = attestation
        self._claims = claims
        self._jobs = trio.CapacityLimiter(MAX_JOBS)
        self._fetches = trio.CapacityLimiter(MAX_FETCHES)
        self._running: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self._schemas = SchemaPool(launcher)

    async def run(self, kept: Iterable[Kept], *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, beginning with what the outbox still holds."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for effect in kept:
                self.start(effect, again=True)
            task_status.started()
            await trio.sleep_forever()

    def start(self, effect: Kept, *, again: bool = False) -> None:
        """Begin an effect unless it is under way. `again`: an earlier life of the daemon had begun it."""
        key = effect_id(effect)
        if key in self._running or self._nursery is None:
            return
        self._running.add(key)
        self._nursery.start_soon(self._carry_out, key, effect, again)

    async def _carry_out(self, key: str, effect: Kept, again: bool) -> None:
        try:
            match effect:
                case RunAgent():
                    async with self._jobs:
                        if again:
                            await self._agent_back(effect)
                        await self._work(effect)
                case Judge():
                    async with self._jobs:
                        if again and effect.verify["type"] == "reexec":
                            await self._agent_back(effect)
                        await self._judge(effect)
                case Fetch():
                    async with self._fetches:
                        await self._fetch(effect)
                case Submit():
                    await self._submit(effect)
                case Arbitrate():
                    await self._arbitrate(effect)
                case CheckQuote():
                    self._check_quote(effect)
                case CheckClaim():
                    await self._check_claim(effect)
        except CorruptState:
            raise
        except Exception as error:
            # The isolation boundary of an effect (P10): what we did not foresee in a peer's content or an
            # agent's answer costs this one, not the daemon.
            log.exception("%s%s failed", key, f" of {effect.need}" if isinstance(effect, _OF_NEED) else "")
            self._give_up(effect, f"internal: {type(error).__name__}")
        finally:
            self._running.discard(key)

    def _give_up(self, effect: Kept, why: str) -> None:
        """Say so where somebody waits; a fetch or an anchor is tried again by the next life."""
        if isinstance(effect, RunAgent):
            self._failed(effect.job_id, why)
        elif isinstance(effect, Judge):
            self._tell_judgement(effect.job_id, Judgement("abstain", 0, why))

    async def _agent_back(self, effect: RunAgent | Judge) -> None:
        with trio.move_on_after(min(AGENT_RETURN_S, max(0.0, self._left_s(effect.until_ns)))):
            # The port has no event for it.
            while effect.capability not in {each.name for each in self._agents.capabilities()}:  # noqa: ASYNC110
                await trio.sleep(AGENT_POLL_S)

    # Work ----------------------------------------------------------------------------------------------

    def _left_s(self, until_ns: int) -> float:
        return (until_ns - self._runner.now_ns()) / 1e9

    async def _job(self, effect: RunAgent | Judge, purpose: str) -> Job:
        values = await self._content.assemble(effect.input, effect.holders)
        return Job(
            job_id=effect.job_id,
            need=effect.need,
            task=effect.task,
            capability=effect.capability,
            input=values,
            timeout_s=max(0.05, self._left_s(effect.until_ns)),
            purpose=purpose,
            traceparent=self._runner.traceparent_of(effect.job_id),
        )

    async def _work(self, effect: RunAgent) -> None:
        left_s = self._left_s(effect.until_ns)
        if left_s <= 0:
            self._failed(effect.job_id, "timeout: the lease ended before an agent was free")
            return
        result: JobResult | None = None
        with trio.move_on_after(left_s):
            try:
                result = await self._agents.run_job(await self._job(effect, "work"))
            except (LocalFault, RemoteFault) as fault:
                self._failed(effect.job_id, f"{fault.code}: {fault.message}")
                return
        if result is None:
            self._failed(effect.job_id, "timeout: no answer within the lease")
            return
        if result.error is not None:
            self._failed(effect.job_id, f"{result.error}: {result.detail}")
            return
        try:
            cid, size, data = await self._keep(result.output, effect.until_ns)
        except BadJson as error:
            self._failed(effect.job_id, f"bad-output: {error}")
            return
        except LocalFault as fault:
            self._failed(effect.job_id, f"{fault.code}: {fault.message}")
            return
        inline = data if len(data) <= MAX_INLINE_BYTES else None
        telemetry = dict(result.telemetry)

        def done(at_ns: int) -> AgentDone:
            return AgentDone(effect.job_id, cid, size, inline, telemetry, "", at_ns)

        self._runner.tell(done)

    async def _keep(self, output: Any, until_ns: int) -> tuple[bytes, int, bytes]:
        """Store an answer. Where the disk is full, wait for room as long as the lease lasts; then LocalFault."""
        while True:
            try:
                return self._content.keep_json(output)
            except LocalFault as fault:
                if self._left_s(until_ns) <= 0:
                    raise
                self._runner.suspect_disk(fault)
            await trio.sleep(DISK_RETRY_S)

    def _failed(self, job_id: str, why: str) -> None:
        log.info("job %s failed: %s", job_id, why)
        self._runner.tell(lambda at_ns: AgentDone(job_id, None, 0, None, {}, why[:500], at_ns))

    # Judging -------------------------------------------------------------------------------------------

    async def _judge(self, effect: Judge) -> None:
        judgement: Judgement | None = None
        with trio.move_on_after(max(0.05, self._left_s(effect.until_ns))):
            try:
                judgement = await self._judgement(effect)
            except (LocalFault, RemoteFault) as fault:
                # Ours, or in what the owner gave: no word against the worker.
                judgement = Judgement("abstain", 0, f"{fault.code}: {fault.message}")
        if judgement is None:
            judgement = Judgement("abstain", 0, "not judged before the deadline")
        self._tell_judgement(effect.job_id, judgement)

    def _tell_judgement(self, job_id: str, said: Judgement) -> None:
        self._runner.tell(lambda at_ns: Judged(job_id, said.verdict, said.score, said.reason[:500], at_ns))

    async def _judgement(self, effect: Judge) -> Judgement:
        try:
            await self._content.ensure(effect.result, effect.holders)
            data = self._content.read(effect.result)
            output = parse_json(data)
        except RemoteFault as fault:
            return Judgement("reject", 0, f"{fault.code}: {fault.message}")
        except BadJson as error:
            return Judgement("reject", 0, f"the result is no JSON: {error}")
        found = {"size": len(data)}
        denied = self._commit_gate(effect, found)
        if denied is not None:
            return denied
        if len(data) != effect.size:  # whatever the policy says
            return Judgement("reject", 0, f"{len(data)} bytes where {effect.size} were claimed")
        judgement = await self._verify(effect, await self._job(effect, "verify"), output)
        if judgement.verdict == "accept" and judgement.telemetry:
            # An attached agent that does not measure says 0.
            measured = {name: value for name, value in judgement.telemetry.items() if value}
            denied = self._commit_gate(effect, {**found, **measured})
        return denied or judgement

    def _commit_gate(self, effect: Judge, actual: Mapping[str, int]) -> Judgement | None:
        """The third gate: what the worker claims of its run beside what we found, before we attest anything."""
        claimed = {**effect.telemetry, "size": effect.size}
        verdict = self._runner.gates.commit(effect.need, effect.holders[0], claimed, actual)
        if verdict.allow:
            return None
        return Judgement("reject", 0, "denied at the commit gate: " + ", ".join(verdict.reasons))

    async def _verify(self, effect: Judge, job: Job, output: Any) -> Judgement:
        kind = effect.verify["type"]
        if kind == "reexec":
            return await ReexecVerifier(self._agents).judge(job, output)
        if kind == "schema":
            cid = bytes(effect.verify["schema"])
            await self._content.ensure(cid, effect.holders)
            try:
                schema = parse_json(self._content.read(cid))
            except BadJson as error:
                raise RemoteFault("bad-schema", f"the owner's schema is no JSON: {error}") from None
            return await self._schemas.judge(cid, schema, job, output)
        argv = self._commands.get(effect.verify["name"])
        if argv is None:
            raise LocalFault("no-verifier", f"this node has no verifier command {effect.verify['name']!r}")
        return await CommandVerifier(argv, self._launcher, scratch=self._scratch).judge(job, output)

    # Arbiter, content and chain ---------------------------------------------------------------------------------

    async def _arbitrate(self, effect: Arbitrate) -> None:
        if self._arbiter is None:
            raise CorruptState(
                "no-arbiter", f"{effect.need} is to be arbitrated, and this mesh has no arbiter"
            )
        winner = await self._arbiter.decide(effect)
        self._runner.tell(lambda at_ns: Arbitrated(effect.need, effect.epoch, winner, at_ns))

    def _check_quote(self, effect: CheckQuote) -> None:
        port, why = self._attestation, "this node has no means to verify quotes"
        if port is not None:
            why = port.verify(effect.form, effect.quote, effect.data)
        digest = hash_of(effect.quote)
        self._runner.tell(lambda at_ns: QuoteChecked(effect.subject, digest, not why, why, at_ns))

    async def _check_claim(self, effect: CheckClaim) -> None:
        amount, why = 0, "this node watches no chain"
        if self._claims is not None:
            amount, why = await self._claims.check(effect)
        if why:
            log.info("a %s is not attested: %s", effect.what, why)
        subject, what, to = effect.subject, effect.what, effect.to
        self._runner.tell(lambda at_ns: ClaimChecked(subject, what, to, amount, not why, why[:500], at_ns))

    async def _fetch(self, effect: Fetch) -> None:
        while True:
            try:
                await self._content.ensure(effect.cid, effect.holders)
                break
            except LocalFault as fault:
                self._runner.suspect_disk(fault)
                log.info("%s; trying again", fault)
                await trio.sleep(FETCH_RETRY_S)
            except RemoteFault as fault:
                log.warning("content we were owed is bad: %s", fault)
                break
        self._runner.tell(lambda at_ns: ContentReady(effect.cid, at_ns))

    async def _submit(self, effect: Submit) -> None:
        while True:
            try:
                self._content.store.put_many([(dag_cbor_cid(leaf), leaf) for leaf in effect.leaves])
                await self._chain.submit_anchor(effect.anchor_id, effect.root, count=len(effect.leaves))
                return
            except LocalFault as fault:
                self._runner.suspect_disk(fault)
                log.warning("anchor not queued: %s; trying again", fault)
                await trio.sleep(FETCH_RETRY_S)
