"""Mesh settlement at work: follows checkpoints and bindings, asks payers for their signatures, answers when we are asked.

Idle while the chain is the embedded one, which nobody else has, and before `swarmd wallet bind`.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.checkpoint.service import Checkpoints
from swarmd.node.ports import PeerGone, Transport
from swarmd.node.runner import Runner
from swarmd.node.settling.dues import DUES, Dues, proof_to_list
from swarmd.node.settling.terms import Terms
from swarmd.node.settling.wire import (
    MAX_PROOFS,
    PROOF,
    SIGN,
    SLASH,
    Refused,
    parse_ask,
    parse_charge,
    parse_proofs,
    parse_sign,
    parse_signed,
)
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.faults import LocalFault, RemoteFault

if TYPE_CHECKING:  # they load what is heavy of the chain
    from swarmd.node.settling.desk import Ask, MeshDesk
    from swarmd.node.settling.slashing import Verdict

log = logging.getLogger("swarmd.settling")
T = TypeVar("T")

INTERVAL_S = 15.0
ASK_TIMEOUT_S = 30.0
MAX_ROUNDS = 16  # of asking and netting anew, in one go
# What a node that published it is scored down for. An older binding may be a restored backup's, another chain's a mistake.
_SCORED = frozenset({"foreign-binding", "bad-signature", "bad-did"})


class MeshSettlement:
    """`run` it; give it the requests of peers. `counters`: asked, signed, refused-CODE, binding-CODE, silent, proofs."""

    def __init__(
        self,
        home: Path,
        money: MoneyDesk,
        runner: Runner,
        transport: Transport,
        checkpoints: Checkpoints,
        peer_of: Callable[[str], str],
        terms: Terms,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._home = home
        self._money = money
        self._runner = runner
        self._transport = transport
        self._checkpoints = checkpoints
        self._peer_of = peer_of
        self._terms = terms
        self._interval_s = interval_s
        self._wake = trio.Event()
        self._seen: dict[str, bytes] = {}  # did -> the binding that was looked at last
        self._asked: dict[tuple[bytes, bytes], float] = {}  # (root, payer) -> when it was asked first
        self._at_once = False
        self.counters: Counter[str] = Counter()
        self.waits = ""

    @property
    def idle(self) -> str:
        """Why payments of needs are not settled by this node, "" if they are."""
        if not self.is_shared:
            return "chain: the embedded chain is this host's alone (chain_kind in swarmd.toml)"
        if self._terms.has_vault:
            return "vault: balances of this mesh leave by withdrawals (chain_vault in swarmd.toml)"
        return ""

    @property
    def is_shared(self) -> bool:
        """Is the chain one that others can see?"""
        return self._money.chain.kind != "embedded"

    def poke(self, *, at_once: bool = False) -> None:
        """Look now; `at_once`: settle what there is, however little."""
        self._at_once |= at_once
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        self.waits = self.idle
        if not self.is_shared:
            return
        dues = await trio.to_thread.run_sync(self._open_dues)
        try:
            while True:
                self._wake = trio.Event()
                try:
                    await self._bindings()
                    if self._terms.has_vault:
                        await trio.sleep(self._interval_s)
                        continue
                    await self._follow(dues)
                    at_once, self._at_once = self._at_once, False
                    await self._publish(at_once)
                    await self._fetch_proofs()
                except LocalFault as fault:
                    self.waits = str(fault)
                    log.info("settlement waits: %s", fault)
                with trio.move_on_after(self._interval_s):
                    await self._wake.wait()
        finally:
            dues.close()

    def _open_dues(self) -> Dues:
        folder = self._home / "chain"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Dues(folder / DUES, self._runner.genesis.mesh_id)

    async def _desk(self, work: "Callable[[MeshDesk], T]") -> T:
        return await self._money.with_mesh(work)

    # Following the mesh --------------------------------------------------------------------------------

    async def _follow(self, dues: Dues) -> None:
        """Into a book of its own, whether or not the chain can be reached: checkpoints are not kept for ever."""
        cursor = await trio.to_thread.run_sync(dues.cursor)
        if cursor >= self._runner.state.epoch:
            return
        for epoch, closed in await self._checkpoints.closed_after(cursor):

            def add(epoch: int = epoch, closed: Mapping[str, Any] = closed) -> int:
                return dues.add(epoch, closed, now_s=_now_s())

            self.counters["dues"] += await trio.to_thread.run_sync(add)

    async def _bindings(self) -> None:
        shown = [
            (did, manifest.binding)
            for did, manifest in self._runner.state.manifests.items()
            if manifest.binding is not None and self._seen.get(did) != manifest.binding.did_signature
        ]
        if not shown:
            return
        for did, code in await self._desk(lambda desk: desk.learn(shown, now_s=_now_s())):
            self.counters[f"binding-{code}"] += 1
            log.info("the binding of %s is refused: %s", did, code)
            peer = self._peer_of(did)
            if code in _SCORED and peer:
                self._transport.report(peer, "bad-binding")
        self._seen |= {did: binding.did_signature for did, binding in shown}

    # Publishing ----------------------------------------------------------------------------------------

    async def _publish(self, at_once: bool) -> None:
        for _ in range(MAX_ROUNDS):
            self.waits, asks = await self._advance(at_once)
            at_once = False
            moved: list[bool] = []
            if not asks:
                self._asked.clear()
                return

            async def one(ask: "Ask", moved: list[bool] = moved) -> None:
                moved.append(await self._ask(ask))

            async with trio.open_nursery() as nursery:
                for ask in asks:
                    nursery.start_soon(one, ask)
            if not any(moved):
                return

    async def _advance(self, at_once: bool) -> "tuple[str, list[Ask]]":
        return await self._desk(lambda desk: desk.advance(now_s=_now_s(), at_once=at_once))

    async def _ask(self, ask: "Ask") -> bool:
        """Ask a payer; True if that moved the epoch on, be it without the payer."""
        first_s = self._asked.setdefault((ask.root, ask.payer), trio.current_time())
        answer, peer = await self._answer(ask)
        if isinstance(answer, bytes):
            signature = answer
            try:
                await self._desk(lambda desk: desk.took(ask.payer, ask.root, signature))
                self.counters["signed-by-others"] += 1
                return True
            except RemoteFault as fault:
                self._transport.report(peer, fault.code)
                answer = (fault.code, [])
        if answer is None:
            self.counters["silent"] += 1
            if trio.current_time() - first_s < self._terms.patience_s:
                return False
            answer = ("silent", [])
        code, names = answer
        log.info("0x%s is left out of the epoch: %s", ask.payer.hex(), code)
        self.counters[f"left-out-{code}"] += 1
        await self._desk(lambda desk: desk.leave_out(ask.payer, ask.root, code, names, now_s=_now_s()))
        return True

    async def _answer(self, ask: "Ask") -> tuple[bytes | tuple[str, list[bytes]] | None, str]:
        consents = [[account, signature] for account, signature in sorted(ask.consents.items())]
        body = encode({"t": SIGN, "proposal": ask.proposal.to_map(), "consents": consents})
        return await self._request(ask.dids, body)

    async def _request(
        self, dids: Iterable[str], body: bytes
    ) -> tuple[bytes | tuple[str, list[bytes]] | None, str]:
        """A signature or a refusal of the first node that answers, and which; None if none does."""
        for did in dids:
            peer = self._peer_of(did)
            if not peer:
                continue
            self.counters["asked"] += 1
            try:
                raw = await self._transport.request(peer, body, timeout_s=ASK_TIMEOUT_S)
            except PeerGone:
                continue
            except RemoteFault as fault:  # what it says of us
                return (fault.code, []), peer
            try:
                answer = decode(raw)
                if type(answer) is not dict:
                    raise RemoteFault("bad-payload", "an answer is a map")
                return parse_signed(answer), peer
            except RemoteFault as fault:
                self._transport.report(peer, fault.code)
                return (fault.code, []), peer
        return None, ""

    # Answering -----------------------------------------------------------------------------------------

    async def serve(self, did: str, message: dict[str, Any]) -> bytes:
        """The answer to a peer's request. RemoteFault, which is charged to it, for what is not well-formed or not its."""
        if not self.is_shared:
            return _refusal("no-shared-chain", "this node's chain is its own")
        if self._terms.has_vault and message["t"] == SIGN:
            return _refusal("has-vault", "balances of its mesh leave by withdrawals")
        if message["t"] == PROOF:
            names = parse_ask(message)
            found = await self._desk(lambda desk: desk.proofs(names))
            self.counters["proofs-given"] += len(found)
            return encode({"proofs": [proof_to_list(proof) for proof in found]})
        work = self._signing(did, message)
        await self._bindings()  # who asks may have bound itself a moment ago
        try:
            signature = await self._desk(work)
        except Refused as refusal:
            self.counters[f"refused-{refusal.code}"] += 1
            return _refusal(refusal.code, refusal.why, refusal.receipts)
        except LocalFault as fault:  # of ours: the chain can't be asked, or names no contract
            self.counters[f"refused-{fault.code}"] += 1
            return _refusal(fault.code, "not now")
        except RemoteFault as fault:
            self.counters[f"refused-{fault.code}"] += 1
            raise
        self.counters["signed"] += 1
        return encode({"signature": signature})

    def _signing(self, did: str, message: dict[str, Any]) -> "Callable[[MeshDesk], bytes]":
        """What a request asks us to sign. RemoteFault if it is not well-formed."""
        if message["t"] == SLASH:
            charge, genesis = parse_charge(message), self._runner.genesis
            return lambda desk: desk.vote(genesis, charge)
        proposal, consents = parse_sign(message)
        return lambda desk: desk.sign(proposal, consents, author=did, now_s=_now_s())

    # Slashing ------------------------------------------------------------------------------------------

    async def slash(self, evidence: bytes) -> dict[str, Any]:
        """Ask the registry's verifiers to sign what `evidence` shows, and bring it to the chain.

        LocalFault `quorum-missed` and others of `slashing.slash`; whatever the evidence does not show, by its code.
        """
        if not self.is_shared:
            raise LocalFault(
                "no-shared-chain", "the embedded chain is this host's alone", fix="set chain_kind"
            )
        genesis = self._runner.genesis
        try:
            charge = await self._desk(lambda desk: desk.charge(evidence))
            verdict = await self._desk(lambda desk: desk.judge(genesis, charge))
        except (RemoteFault, Refused) as fault:
            why = fault.message if isinstance(fault, RemoteFault) else fault.why
            raise LocalFault(fault.code, why, fix="swarmd consensus evidence") from None
        votes: dict[bytes, bytes] = {}
        mine = self._runner.me

        async def ask(account: bytes, dids: tuple[str, ...]) -> None:
            if mine in dids:
                votes[account] = await self._desk(lambda desk: desk.vote(genesis, charge))
                return
            answer, peer = await self._request(dids, encode(charge.to_map()))
            if not isinstance(answer, bytes):
                self.counters["slash-refused" if answer else "silent"] += 1
                return
            signature = answer
            try:
                await trio.to_thread.run_sync(_check_vote, verdict, account, signature)
                votes[account] = signature
            except RemoteFault as fault:
                self._transport.report(peer, fault.code)

        async with trio.open_nursery() as nursery:
            for account, dids in await self._desk(lambda desk: desk.jury()):
                nursery.start_soon(ask, account, dids)
        return await self._desk(lambda desk: desk.slash(verdict, votes))

    # Proofs --------------------------------------------------------------------------------------------

    async def _fetch_proofs(self) -> None:
        """Of what others published, from those who may have."""
        before_s = _now_s() - int(self._interval_s)
        names = await self._desk(lambda desk: desk.lacking(MAX_PROOFS, before_s=before_s))
        if not names:
            return
        bound = await self._desk(
            lambda desk: [each.did for each in desk.bindings.all() if each.did != desk.me]
        )
        for did in bound:
            peer = self._peer_of(did)
            if not peer:
                continue
            try:
                await self._fetch_from(peer, names)
            except PeerGone:
                continue
            except RemoteFault as fault:
                self._transport.report(peer, fault.code)

    async def _fetch_from(self, peer: str, names: list[bytes]) -> None:
        body = encode({"t": PROOF, "receipts": names})
        answer = decode(await self._transport.request(peer, body, timeout_s=ASK_TIMEOUT_S))
        proofs = parse_proofs(answer if type(answer) is dict else {})
        self.counters["proofs"] += await self._desk(lambda desk: desk.keep_proofs(proofs))

    async def settlement_of(self, need: str) -> dict[bytes, str]:
        """Where the payments of a need are: receipt -> certified, waiting, the state of its epoch, settled."""
        if not self.is_shared or self._money.chain.status()["account"] == "":
            return {}
        return await self._desk(lambda desk: {due.id: desk.state_of(due) for due in desk.dues.of_need(need)})

    def status(self) -> dict[str, Any]:
        return {"waits_for": self.waits, "counters": dict(self.counters)}


def _refusal(code: str, why: str, receipts: tuple[bytes, ...] = ()) -> bytes:
    return encode({"refused": code, "why": why, "receipts": list(receipts)})


def _check_vote(verdict: "Verdict", account: bytes, signature: bytes) -> None:
    from swarmd.node.settling.slashing import check_vote

    check_vote(verdict, account, signature)


def _now_s() -> int:
    return int(time.time())
