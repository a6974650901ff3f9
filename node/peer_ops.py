"""The `peers*` operations of the local socket: who is connected, what we think of them, whom the operator lets in."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.node.transport.p2p.scores import Standing
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.protocol.faults import LocalFault

MAX_BAN_S = 10 * 366 * 86_400.0
MAX_REASON_CHARS = 200


class PeerOps:
    """- `peers` {}: {"peers": [...], "pool": connections and their limits, "dropped": count by reason}.
    - `peers.score` {peer?}: {"standings": [...]} of that peer, or of all that something is held against.
    - `peers.ban` {peer, for_s, reason}: {"peer_id", "for_s"}. Cut off at once, kept over restarts.
    - `peers.unban` {peer}: {"peer_id", "forgiven"}. Its faults are forgotten too.
    - `peers.access` {entry?, verdict?}: {"entry", "entries": [{"entry", "verdict", "origin"}]}; `verdict` is
      "allow", "deny" or "none".

    A peer is named by its peer id or did:key; an entry may be a network too.
    """

    def __init__(self, transport: P2PTransport, runner: Runner) -> None:
        self._transport = transport
        self._runner = runner

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return {
            "peers": self._list,
            "peers.score": self._score,
            "peers.ban": self._ban,
            "peers.unban": self._unban,
            "peers.access": self._access,
        }

    async def _list(self, call: LocalCall) -> Any:
        return {"peers": self.rows(), **self.network()}

    def network(self) -> dict[str, Any]:
        """The pool, and everything dropped, refused or throttled: also part of `status`."""
        dropped = {reason: count for reason, count in self._transport.counters().items() if count}
        restarts = dropped.pop("restarts", 0)
        if self._runner.frames_dropped:
            dropped["runner-queue-full"] = self._runner.frames_dropped
        for code, count in self._runner.ingress.faults.items():
            dropped[f"ingress-{code}"] = count
        return {"pool": {**self._transport.pool(), "restarts": restarts}, "dropped": dropped}

    def rows(self) -> list[dict[str, Any]]:
        """The connected peers."""
        now_ns = time.time_ns()
        rows = []
        for peer in self._transport.peers():
            manifest = self._runner.state.manifests.get(peer.did)
            rows.append(
                {
                    "peer_id": peer.peer_id,
                    "did": peer.did,
                    "addrs": list(peer.addrs),
                    "direction": peer.direction,
                    "rtt_ms": None if peer.rtt_ms is None or math.isnan(peer.rtt_ms) else peer.rtt_ms,
                    "score": peer.score,
                    "state": self._transport.scores.state(peer.peer_id),
                    "faults": dict(peer.faults),
                    "frames_in": peer.frames_in,
                    "frames_out": peer.frames_out,
                    "bytes_in": peer.bytes_in,
                    "bytes_out": peer.bytes_out,
                    "connected_s": max(0.0, (now_ns - peer.connected_at_ns) / 1e9),
                    "offers": sorted(manifest.offers) if manifest else [],
                }
            )
        return rows

    async def _score(self, call: LocalCall) -> Any:
        peer = call.args.get("peer")
        if peer is None:
            return {"standings": [_standing(each) for each in self._transport.standings()]}
        return {"standings": [_standing(self._transport.standing(_text(peer, "peer")))]}

    async def _ban(self, call: LocalCall) -> Any:
        for_s = call.args.get("for_s", 86_400.0)
        reason = _text(call.args.get("reason", "operator"), "reason")[:MAX_REASON_CHARS]
        if type(for_s) not in (int, float) or not 0 < for_s <= MAX_BAN_S:
            raise LocalFault("bad-args", f"for_s is a number of seconds up to {MAX_BAN_S:g}")
        peer_id = self._transport.ban(_text(call.args.get("peer"), "peer"), float(for_s), reason)
        return {"peer_id": peer_id, "for_s": float(for_s)}

    async def _unban(self, call: LocalCall) -> Any:
        peer = _text(call.args.get("peer"), "peer")
        forgiven = self._transport.unban(peer)
        return {"peer_id": self._transport.standing(peer).peer_id, "forgiven": forgiven}

    async def _access(self, call: LocalCall) -> Any:
        entry, verdict = call.args.get("entry"), call.args.get("verdict")
        if entry is not None:
            if verdict not in ("allow", "deny", "none"):
                raise LocalFault("bad-args", 'verdict is "allow", "deny" or "none"')
            entry = self._transport.set_access(_text(entry, "entry"), None if verdict == "none" else verdict)
        return {"entry": entry, "entries": [dict(row) for row in self._transport.access_rows()]}


def _standing(found: Standing) -> dict[str, Any]:
    return {**asdict(found), "faults": dict(found.faults)}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise LocalFault("bad-args", f"{name} must be text")
    return value
