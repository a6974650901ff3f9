"""What can be found out from a running daemon: pure, over what its socket answers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from swarmd.node.health.findings import Finding, Status, of_checks
from swarmd.protocol.work.need_states import ENDS

# A need of ours that waits for something for so long is named; one that nothing seems to hold up, later.
STUCK_S = 60.0
SLOW_S = 600.0
MANY_PENDING = 1_000
MANY_PARKED = 100
# An agent that failed in more than this share of its runs, of so many at least.
FAILING_SHARE = 0.5
FAILING_RUNS = 5
NAMED = 3

_NET = {
    **{"listening": "listening", "listen": "listening", "addresses": "dials", "bootstrap": "bootstrap"},
    **{"mDNS": "mdns", "DHT": "dht", "clock": "clock", "reachability": "reachability", "peers": "peers"},
}
_CONTENT = {
    **{"backend": "content", "mirror": "content", "bitswap": "content", "IPFS": "content"},
    **{"kubo": "kubo", "kubo's": "kubo"},
}
# Bad for a mesh, but as it should be for a node that founded one of its own and has not invited anybody yet.
_ALONE = ("listening", "dials", "peers")

# trouble of the chain -> (code, fix)
_CHAIN: Mapping[str, tuple[str, str]] = {
    "out-of-gas": ("gas", "send the account some of the chain's coin: swarmd wallet address"),
    "fee-above-cap": ("gas", "wait for cheaper gas, or raise chain_max_fee_gwei"),
    "stuck": ("outbox", "wait: it bids more by itself; swarmd settle status shows what waits"),
    "rpc-down": ("chain", "is the endpoint of chain_rpc right, and up? Name a second one"),
    "behind": (
        "chain-head",
        "that endpoint is not in step: name another in chain_rpc, or raise chain_max_head_age_s",
    ),
    "wrong-chain": ("chain", "chain_id and chain_rpc are of different chains"),
    "chain-storage": ("chain", "free space, and see chain/ in the home"),
}

Asked = Mapping[str, Any]


def examine(asked: Asked, now_ns: int | None = None) -> list[Finding]:
    """`asked`: what `status`, `doctor.net`, `doctor.content`, `agent.list` and `need.list` answered, by these names."""
    now = time.time_ns() if now_ns is None else now_ns
    alone = asked["status"]["roster"] == 1
    found = [Finding("daemon", "ok", f"up since {asked['status']['uptime_s']} s")]
    for check in _CHECKS:
        found += check(asked["status"])
    found += [_at_ease(each, alone) for each in of_checks(asked["doctor.net"]["checks"], _NET)]
    found += of_checks(asked["doctor.content"]["checks"], _CONTENT)
    found += _agents(asked["agent.list"])
    found += _needs(asked["need.list"]["needs"], asked["status"]["did"], now)
    return found


def _at_ease(finding: Finding, alone: bool) -> Finding:
    if not alone or finding.status != "bad" or finding.code not in _ALONE:
        return finding
    return Finding(
        finding.code, "warning", f"{finding.message} (fine while this mesh is of one)", finding.fix
    )


def _trouble(status: Asked) -> Iterator[Finding]:
    if status.get("trouble"):
        yield Finding(
            "trouble", "bad", str(status["trouble"]), "free space on the home's disk: it goes on by itself"
        )
    else:
        yield Finding("trouble", "ok", f"{status['journal']['inputs']} inputs on record")
    if restored := status.get("restored"):
        heard = f"{restored['heard']} of {restored['needed']} verifiers"
        fix = "connect it to its mesh; if they are gone for good: swarmd backup speak"
        yield Finding("restored", "warning", f"listens before it speaks, has heard {heard}", fix)


def _sync(status: Asked) -> Iterator[Finding]:
    parked = status["parked"]
    level: Status = "warning" if parked > MANY_PARKED else "ok"
    fix = (
        "swarmd sync asks every peer now; if it stays, whoever has the rest is not connected"
        if parked
        else ""
    )
    yield Finding(
        "sync-lag", level, f"{parked} statements wait for others to come", fix if level != "ok" else ""
    )
    dropped = status["ingress"]["dropped"]
    if dropped:
        fix = "sync brings them; if it goes on, this host is too slow, or see swarmd peers for who floods"
        yield Finding("frames-dropped", "warning", f"{dropped} frames dropped since the start", fix)
    else:
        yield Finding("frames-dropped", "ok", "none")


def _chain(status: Asked) -> Iterator[Finding]:
    chain = status["chain"]
    trouble, error = chain.get("trouble", ""), chain.get("error", "")
    code, fix = _CHAIN.get(trouble, ("chain", "see swarmd settle status"))
    if trouble or error:
        yield Finding(code, "bad", error or trouble, fix)
    if not (trouble or error) or code != "chain":
        yield Finding(
            "chain", "ok", f"{chain['kind']} {chain['chain_id']}, {chain['state']}, block {chain['head']}"
        )
    pending = chain.get("pending", 0)
    if code != "outbox" or not trouble:
        many = pending > MANY_PENDING
        fix = "swarmd settle status says what they wait for" if many else ""
        yield Finding("outbox", "warning" if many else "ok", f"{pending} requests are not final", fix)


def _verifier(status: Asked) -> Iterator[Finding]:
    mine = status["pool"]["mine"]
    if mine in ("jailed", "expelled"):
        fix = "swarmd verifier list says why and until when"
        yield Finding("verifier", "bad", f"this node is {mine}", fix)
    else:
        yield Finding("verifier", "ok", mine)


def _helpers(status: Asked) -> Iterator[Finding]:
    arbiter = status.get("arbiter")
    if arbiter:
        well = arbiter["state"] in ("idle", "up")
        text = f"etcd is {arbiter['state']}" + (
            f", {arbiter['pending']} needs wait: {arbiter['error']}" if not well else ""
        )
        yield Finding(
            "arbiter", "ok" if well else "bad", text, "" if well else "are etcd_endpoints right, and up?"
        )
    bridge = status.get("bridge")
    if bridge:
        well = bool(bridge["connected"])
        text = f"NATS at {bridge['url']}: {'connected' if well else 'not connected'}"
        yield Finding(
            "bridge",
            "ok" if well else "warning",
            text,
            "" if well else "P2P goes on; is nats_url right, and up?",
        )


_CHECKS: Sequence[Callable[[Asked], Iterator[Finding]]] = (_trouble, _sync, _chain, _verifier, _helpers)


def _agents(agents: Sequence[Asked]) -> Iterator[Finding]:
    away = [each["name"] for each in agents if each["enabled"] and not each["available"]]
    failing = []
    for each in agents:
        failed = sum(each["failed"].values())
        if failed >= FAILING_RUNS and failed > FAILING_SHARE * (failed + each["done"]):
            failing.append(each["name"])
    if failing:
        fix = f"swarmd agent stderr {failing[0]} shows what its last run said"
        yield Finding("agents", "warning", f"mostly fail: {', '.join(failing)}", fix)
    elif away:
        fix = "start what attaches as them, or swarmd agent off NAME"
        yield Finding("agents", "warning", f"cannot take work now: {', '.join(away)}", fix)
    else:
        yield Finding(
            "agents", "ok", f"{len(agents)} registered" if agents else "none: this node does no work"
        )


def _needs(needs: Sequence[Asked], me: str, now_ns: int) -> Iterator[Finding]:
    stuck, slow = [], []
    for need in needs:
        age_s = (now_ns - need["created_ns"]) / 1e9
        if need["owner"] != me or need["state"] in ENDS:
            continue
        waiting = need["waiting_for"]
        if waiting and age_s > STUCK_S:
            text = ", ".join(map(str, waiting)) if isinstance(waiting, list | tuple) else str(waiting)
            stuck.append(f"{need['need']} waits for {text}")
        elif age_s > SLOW_S:
            slow.append(f"{need['need']} is {need['state']} since {age_s:.0f} s")
    if stuck or slow:
        more = len(stuck) + len(slow) - NAMED
        text = "; ".join([*stuck, *slow][:NAMED]) + (f"; and {more} more" if more > 0 else "")
        yield Finding(
            "stuck-needs", "warning", text, "swarmd why NEED; does anybody offer that? swarmd peers"
        )
    else:
        yield Finding("stuck-needs", "ok", "none")
