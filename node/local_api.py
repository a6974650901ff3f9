"""The operations of the local socket: what the CLI, the dashboard's API and scripts on this host can ask."""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from swarmd.node import views, why
from swarmd.node.agents.host import Agents
from swarmd.node.agents.ops import agent_ops
from swarmd.node.checkpoint.archive import Archive
from swarmd.node.jobs import Content
from swarmd.node.paging import list_needs
from swarmd.node.pool import views as pool_views
from swarmd.node.ports import Chain, Transport
from swarmd.node.recent import RecentDigests
from swarmd.node.runner import Runner
from swarmd.node.specs import SpecReader
from swarmd.node.state.sync import Progress, Sync
from swarmd.node.topics import TopicFilter, TopicHub, topic_of
from swarmd.node.transport.local import LocalCall
from swarmd.node.version import version
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.cids import parse_cid
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.terms import in_bootstrap
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.need_states import ENDS

MAX_RESULT_BYTES = 4 * 1_048_576
MAX_DIGESTS_AGE_S = 60
Op = Callable[[LocalCall], Awaitable[Any]]


class Ends:
    """Wakes who waits for a need to come to its end."""

    def __init__(self, runner: Runner) -> None:
        self._events: dict[str, trio.Event] = {}
        runner.watchers.append(self._watch)

    def _watch(self, envelope: Envelope) -> None:
        # Any envelope may be the last that was missing: a FINALIZE can have come before what it refers to.
        event = self._events.get(envelope.thread)
        if event is not None:
            event.set()

    async def wait(self, need: str, over: Callable[[], bool]) -> None:
        while not over():
            event = self._events.get(need)
            if event is None or event.is_set():
                event = self._events[need] = trio.Event()
            await event.wait()
        self._events.pop(need, None)


