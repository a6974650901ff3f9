"""The node's capsules at run time: loading, gossip, fetching, the switch from one to the next, and back."""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from swarmd.node.jobs import Content
from swarmd.node.policy import capsule as capsules
from swarmd.node.policy.capsule import FRAME_CAPSULE, MAX_CAPSULE_BYTES, Capsule, Package
from swarmd.node.policy.capsule_store import CONFIGURED, CapsuleStore, Standing, require_trust
from swarmd.node.policy.gates import Switch
from swarmd.node.policy.host import MAX_DATA_BYTES, WasmGate
from swarmd.node.policy.modules import MAX_WASM_BYTES
from swarmd.node.ports import PeerGone, Transport
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.cids import parse_cid
from swarmd.protocol.faults import CorruptState, Fault, LocalFault, RemoteFault

log = logging.getLogger("swarmd.policy")

REQUEST_TYPE: Final = "capsules"
MAX_OFFERED: Final = 64
MAX_ANSWERED: Final = 16
MAX_HELD: Final = 4
_HEAD: Final = encode([FRAME_CAPSULE, b"", b""])[:2]


def is_capsule(frame: bytes) -> bool:
    """Does this frame of gossip hold a capsule? By its first bytes, for frames are many and capsules few."""
    return frame[:2] == _HEAD


@dataclass(slots=True)
class _Offer:
    """A capsule heard of: "untrusted", "fetching", "ready", or "refused: why"."""

    capsule: Capsule
    state: str


