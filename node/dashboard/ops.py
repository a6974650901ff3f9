"""The `dashboard.*` operations of the local socket: a read for each page of the dashboard."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node.agents.host import Agents
from swarmd.node.checkpoint.archive import Archive
from swarmd.node.consensus import certificates
from swarmd.node.dashboard import pages, review, verdicts
from swarmd.node.peer_ops import PeerOps
from swarmd.node.pool import views as pool_views
from swarmd.node.ports import Chain, Transport
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.node.version import version
from swarmd.node.views import find_need
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.state import State

MAX_LIMIT = 200
MAX_OFFSET = 10_000_000
MAX_TEXT_CHARS = 200


class DashboardOps:
    """- `dashboard.overview` {}: `pages.overview`, and the node, its peers, agents, gates, chain and open matters.
    - `dashboard.needs` {state?, owner?, q?, offset?, limit?}: `pages.need_page`; `state` may be ACTIVE or ENDED.
    - `dashboard.graph` {need}: `pages.graph`.
    - `dashboard.mesh` {}: everybody this node knows: connected or not, role, offers, scores.
    - `dashboard.verdicts` {denied?, before?, limit?}: `verdicts.verdict_page`.
    - `dashboard.accounts` {limit?}, `dashboard.statement` {did?, offset?, limit?}, `dashboard.anchors` {limit?}.
    - `dashboard.review` {}: `review.queue`.
    """

    def __init__(
        self,
        runner: Runner,
        transport: Transport,
        peers: PeerOps,
        agents: Agents,
        chain: Chain,
        archive: Archive,
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._peers = peers
        self._agents = agents
        self._chain = chain
        self._archive = archive

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return {
            "dashboard.overview": self._overview,
            "dashboard.needs": self._needs,
            "dashboard.graph": self._graph,
            "dashboard.mesh": self._mesh,
            "dashboard.verdicts": self._verdicts,
            "dashboard.accounts": self._accounts,
            "dashboard.statement": self._statement,
            "dashboard.anchors": self._anchors,
            "dashboard.review": self._review,
        }

    @property
    def _state(self) -> State:
        return self._runner.state

    async def _overview(self, call: LocalCall) -> Any:
        state, runner = self._state, self._runner
        agents = self._agents.describe()
        urgency: dict[str, int] = {"urgent": 0, "soon": 0, "note": 0}
        for item in self._queue()["items"]:
            urgency[item["urgency"]] += 1
        return {
            **pages.overview(state, self._archive),
            "version": version(),
            "peer_id": self._transport.peer_id,
            "peers": len(self._transport.peers()),
            "known": len(state.manifests),
            "agents": {
                "total": len(agents),
                "ready": sum(bool(each.get("enabled") and each.get("available")) for each in agents),
                "running": sum(int(each.get("running") or 0) for each in agents),
            },
            "gates": dict(runner.gates.counters),
            "policy_hash": runner.gate.policy_hash.hex(),
            "chain": dict(self._chain.status()),
            "pool": pool_views.summary(state),
            "review": urgency,
            "trouble": runner.trouble,
            "now_ns": state.now_ns,
        }

    async def _needs(self, call: LocalCall) -> Any:
        args = call.args
        wanted = _text(args, "state")
        if wanted is not None and wanted.upper() not in pages.GROUPS:
            there = ", ".join(pages.GROUPS).lower()
            raise LocalFault("bad-args", f"no state {wanted[:40]!r}", fix=f"one of {there}")
        return pages.need_page(
            self._state,
            self._archive,
            wanted=wanted.upper() if wanted else None,
            owner=_text(args, "owner"),
            text=_text(args, "q"),
            offset=_number(args, "offset", 0, 0, MAX_OFFSET),
            limit=_limit(args, 50),
        )

    async def _graph(self, call: LocalCall) -> Any:
        text = _text(call.args, "need")
        if text is None:
            raise LocalFault("bad-args", "name a need")
        try:
            return pages.graph(find_need(self._state, text))
        except LocalFault:
            archived = self._archive.find(text)
            if archived is None:
                raise
            return pages.graph(self._archive.bring_back(archived).needs[archived])

    async def _mesh(self, call: LocalCall) -> Any:
        state = self._state
        connected = {row["did"]: row for row in self._peers.rows()}
        members = {row["did"]: row for row in pool_views.pool(state)["verifiers"]}
        roster = state.terms.roster(state.epoch)
        nodes = []
        for did in sorted({state.me, *connected, *state.manifests, *members}):
            manifest, member = state.manifests.get(did), members.get(did)
            accepted, failed = state.reputation.get(did, (0, 0))
            nodes.append(
                {
                    "did": did,
                    "me": did == state.me,
                    "connected": connected.get(did),
                    "verifier": did in roster,
                    "pool": member["state"] if member else "none",
                    "stake": member["stake"] if member else "0",
                    "offers": sorted(manifest.offers) if manifest else [],
                    "addrs": list(manifest.addrs) if manifest else [],
                    "heard_ns": manifest.issued_ns if manifest else 0,
                    "reputation": state.rates(did),
                    "accepted": accepted,
                    "failed": failed,
                }
            )
        return {
            "me": state.me,
            "peer_id": self._transport.peer_id,
            "addrs": list(self._transport.addrs),
            "nodes": nodes,
            **self._peers.network(),
        }

    async def _verdicts(self, call: LocalCall) -> Any:
        args = call.args
        before = None if args.get("before") is None else _number(args, "before", 0, 0, 2**62)
        denied = args.get("denied", False)
        if type(denied) is not bool:
            raise LocalFault("bad-args", "denied is true or false")
        runner = self._runner
        return {
            **verdicts.verdict_page(runner.journal, denied=denied, before=before, limit=_limit(args, 50)),
            "gates": dict(runner.gates.counters),
            "policy_hash": runner.gate.policy_hash.hex(),
        }

    async def _accounts(self, call: LocalCall) -> Any:
        return pages.accounts(self._state, _limit(call.args, 100))

    async def _statement(self, call: LocalCall) -> Any:
        args = call.args
        did = _text(args, "did") or self._state.me
        offset = _number(args, "offset", 0, 0, MAX_OFFSET)
        return pages.statement(self._state, did, offset, _limit(args, 50))

    async def _anchors(self, call: LocalCall) -> Any:
        return {**pages.anchors(self._state, _limit(call.args, 50)), "chain": dict(self._chain.status())}

    async def _review(self, call: LocalCall) -> Any:
        return self._queue()

    def _queue(self) -> dict[str, Any]:
        state, runner = self._state, self._runner
        # Few needs have any: looking for those first is most of what this costs.
        split = [need for need in state.needs.values() if need.equivocators]
        found = certificates.evidence(runner.genesis, runner.journal, split)
        return review.queue(
            state,
            trouble=runner.trouble,
            agents=self._agents.describe(),
            evidence=found,
            chain=self._chain.status(),
        )


def _text(args: Mapping[str, Any], name: str) -> str | None:
    found = args.get(name)
    if found is None or found == "":
        return None
    if type(found) is not str or len(found) > MAX_TEXT_CHARS:
        raise LocalFault("bad-args", f"{name} is a text of at most {MAX_TEXT_CHARS} characters")
    return found


def _number(args: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    found = args.get(name, default)
    if type(found) is not int or not least <= found <= most:
        raise LocalFault("bad-args", f"{name} is a whole number from {least} to {most}")
    return found


def _limit(args: Mapping[str, Any], default: int) -> int:
    return _number(args, "limit", default, 1, MAX_LIMIT)
