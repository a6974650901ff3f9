"""The `escrow.*` operations of the local socket (docs/escrow.md lists their arguments)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node.escrow import arguments, views
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.cids import parse_cid
from swarmd.protocol.escrow.deal import Deal
from swarmd.protocol.escrow.terms import Terms
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.limits import MAX_DEADLINE_S

Op = Callable[[LocalCall], Awaitable[Any]]
MAX_KEY_CHARS = 128


class EscrowOps:
    """Every op but `list` and `reputation` answers with what `show` says of the escrow then.

    - `escrow.create` {terms.., expires_s?, key?}, `escrow.offer` and `escrow.counter` {escrow, terms.., expires_s?, note?}
    - `escrow.accept` {escrow, offer?}, `escrow.fund` {escrow, seller?}
    - `escrow.submit` {escrow, cid, milestone?, note?}, `escrow.score` {escrow, score, milestone?, reason?}
    - `escrow.ready` {escrow, name}, `escrow.release` {escrow, milestones?}, `escrow.refund` {escrow, reason?}
    - `escrow.dispute` {escrow, reason, evidence?}, `escrow.resolve` {escrow, seller_bp, reason?}
    - `escrow.show` {escrow}, `escrow.list` {state?, role?, all?, limit?}, `escrow.reputation` {did?}
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def ops(self) -> Mapping[str, Op]:
        return {
            "escrow.create": self._create,
            "escrow.offer": self._offer,
            "escrow.counter": self._counter,
            "escrow.accept": self._accept,
            "escrow.fund": self._fund,
            "escrow.submit": self._submit,
            "escrow.score": self._score,
            "escrow.ready": self._ready,
            "escrow.release": self._release,
            "escrow.dispute": self._dispute,
            "escrow.resolve": self._resolve,
            "escrow.refund": self._refund,
            "escrow.show": self._show,
            "escrow.list": self._list,
            "escrow.reputation": self._reputation,
        }

    async def _say(self, op: str, args: dict[str, Any]) -> Any:
        reply = self._runner.tell(lambda at_ns: Commanded(op, args, at_ns), reply=True)
        assert reply is not None
        thread = await reply.wait()
        return self._detail(thread)

    def _detail(self, name: str) -> dict[str, Any]:
        state = self._runner.state
        return {**views.detail(state, name), "history": views.history(state, name, self._runner.thread(name))}

    def _name(self, call: LocalCall) -> str:
        return views.find(self._runner.state, arguments.text(call.args, "escrow"))

    def _deal(self, call: LocalCall) -> Deal:
        name = self._name(call)
        record = self._runner.state.escrows.records.get(name)
        if record is None:
            raise LocalFault("escrow-ended", f"a checkpoint has closed {name}", fix="see swarmd escrow show")
        return record.deal

    async def _create(self, call: LocalCall) -> Any:
        _known(call, (*arguments.TERMS, "expires_s", "key"))
        key = arguments.text(call.args, "key", "")
        if len(key) > MAX_KEY_CHARS:
            raise LocalFault("bad-args", f"a key has at most {MAX_KEY_CHARS} characters")
        terms = arguments.terms(call.args)
        return await self._say("escrow.create", {"terms": terms, "expires_s": _expires_s(call), "key": key})

    async def _offer(self, call: LocalCall) -> Any:
        return await self._propose(call, counter=False)

    async def _counter(self, call: LocalCall) -> Any:
        return await self._propose(call, counter=True)

    async def _propose(self, call: LocalCall, *, counter: bool) -> Any:
        _known(call, ("escrow", *arguments.TERMS, "expires_s", "note"))
        deal, me = self._deal(call), self._runner.me
        given = dict(call.args)
        if me != deal.buyer:
            given["seller"] = me  # who offers the buyer something is the seller in it
        known: list[Terms] = [each.terms for each in deal.offers.values() if (each.by != me) == counter]
        args = {
            "escrow": deal.id,
            "terms": arguments.terms(given, known[-1] if known else deal.shown_terms()),
            "expires_s": _expires_s(call),
            "note": arguments.text(call.args, "note", ""),
            "counter": counter,
        }
        return await self._say("escrow.offer", args)

    async def _accept(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "offer"))
        offer = call.args.get("offer")
        return await self._say(
            "escrow.accept", {"escrow": self._name(call), "offer": _cid(offer, "offer") if offer else b""}
        )

    async def _fund(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "seller"))
        seller = call.args.get("seller")
        args = {"escrow": self._name(call), "seller": arguments.did(seller, "seller") if seller else ""}
        return await self._say("escrow.fund", args)

    async def _submit(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "cid", "milestone", "note"))
        args = {
            "escrow": self._name(call),
            "deliverable": _cid(call.args.get("cid"), "cid"),
            "milestone": arguments.text(call.args, "milestone", ""),
            "note": arguments.text(call.args, "note", ""),
        }
        return await self._say("escrow.submit", args)

    async def _score(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "score", "milestone", "reason"))
        score = call.args.get("score")
        if type(score) is not int or not 0 <= score <= 100:
            raise LocalFault("bad-args", "a score is a whole number from 0 to 100")
        args = {
            "escrow": self._name(call),
            "score": score,
            "milestone": arguments.text(call.args, "milestone", ""),
            "reason": arguments.text(call.args, "reason", ""),
        }
        return await self._say("escrow.score", args)

    async def _ready(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "name"))
        args = {"escrow": self._name(call), "name": arguments.text(call.args, "name")}
        return await self._say("escrow.ready", args)

    async def _release(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "milestones"))
        names = call.args.get("milestones") or []
        if type(names) is not list or any(type(name) is not str for name in names):
            raise LocalFault("bad-args", "milestones is a list of names")
        return await self._say("escrow.release", {"escrow": self._name(call), "milestones": names})

    async def _dispute(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "reason", "evidence"))
        evidence = call.args.get("evidence") or []
        if type(evidence) is not list:
            raise LocalFault("bad-args", "evidence is a list of CIDs")
        args = {
            "escrow": self._name(call),
            "reason": arguments.text(call.args, "reason"),
            "evidence": [_cid(each, "evidence") for each in evidence],
        }
        return await self._say("escrow.dispute", args)

    async def _resolve(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "seller_bp", "reason"))
        share = call.args.get("seller_bp")
        if type(share) is not int or not 0 <= share <= 10_000:
            raise LocalFault("bad-args", "seller_bp is a whole number from 0 to 10000: the seller's part")
        args = {
            "escrow": self._name(call),
            "seller_bp": share,
            "reason": arguments.text(call.args, "reason", ""),
        }
        return await self._say("escrow.resolve", args)

    async def _refund(self, call: LocalCall) -> Any:
        _known(call, ("escrow", "reason"))
        args = {"escrow": self._name(call), "reason": arguments.text(call.args, "reason", "")}
        return await self._say("escrow.refund", args)

    async def _show(self, call: LocalCall) -> Any:
        return self._detail(self._name(call))

    async def _list(self, call: LocalCall) -> Any:
        """Those that this node has a part in, or `all`; who has more at stake comes first."""
        _known(call, ("state", "role", "all", "limit"))
        state, args = self._runner.state, call.args
        limit = arguments.number(args, "limit", 100, 10_000)
        rows = [views.row(state, name) for name in sorted({*state.escrows.records, *state.escrows.ended})]
        for name in ("state", "role"):
            if args.get(name) is not None:
                rows = [each for each in rows if each[name] == args[name]]
        if not args.get("all") and args.get("role") is None:
            rows = [each for each in rows if each["role"] != "other"]
        rows.sort(key=lambda each: (each["held"] == "0" and each["final"], -each["priority"], each["escrow"]))
        return {"escrows": rows[:limit], "total": len(rows)}

    async def _reputation(self, call: LocalCall) -> Any:
        who = call.args.get("did") or self._runner.me
        return views.standing(self._runner.state, arguments.did(who, "did"))


def _known(call: LocalCall, names: tuple[str, ...]) -> None:
    """A misspelt name must not be a default in silence: it is about money."""
    strange = sorted(call.args.keys() - set(names))
    if strange:
        raise LocalFault(
            "bad-args", f"{call.op} takes no {', '.join(strange)}", fix=f"it takes {', '.join(names)}"
        )


def _expires_s(call: LocalCall) -> int:
    given = call.args.get("expires_s")
    within = call.args.get("deadline_s")
    default = arguments.DEFAULT_EXPIRES_S
    if type(within) is int:
        default = min(default, within)
    return arguments.number({"expires_s": given}, "expires_s", default, MAX_DEADLINE_S)


def _cid(value: Any, name: str) -> bytes:
    try:
        return bytes(parse_cid(value if type(value) is str else ""))
    except RemoteFault as fault:
        raise LocalFault("bad-args", f"{name}: {fault.message}") from None
