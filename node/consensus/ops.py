"""The `consensus.*` operations of the local socket."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from swarmd.node.consensus import certificates, views
from swarmd.node.ports import Transport
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.node.views import find_need
from swarmd.protocol.consensus.certificates import FORK
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.work.need import Need

ARBITER_TIMEOUT_S = 3.0


class ConsensusOps:
    """- `consensus.status` {}: the mesh's terms, how the arbiter is, what waits, what was refused.
    - `consensus.roster` {}: the verifiers. `consensus.epoch` {}: the epoch and what fixed its roster.
    - `consensus.explain` {need}: the committee, rounds, votes and decisions of a need, and why it stands so; where the mesh
      has an arbiter, what that has on record now.
    - `consensus.evidence` {}: who is on record for contradicting itself.
    - `consensus.export` {need?, task?, against?, result?}: a certificate (docs/consensus.md): of the decision; of a result
      with `result` or `task`; of a contradiction with `against` (did:key), without a need of a forked chain.
    """

    def __init__(
        self,
        runner: Runner,
        transport: Transport,
        arbiter: Callable[[], Mapping[str, Any] | None],
        on_record: Callable[[str], Awaitable[Mapping[str, Any] | None]] | None = None,
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._arbiter = arbiter
        self._on_record = on_record

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return {
            "consensus.status": self._status,
            "consensus.roster": self._roster,
            "consensus.epoch": self._epoch,
            "consensus.explain": self._explain,
            "consensus.evidence": self._evidence,
            "consensus.export": self._export,
        }

    async def _status(self, call: LocalCall) -> Any:
        runner = self._runner
        return views.status(runner.state, runner.ingress.faults, len(self._found()), self._arbiter())

    async def _roster(self, call: LocalCall) -> Any:
        forked = {each["who"] for each in self._found() if each["what"] == FORK}
        connected = {peer.did for peer in self._transport.peers()}
        return views.roster(self._runner.state, connected, forked)

    async def _epoch(self, call: LocalCall) -> Any:
        return views.epoch(self._runner.state)

    async def _explain(self, call: LocalCall) -> Any:
        need = self._need(call)
        told = views.explain(self._runner.state, need, self._runner.thread(need.id))
        if self._on_record is not None:
            # Asked now: what this node was told may be long ago, or never.
            told["arbiter_record"] = None
            with trio.move_on_after(ARBITER_TIMEOUT_S) as patience:
                told["arbiter_record"] = await self._on_record(need.id)
            told["arbiter_answered"] = not patience.cancelled_caught
        return told

    async def _evidence(self, call: LocalCall) -> Any:
        return {"evidence": self._found()}

    def _found(self) -> list[dict[str, Any]]:
        runner = self._runner
        state = runner.state
        return certificates.evidence(
            runner.genesis,
            runner.journal,
            state.needs.values(),
            state.ledger.double_spends,
            state.shadow.liars,
        )

    async def _export(self, call: LocalCall) -> Any:
        args = call.args
        terms, journal = self._runner.state.terms, self._runner.journal
        against = args.get("against")
        if against is not None:
            did = _did(against)
            if args.get("need") is None:
                return certificates.of_fork(terms.genesis, journal, did)
            return certificates.of_contradiction(terms, journal, self._need(call), did)
        task = args.get("task")
        if task is not None or args.get("result"):
            return certificates.of_result(terms, journal, self._need(call), task)
        return certificates.of_decision(terms, journal, self._need(call))

    def against(self, who: str, name: str | None) -> dict[str, Any]:
        """The certificate that convicts a node: of its forked chain, or of contradicting itself about a need that is here."""
        terms, journal = self._runner.state.terms, self._runner.journal
        if name is None:
            return certificates.of_fork(terms.genesis, journal, _did(who))
        return certificates.of_contradiction(terms, journal, find_need(self._runner.state, name), _did(who))

    def _need(self, call: LocalCall) -> Need:
        text = call.args.get("need")
        if not isinstance(text, str):
            raise LocalFault("bad-args", "name a need")
        return find_need(self._runner.state, text)


def _did(text: Any) -> str:
    try:
        public_key_of(text)
    except RemoteFault as fault:
        raise LocalFault(fault.code, fault.message) from None
    return str(text)
