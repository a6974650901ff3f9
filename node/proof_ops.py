"""The `proof.*` operations of the local socket: a thread's root, and proofs that an envelope belongs to it."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node import proofs, views, why
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import LocalFault

MAX_ENVELOPES = 1_000


def proof_ops(runner: Runner) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
    """`thread.show` {need, after, limit}: the thread's envelopes in causal order, a page. `proof.root` {need}: the thread's root. `proof.make` {need, envelope}: a proof file in base64; `envelope` is an
    id, the beginning of one, or a kind of which the thread has one envelope."""

    async def root(call: LocalCall) -> Any:
        need = views.find_need(runner.state, _text(call, "need"))
        dag = proofs.thread_of(runner.journal, need.id)
        return {"thread": need.id, "root": cid_text(dag.root), "count": len(dag.ids), "pages": len(dag.pages)}

    async def make(call: LocalCall) -> Any:
        need = views.find_need(runner.state, _text(call, "need"))
        envelope_id = _find(runner, need.id, _text(call, "envelope"))
        data = proofs.make_proof(runner.journal, runner.state.genesis.mesh_id, need.id, envelope_id)
        return {
            **proofs.verify_proof_file(data).to_json(),
            "bytes": len(data),
            "car": base64.b64encode(data).decode("ascii"),
        }

    async def show(call: LocalCall) -> Any:
        need = views.find_need(runner.state, _text(call, "need"))
        after, limit = call.args.get("after", 0), call.args.get("limit", 100)
        if type(after) is not int or type(limit) is not int or after < 0 or not 0 < limit <= MAX_ENVELOPES:
            raise LocalFault("bad-args", f"after is a number from 0, limit one from 1 to {MAX_ENVELOPES}")
        thread = sorted(runner.thread(need.id), key=lambda each: (each.lamport, each.id))
        rows = [
            {
                "id": cid_text(envelope.id),
                "kind": envelope.kind,
                "sender": envelope.sender,
                "task": envelope.payload.get("task", ""),
                "at_ns": envelope.ts_ns,
                "lamport": envelope.lamport,
                "refs": [cid_text(ref) for ref in envelope.refs],
                "text": why.describe(envelope),
            }
            for envelope in thread[after : after + limit]
        ]
        following = after + limit if after + limit < len(thread) else None
        return {"thread": need.id, "envelopes": rows, "total": len(thread), "next": following}

    return {"proof.root": root, "proof.make": make, "thread.show": show}


def _find(runner: Runner, need: str, wanted: str) -> bytes:
    thread = runner.journal.thread(need)
    found = [e for e in thread if e.kind == wanted.upper()] or [
        envelope for envelope in thread if len(wanted) >= 4 and cid_text(envelope.id).startswith(wanted)
    ]
    if len(found) == 1:
        return found[0].id
    why = "several envelopes are that" if found else "no such envelope in this thread"
    raise LocalFault("not-in-thread", f"{wanted!r}: {why}", fix=f"swarmd why {need} -q lists their ids")


def _text(call: LocalCall, name: str) -> str:
    text = call.args.get(name)
    if not isinstance(text, str) or not text:
        raise LocalFault("bad-args", f"name the {name}")
    return text