class Capsules:
    """`signers`: the DIDs whose capsules the operator takes, besides this node's own."""

    def __init__(
        self,
        store: CapsuleStore,
        configured: WasmGate,
        *,
        me: str,
        signers: Sequence[str],
        cache_dir: Path | None,
    ) -> None:
        self._store = store
        self._configured = configured
        self._me = me
        self._signers = signers
        self._cache_dir = cache_dir
        self._offers: OrderedDict[str, _Offer] = OrderedDict()
        self._parts: dict[str, tuple[bytes, ...]] = {}
        self._todo, self._jobs = trio.open_memory_channel[Capsule](16)

    # At the start --------------------------------------------------------------------------------------

    def in_force(self) -> WasmGate:
        """The policy to begin with. LocalFault `bad-policy`: nobody should be judged by another than was chosen."""
        active = self._store.standing().active
        try:
            return self._gate(active)
        except (LocalFault, RemoteFault) as fault:
            raise LocalFault(
                "bad-policy",
                f"the capsule in force, {active}, is not usable: {fault.message}",
                fix=fault.fix or "swarmd policy capsule rollback goes back to the policy before",
            ) from None

    def _gate(self, cid: str) -> WasmGate:
        if cid == CONFIGURED:
            return self._configured
        package = self._store.get(cid)
        return self._proven(package)

    def _proven(self, package: Package) -> WasmGate:
        """All that is asked of a capsule before it may judge. LocalFault, RemoteFault."""
        capsules.require_signature(package.capsule)
        require_trust(package.capsule.author, self._signers, self._me)
        return capsules.load(package, self._cache_dir)

    def attach(self, runner: Runner, content: Content, transport: Transport) -> None:
        """Take up what an earlier life left: the pending switch, and former policies for checking digests."""
        self._runner, self._content, self._transport = runner, content, transport
        standing = self._store.standing()
        for cid in standing.former[-MAX_HELD:]:
            try:
                runner.gates.hold(self._gate(cid))
            except Fault as fault:
                log.warning(
                    "digests under the former policy %s are not checked: %s", cid or "configured", fault
                )
        if standing.pending is not None:
            cid, at_lamport = standing.pending
            self._schedule(cid, self._gate(cid), at_lamport)

    def content(self) -> Iterator[bytes]:
        """The CIDs of the capsules that are here and of what is in them: what peers may ask this node for."""
        for text in self._store.cids():
            if text not in self._parts:
                try:
                    capsule = self._store.get(text).capsule
                except LocalFault:
                    continue  # a damaged file; whoever uses it says so
                self._parts[text] = (parse_cid(text), capsule.wasm, capsule.data)
            yield from self._parts[text]

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch what trusted authors publish, one at a time, until cancelled."""
        task_status.started()
        async for capsule in self._jobs:
            try:
                await self._fetch(capsule)
                self._set_state(capsule, "ready")
                log.info("capsule %s (%s) is ready to be activated", capsule.cid_text, capsule.name)
            except CorruptState:
                raise
            except Fault as fault:
                log.warning("capsule %s is not taken: %s", capsule.cid_text, fault)
                self._set_state(capsule, f"refused: {fault.code}: {fault.message}"[:500])
            except Exception as error:
                # The boundary of P10: whatever we did not foresee in a peer's capsule costs this one.
                log.exception("capsule %s is not taken", capsule.cid_text)
                self._set_state(capsule, f"refused: internal: {type(error).__name__}")

    # From peers ----------------------------------------------------------------------------------------

    def on_frame(self, frame: bytes) -> None:
        """A capsule that a peer passed on; RemoteFault if it is none or its signature is bad."""
        self._heard(capsules.parse_block(frame))

    def _heard(self, capsule: Capsule) -> None:
        cid = capsule.cid_text
        known = self._offers.get(cid)
        if (
            known is not None and not known.state.startswith("refused: content")
        ) or cid in self._store.cids():
            return
        trusted = capsule.author == self._me or capsule.author in self._signers
        self._offers.pop(cid, None)
        while len(self._offers) >= MAX_OFFERED:
            self._offers.popitem(last=False)
        self._offers[cid] = _Offer(capsule, "fetching" if trusted else "untrusted")
        if trusted:
            try:
                self._todo.send_nowait(capsule)
            except trio.WouldBlock:
                del self._offers[cid]  # peers tell us again

    async def ask(self, peer_id: str) -> None:
        """What capsules has it? Gossip reaches only those who were there."""
        try:
            answer = await self._transport.request(peer_id, encode({"t": REQUEST_TYPE}))
            found = decode(answer)
            blocks = found.get("blocks") if type(found) is dict else None
            if type(blocks) is not list or len(blocks) > MAX_ANSWERED:
                raise RemoteFault("bad-capsules", "not a list of capsules")
            for block in blocks:
                self._heard(capsules.parse_block(block if type(block) is bytes else b""))
        except PeerGone:
            pass
        except LocalFault as fault:
            log.info("%s was not asked for capsules: %s", peer_id, fault)
        except RemoteFault as fault:
            self._transport.report(peer_id, fault.code)

    def answer(self) -> bytes:
        """The newest capsules of this node, for a peer that asks."""
        blocks = []
        for cid in self._store.cids()[-MAX_ANSWERED:]:
            try:
                blocks.append(self._store.get(cid).capsule.block)
            except LocalFault as fault:
                log.warning("%s", fault)
        return encode({"t": REQUEST_TYPE, "blocks": blocks})

    async def _fetch(self, capsule: Capsule) -> None:
        """Get module and data from whoever has them, prove the capsule here, keep it."""
        holders = (capsule.author,)
        for cid in (capsule.wasm, capsule.data):
            await self._content.ensure(cid, holders)
        package = Package(
            capsule,
            self._content.read(capsule.wasm, MAX_WASM_BYTES),
            self._content.read(capsule.data, MAX_DATA_BYTES),
        )
        await self._take(package)

    async def _take(self, package: Package) -> str:
        # In a thread: compiling and the conformance vector take longer than the loop may stand still.
        await trio.to_thread.run_sync(self._proven, package, abandon_on_cancel=True)
        self._content.add(package.capsule.block)
        return self._store.put(package)

    def _set_state(self, capsule: Capsule, state: str) -> None:
        offer = self._offers.get(capsule.cid_text)
        if offer is not None:
            offer.state = state

    # The switch ----------------------------------------------------------------------------------------

    def _schedule(self, cid: str, gate: WasmGate, at_lamport: int) -> None:
        def done() -> None:
            standing = self._store.standing()
            if standing.pending is None or standing.pending[0] != cid:
                return
            try:
                self._store.set_standing(standing.switched())
            except LocalFault as fault:
                # What is on disk still says "pending", so the next life switches at its first turn.
                log.error("the switch to policy %s is not on disk: %s", cid, fault)

        self._runner.switch(Switch(gate, at_lamport, done))

    # The local socket ----------------------------------------------------------------------------------

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        """op -> handler.

        - `policy.list` {}: what is in force, pending, stored, offered.
        - `policy.publish` {package: bytes}: prove, keep, gossip; {"cid"}.
        - `policy.fetch` {cid}: get a capsule from peers by its CID; {"cid"}.
        - `policy.activate` {cid, at_lamport}: in force from the first turn at or after that lamport time.
        - `policy.rollback` {}: back to the policy before, at the next turn.
        """
        return {
            "policy.list": self._list,
            "policy.publish": self._publish,
            "policy.fetch": self._fetch_op,
            "policy.activate": self._activate,
            "policy.rollback": self._rollback,
        }

    async def _list(self, call: LocalCall) -> Any:
        standing = self._store.standing()
        lamport = self._runner.state.lamport
        return {
            "active": standing.active,
            "policy_hash": self._runner.gate.policy_hash.hex(),
            "configured_hash": self._configured.policy_hash.hex(),
            "former": list(standing.former),
            "pending": _pending(standing, lamport),
            "lamport": lamport,
            "stored": [self._row(cid) for cid in self._store.cids()],
            "offered": [
                {"cid": cid, "name": offer.capsule.name, "author": offer.capsule.author, "state": offer.state}
                for cid, offer in self._offers.items()
                if offer.state != "ready"
            ],
            "gates": dict(self._runner.gates.counters),
        }

    def _row(self, cid: str) -> dict[str, Any]:
        try:
            found = self._store.get(cid).capsule
        except LocalFault as fault:
            return {"cid": cid, "name": "", "author": "", "state": f"damaged: {fault.message}"}
        return {
            "cid": cid,
            "name": found.name,
            "author": found.author,
            "state": "ready",
            "made_ns": found.made_ns,
        }

    async def _publish(self, call: LocalCall) -> Any:
        content = call.args.get("package")
        if type(content) is not bytes:
            raise LocalFault("bad-args", "package is the content of a capsule file")
        package = _ours(lambda: capsules.parse_package(content))
        await self._checked(self._take, package)
        for part in (package.wasm, package.data):
            self._content.add(part)
        await self._transport.publish(package.capsule.block)
        return {"cid": package.capsule.cid_text}

    async def _fetch_op(self, call: LocalCall) -> Any:
        text = call.args.get("cid")
        cid = _ours(lambda: parse_cid(text if isinstance(text, str) else ""))
        await self._checked(self._content.ensure, cid, ())
        capsule = _ours(lambda: capsules.parse_block(self._content.read(cid, MAX_CAPSULE_BYTES)))
        await self._checked(self._fetch, capsule)
        return {"cid": capsule.cid_text}

    async def _activate(self, call: LocalCall) -> Any:
        text, at_lamport = call.args.get("cid"), call.args.get("at_lamport", 0)
        if not isinstance(text, str) or type(at_lamport) is not int or not 0 <= at_lamport < 1 << 62:
            raise LocalFault("bad-args", "name a capsule, and a lamport time from 0")
        cid = self._store.find(text)
        standing = self._store.standing()
        if cid == standing.active and standing.pending is None:
            raise LocalFault("already-active", f"{cid} is in force already")
        gate: WasmGate = await self._checked(trio.to_thread.run_sync, self._gate, cid)
        self._store.schedule(cid, at_lamport)
        self._schedule(cid, gate, at_lamport)
        return {"cid": cid, "at_lamport": at_lamport, "lamport": self._runner.state.lamport}

    async def _rollback(self, call: LocalCall) -> Any:
        """At the next turn; a switch that was pending is off."""
        standing = self._store.standing()
        if standing.pending is not None:
            self._store.set_standing(Standing(standing.active, standing.former))
            self._runner.gates.pending = None
            return {"cid": standing.active, "cancelled": standing.pending[0]}
        back = standing.rolled_back()
        gate: WasmGate = await self._checked(trio.to_thread.run_sync, self._gate, back.active)
        self._store.set_standing(back)
        self._runner.switch(Switch(gate, 0, lambda: None))
        return {"cid": back.active, "cancelled": ""}

    async def _checked(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """What peers did wrong in it is, to our caller, a reason why it cannot be done."""
        try:
            return await call(*args)
        except RemoteFault as fault:
            raise LocalFault(fault.code, fault.message, fix=fault.fix) from None


def _pending(standing: Standing, lamport: int) -> dict[str, Any] | None:
    if standing.pending is None:
        return None
    cid, at_lamport = standing.pending
    return {"cid": cid, "at_lamport": at_lamport, "in": max(0, at_lamport - lamport)}


def _ours(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except RemoteFault as fault:
        raise LocalFault(fault.code, fault.message, fix=fault.fix) from None