class LocalApi:
    """`handle` answers one call; LocalFault for what cannot be answered."""

    def __init__(
        self,
        runner: Runner,
        transport: Transport,
        agents: Agents,
        content: Content,
        chain: Chain,
        sync: Sync,
        stop: Callable[[], None],
        more: Mapping[str, Op],
        network: Callable[[], Mapping[str, Any]],
        silence: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._agents = agents
        self._content = content
        self._chain = chain
        self._sync = sync
        self._stop = stop
        self._network = network
        self._silence = silence
        self._started_ns = time.time_ns()
        self._ends = Ends(runner)
        self._digests = RecentDigests(runner)
        self._mesh = {"id": runner.genesis.mesh_name, "name": runner.genesis.name}
        self.bridge: Callable[[], Mapping[str, Any] | None] = lambda: None
        self.arbiter: Callable[[], Mapping[str, Any] | None] = lambda: None
        self.http: Callable[[], Mapping[str, Any] | None] = lambda: None
        self.archive: Archive | None = None
        self.checkpoints: Callable[[], Mapping[str, Any] | None] = lambda: None
        self.topics = TopicHub()
        runner.watchers.append(self.topics.publish)
        self._ops: dict[str, Op] = {
            **agent_ops(agents),
            **more,
            "version": self._version,
            "status": self._status,
            "digest": self._digest,
            "need.post": self._need_post,
            "need.list": self._need_list,
            "need.show": self._need_show,
            "need.graph": self._need_graph,
            "challenge": self._challenge,
            "task.list": self._task_list,
            "need.watch": self._need_watch,
            "need.wait": self._need_wait,
            "topic.watch": self._topic_watch,
            "content.cat": self._content_cat,
            "balance": self._balance,
            "why": self._why,
            "sync": self._sync_now,
            "shutdown": self._shutdown,
        }

    async def handle(self, call: LocalCall) -> Any:
        op = self._ops.get(call.op)
        if op is None:
            raise LocalFault("unknown-op", f"{call.op!r}; there are {', '.join(sorted(self._ops))}")
        return await op(call)

    # The node ------------------------------------------------------------------------------------------

    async def _version(self, call: LocalCall) -> Any:
        return {"version": version(), "protocol": 1}

    async def _status(self, call: LocalCall) -> Any:
        """{digests_age_s?: how old the digests may be; they are exact without it}."""
        may_be_s = call.args.get("digests_age_s", 0)
        if type(may_be_s) not in (int, float) or not 0 <= may_be_s <= MAX_DIGESTS_AGE_S:
            raise LocalFault("bad-args", f"digests_age_s is a number from 0 to {MAX_DIGESTS_AGE_S}")
        runner = self._runner
        state = runner.state
        mesh_digest, state_digest = self._digests.pair(may_be_s)
        roster = state.terms.roster(state.epoch)
        inputs, size = runner.journal.size()
        return {
            "version": version(),
            "did": runner.me,
            "peer_id": self._transport.peer_id,
            "addrs": list(self._transport.addrs),
            "mesh": self._mesh,
            "epoch": state.epoch,
            "checkpoint": self.checkpoints(),
            "uptime_s": (time.time_ns() - self._started_ns) // 1_000_000_000,
            "peers": len(self._transport.peers()),
            "needs": state.views.need_counts(),
            "refused_needs": len(state.refused),
            "parked": len(state.parked_ids),
            "agents": len(self._agents.describe()),
            "capabilities": [c.name for c in self._agents.capabilities()],
            "roles": ["verifier"] if runner.me in roster else [],
            "roster": len(roster),
            "lamport": state.lamport,
            "mesh_digest": mesh_digest,
            "state_digest": state_digest,
            "balance": views.balance(state, runner.me)["available"],
            "chain": dict(self._chain.status()),
            "policy_hash": runner.gate.policy_hash.hex(),
            "gates": dict(runner.gates.counters),
            "journal": {"inputs": inputs, "bytes": size, "proofs": len(runner.journal.proofs())},
            "ingress": {
                "faults": dict(runner.ingress.faults),
                "duplicates": runner.ingress.duplicates,
                "dropped": runner.frames_dropped,
            },
            "sync": {"rounds": self._sync.rounds, "repaired": self._sync.repaired},
            "network": dict(self._network()),
            "trouble": runner.trouble,
            "bridge": self.bridge(),
            "arbiter": self.arbiter(),
            "api": self.http(),
            "restored": self._silence(),
            "manifests": len(state.manifests),
            "offers": sum(len(manifest.offers) for manifest in state.manifests.values()),
            "counters": dict(runner.counters),
            "bus_ms": {f"p{p}": round(runner.bus.percentile(p / 100), 2) for p in (50, 95, 99)},
            "bus_buckets": {str(bucket): n for bucket, n in runner.bus.buckets.items()},
            "k_plan": state.terms.k_plan(state.epoch),
            "k_result": state.terms.k_result(state.epoch),
            "bootstrap": in_bootstrap(state.terms, state.epoch),
            "pool": pool_views.summary(state),
        }

    async def _digest(self, call: LocalCall) -> Any:
        state = self._runner.state
        mesh_digest, state_digest = self._digests.pair()
        return {
            "mesh_digest": mesh_digest,
            "state_digest": state_digest,
            "needs": len(state.needs),
            "parked": len(state.parked_ids),
        }

    async def _sync_now(self, call: LocalCall) -> Any:
        """Ask every peer now for what we lack. Streams {"peer", "missing", "got"} a round and part of it."""
        send, receive = trio.open_memory_channel[dict[str, Any]](64)

        def told(progress: Progress) -> None:
            # Who watches slowly misses steps, not the end.
            with contextlib.suppress(trio.WouldBlock):
                send.send_nowait({"peer": progress.peer, "missing": progress.missing, "got": progress.got})

        async def pass_on() -> None:
            async for step in receive:
                await call.emit(step)

        fault: LocalFault | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_on)
            with send:
                try:
                    found = await self._sync.now(told)
                except LocalFault as ours:  # raised here it would come out in a group, and be "internal"
                    fault = ours
        if fault is not None:
            raise fault
        return found

    async def _shutdown(self, call: LocalCall) -> Any:
        self._stop()
        return {"stopping": True}

    # Needs ---------------------------------------------------------------------------------------------

    async def _need_post(self, call: LocalCall) -> Any:
        reader = SpecReader(self._content.add)
        try:
            args = reader.need(call.args.get("spec"))
        except LocalFault as fault:
            self._runner.suspect_disk(fault)
            raise
        reply = self._runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)
        assert reply is not None
        return {"need": await reply.wait()}

    async def _challenge(self, call: LocalCall) -> Any:
        """{need, task, reason, evidence: [CID]}: have an accepted result judged again; answers with what is at stake."""
        state, need = self._found(call)
        if state is not self._runner.state:
            raise LocalFault("too-late", f"a checkpoint closed {need.id}: its challenge window has ended")
        task, reason, evidence = (call.args.get(name) for name in ("task", "reason", "evidence"))
        if task is None and len(need.runs) == 1:
            task = next(iter(need.runs))
        if not isinstance(task, str) or not isinstance(reason, str) or not isinstance(evidence, list):
            raise LocalFault("bad-args", "name a task, a reason and a list of evidence")
        try:
            cids = [parse_cid(cid) for cid in evidence]
        except RemoteFault as fault:
            raise LocalFault("bad-args", f"evidence: {fault.message}") from None
        args = {"need": need.id, "task": task, "reason": reason, "evidence": cids}
        reply = self._runner.tell(lambda at_ns: Commanded("challenge", args, at_ns), reply=True)
        assert reply is not None
        await reply.wait()
        mine = [c for c in need.challenges.values() if (c.challenger, c.task) == (state.me, task)]
        if not mine:
            raise LocalFault("no-challenge", "it was refused", fix=f"swarmd why {need.id} says why")
        return {"need": need.id, **views.challenge_row(state, need, max(mine, key=lambda c: c.lamport))}

    async def _need_list(self, call: LocalCall) -> Any:
        """{state, limit, cursor}: newest first, or what moved last first within a state; `next` continues."""
        args = call.args
        return list_needs(
            self._runner.state, self.archive, args.get("state"), _limit(args), args.get("cursor")
        )

    async def _task_list(self, call: LocalCall) -> Any:
        """Tasks of all needs, or of one; by state, or those that are ready."""
        args = call.args
        need = self._need(call).id if args.get("need") is not None else None
        return views.task_page(
            self._runner.state, need, args.get("state"), bool(args.get("ready")), _limit(args)
        )

    async def _need_graph(self, call: LocalCall) -> Any:
        return views.graph(self._need(call), call.args.get("task"))

    def _found(self, call: LocalCall) -> tuple[State, Need]:
        """The need that a call names, and the state that has it: ours, or one made for a need that was closed."""
        text, state = call.args.get("need"), self._runner.state
        if not isinstance(text, str):
            raise LocalFault("bad-args", "name a need")
        try:
            return state, views.find_need(state, text)
        except LocalFault:
            archived = self.archive.find(text) if self.archive is not None else None
            if self.archive is None or archived is None:
                raise
            brought = self.archive.bring_back(archived)
            return brought, brought.needs[archived]

    def _need(self, call: LocalCall) -> Need:
        return self._found(call)[1]

    def _detail(self, need: Need, state: State | None = None) -> dict[str, Any]:
        detail = views.need_detail(state or self._runner.state, need)
        values = {}
        for task, cid in detail["result"].items():
            binary = parse_cid(cid)
            if not self._content.here(binary):
                continue
            try:
                values[task] = parse_json(self._content.read(binary, MAX_RESULT_BYTES))
            except (RemoteFault, BadJson) as error:
                values[task] = {"unreadable": str(error)}
        return {**detail, "values": values}

    async def _need_show(self, call: LocalCall) -> Any:
        state, need = self._found(call)
        return self._detail(need, state)

    async def _need_watch(self, call: LocalCall) -> Any:
        """Events of one need, from its beginning to its end; then what `need.show` says."""
        state, need = self._found(call)
        send, receive = trio.open_memory_channel[Envelope](1_024)

        def watch(envelope: Envelope) -> None:
            if envelope.thread == need.id:
                try:
                    send.send_nowait(envelope)
                except trio.WouldBlock:
                    pass  # a reader that slow gets the final state, not every step

        self._runner.watchers.append(watch)
        try:
            known = set()
            for envelope in self._runner.thread(need.id):
                known.add(envelope.id)
                await call.emit(self._event(envelope))
            while need.state() not in ENDS or receive.statistics().current_buffer_used:
                envelope = await receive.receive()
                if envelope.id not in known:
                    await call.emit(self._event(envelope))
                need = self._runner.state.needs.get(need.id, need)
            with trio.move_on_after(5.0):
                for run in list(need.runs.values()):
                    if run.final is not None and not need.graph.children(run.final.task):
                        await self._content.ensure(run.final.result, (run.final.worker,))
        except (LocalFault, RemoteFault):
            pass  # the result's content is not to be had right now: show the rest
        finally:
            self._runner.watchers.remove(watch)
        return self._detail(need, state if state.me == NOBODY else None)

    async def _need_wait(self, call: LocalCall) -> Any:
        """{need}: answers when the need is at its end, with its row and the times to decision and result."""
        state, need = self._found(call)
        if state is not self._runner.state:
            return {**views.need_row(state, need), **views.times(need)}
        name = need.id

        def over() -> bool:
            # By its name: the state is built anew when a turn is taken back.
            held = self._runner.state.needs.get(name)
            return held is None or held.state() in ENDS

        if not over():
            await self._ends.wait(name, over)
        state, need = self._found(call)
        return {**views.need_row(state, need), **views.times(need)}

    async def _topic_watch(self, call: LocalCall) -> Any:
        """{topic, count = 0}: each envelope on the topic from now on, until the client leaves or `count` came.
        The answer is how many a slow reader lost."""
        topic, count = call.args.get("topic"), call.args.get("count", 0)
        if type(topic) is not str or type(count) is not int or count < 0:
            raise LocalFault("usage", "topic.watch takes a topic and a count")
        subscription = self.topics.subscribe(TopicFilter.parse(topic))
        left = count or math.inf
        try:
            while True:
                for envelope in await subscription.take():
                    await call.emit({"topic": topic_of(envelope), **self._event(envelope)})
                    left -= 1
                    if not left:
                        return {"lost": subscription.lost}
        finally:
            self.topics.unsubscribe(subscription)

    def _event(self, envelope: Envelope) -> dict[str, Any]:
        need = self._runner.state.needs.get(envelope.thread)  # None: its NEED is not here yet
        return {
            "at_ns": envelope.ts_ns,
            "kind": envelope.kind,
            "task": envelope.payload.get("task", ""),
            "sender": envelope.sender,
            "text": why.describe(envelope),
            "state": need.state() if need is not None else "",
        }

    async def _content_cat(self, call: LocalCall) -> Any:
        """{cid}: the bytes of a file, fetched from peers if need be."""
        text = call.args.get("cid")
        try:
            cid = parse_cid(text if isinstance(text, str) else "")
        except RemoteFault as fault:
            raise LocalFault(fault.code, fault.message) from None
        try:
            await self._content.ensure(cid, ())
            return {"data": self._content.read(cid, 8 * 1_048_576)}
        except RemoteFault as fault:
            raise LocalFault(fault.code, fault.message) from None

    # Money and reasons ---------------------------------------------------------------------------------

    async def _balance(self, call: LocalCall) -> Any:
        did = call.args.get("did") or self._runner.me
        try:
            public_key_of(did)
        except RemoteFault as fault:
            raise LocalFault(fault.code, fault.message) from None
        return views.balance(self._runner.state, did)

    async def _why(self, call: LocalCall) -> Any:
        runner = self._runner
        state, need = self._found(call)
        return why.explain(state, runner.journal, need)


def _limit(args: Mapping[str, Any]) -> int:
    limit = args.get("limit", 100)
    if type(limit) is not int or limit < 1:
        raise LocalFault("bad-args", "limit is a positive number")
    return limit
