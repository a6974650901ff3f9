"""The review queue: what on this node waits for a person, the most urgent first, each with what to do about it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swarmd.node.waiting import nobody_for
from swarmd.protocol.cids import cid_text
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.work import challenging
from swarmd.protocol.work.need_states import STAGES

URGENT, SOON, NOTE = "urgent", "soon", "note"
_ORDER = {URGENT: 0, SOON: 1, NOTE: 2}
# A need waits for offers or votes all the time; only after a while is that somebody's business.
STUCK_S = 60
MAX_ITEMS = 500
_FAILED_FOR_S = 86_400


def queue(
    state: State,
    *,
    trouble: str,
    agents: Sequence[Mapping[str, Any]],
    evidence: Sequence[Mapping[str, Any]],
    chain: Mapping[str, Any],
) -> dict[str, Any]:
    """{"items": [{"urgency", "code", "title", "detail", "fix", "need", "task", "who", "at_ns"}], "total"}."""
    items = [
        *_node(trouble, chain),
        *_challenges(state),
        *_needs(state),
        *_agents(agents),
        *_evidence(evidence),
    ]
    items.sort(key=lambda item: (_ORDER[item["urgency"]], -item["at_ns"], item["title"]))
    return {"items": items[:MAX_ITEMS], "total": len(items)}


def _item(urgency: str, code: str, title: str, detail: str, fix: str, **more: Any) -> dict[str, Any]:
    blank = {"need": "", "task": "", "who": "", "at_ns": 0}
    return {"urgency": urgency, "code": code, "title": title, "detail": detail, "fix": fix, **blank, **more}


def _node(trouble: str, chain: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if trouble:
        yield _item(
            URGENT,
            "disk",
            "The disk takes nothing more",
            trouble,
            "Free some space; the node goes on by itself.",
        )
    if chain.get("trouble"):
        fix = {"out-of-gas": "Send gas to the account shown under Ledger."}.get(
            str(chain["trouble"]), "swarmd settle status tells more; the node keeps trying."
        )
        yield _item(
            SOON, "chain", f"The chain has trouble: {chain['trouble']}", str(chain.get("error") or ""), fix
        )


def _challenges(state: State) -> Iterator[dict[str, Any]]:
    for name, need in [each for each in state.needs.items() if each[1].challenges]:
        for made in need.challenges.values():
            if challenging.outcome(need, made) != challenging.PENDING:
                continue
            worker = need.commits[made.commit].worker
            ours = worker == state.me or need.owner == state.me
            yield _item(
                URGENT if ours else SOON,
                "challenge",
                f"The result of {made.task} is challenged",
                made.reason,
                f"A committee judges it again: swarmd why {name}",
                need=name,
                task=made.task,
                who=made.challenger,
                at_ns=made.ts_ns,
                challenge=cid_text(made.id),
            )


def _needs(state: State) -> Iterator[dict[str, Any]]:
    for status in STAGES:
        for name in state.views.needs_in(status):
            need = state.needs[name]
            if state.now_ns - need.ts_ns <= STUCK_S * S_NS:
                continue
            why = need.waiting_for or nobody_for(state, need)
            if why:
                yield _item(
                    SOON,
                    "stuck",
                    need.title or name,
                    f"waits for {why}",
                    f"Add an agent for it, raise its price, or let it expire: swarmd why {name}",
                    need=name,
                    who=need.owner,
                    at_ns=need.ts_ns,
                )
    for status in ("REFUNDED", "EXPIRED"):
        for name in state.views.needs_in(status):
            need = state.needs[name]
            closed = need.closed
            if need.owner != state.me or closed is None or state.now_ns - closed.ts_ns > _FAILED_FOR_S * S_NS:
                continue
            yield _item(
                NOTE,
                "failed",
                need.title or name,
                f"{status.lower()}: {closed.reason}" if closed.reason else status.lower(),
                f"Post it anew with a higher budget or a later deadline; swarmd why {name} says what happened.",
                need=name,
                task=closed.task,
                who=closed.sender,
                at_ns=closed.ts_ns,
            )


def _agents(agents: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for agent in agents:
        name = str(agent["name"])
        if agent.get("enabled") and not agent.get("available"):
            yield _item(
                SOON,
                "agent-down",
                f"Agent {name} takes no work",
                "it is enabled but cannot run, or has failed too often",
                f"swarmd agent stderr {name} shows its last words; swarmd agent on {name} lets it try again",
                who=name,
            )


def _evidence(evidence: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in evidence:
        yield _item(
            SOON,
            "evidence",
            "Somebody contradicted itself",
            f"{each['what']} at {each['at']}",
            "The proof is kept: swarmd consensus evidence",
            need=str(each.get("need") or ""),
            who=str(each["who"]),
        )
