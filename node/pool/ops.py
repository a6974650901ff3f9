"""The `verifier.*` operations of the local socket."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node.pool import views
from swarmd.node.ports import Attestation
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.amounts import parse_usdc
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.pool.record import quote_data


class VerifierOps:
    """- `verifier.list` {}: the pool. `verifier.join` {stake?: USDC as text}: lock a stake (by default the least that there
      must be) and ask to be a verifier. `verifier.leave` {reason?}.
    - `verifier.attest` {form?, quote?: bytes}: show a quote; without one, say what it must be over in this epoch.
    """

    def __init__(self, runner: Runner, attestation: Attestation) -> None:
        self._runner = runner
        self._attestation = attestation

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return {
            "verifier.list": self._list,
            "verifier.join": self._join,
            "verifier.leave": self._leave,
            "verifier.attest": self._attest,
        }

    async def _list(self, call: LocalCall) -> Any:
        return views.pool(self._runner.state)

    async def _join(self, call: LocalCall) -> Any:
        least = self._runner.genesis.verifier_stake
        text = call.args.get("stake")
        amount = least if text is None else parse_usdc(text)
        await self._command("verifier.join", {"amount": amount})
        return self._mine()

    async def _leave(self, call: LocalCall) -> Any:
        reason = call.args.get("reason", "")
        if type(reason) is not str:
            raise LocalFault("bad-args", "a reason is a text")
        await self._command("verifier.leave", {"reason": reason})
        return self._mine()

    async def _attest(self, call: LocalCall) -> Any:
        state, quote = self._runner.state, call.args.get("quote")
        epoch = state.epoch
        if quote is not None:
            form = call.args.get("form", "software")
            if type(quote) is not bytes or type(form) is not str:
                raise LocalFault("bad-args", "a quote is a byte string of a named form")
            await self._command("verifier.quote", {"form": form, "quote": quote, "epoch": epoch})
        data = quote_data(state.genesis.mesh_id, state.me, epoch)
        return {"epoch": epoch, "data": data.hex(), "verifies": list(self._attestation.forms)}

    async def _command(self, op: str, args: dict[str, Any]) -> None:
        reply = self._runner.tell(lambda at_ns: Commanded(op, args, at_ns), reply=True)
        assert reply is not None
        if await reply.wait() is None:
            raise LocalFault(
                "denied-by-policy",
                "the policy of this node does not let it say POOL",
                fix="let it say POOL (swarmd policy show); the policies that ship do",
            )

    def _mine(self) -> dict[str, Any]:
        rows = views.pool(self._runner.state)["verifiers"]
        return next((row for row in rows if row["me"]), {"state": "none"})
