"""`swarmd doctor net`: why this node has the peers it has. The daemon runs it, or the command itself while that is down.

Each finding says what is so, whether that is well, and what to do about it if not.
"""

import errno
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio
from swarmd.bootstrap.addresses import ip_of, is_relayed, peer_of
from swarmd.node.ports import PeerGone, Transport
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_FUTURE_NS, S_NS

TCP_TIMEOUT_S = 5.0
DIAL_TIMEOUT_S = 15.0
ASK_TIMEOUT_S = 5.0
MAX_DIALS = 16
MAX_CLOCKS = 8
# Envelopes further ahead than this are refused by everybody; warn well before.
SKEW_BAD_S = MAX_FUTURE_NS / S_NS / 3

# errno of a TCP connect -> (what it means, what to do)
_TCP: Mapping[int, tuple[str, str]] = {
    errno.ECONNREFUSED: (
        "nothing listens there",
        "is that node up, and is the port right? swarmd status there shows its addresses",
    ),
    errno.EHOSTUNREACH: ("that host is not to be reached from here", "is it on, and in this network?"),
    errno.ENETUNREACH: ("this host has no route there", "check this host's network: ip route"),
    errno.EACCES: ("this host does not let us connect", "look at its firewall: nft list ruleset"),
    errno.EPERM: ("this host does not let us connect", "look at its firewall: nft list ruleset"),
    errno.ETIMEDOUT: (
        "no answer: what is sent there is dropped",
        "a firewall or NAT is between: open the port there, or let that node use a relay",
    ),
}
# part of what the transport says -> what to do; the first that fits
_DIAL: Sequence[tuple[str, str, str]] = (
    (
        "another mesh",
        "it is a node of another mesh",
        "compare `mesh` in swarmd status on both: they need the same genesis.json",
    ),
    (
        "peeridmismatch",
        "another node answers at that address",
        "its key is not the one in the address: take a new address or ticket from its operator",
    ),
    (
        "denied",
        "we have cut it off after its faults",
        "swarmd peers shows its score; swarmd peers unban lets it back",
    ),
    ("banned", "we have cut it off after its faults", "swarmd peers unban lets it back"),
)
_HANDSHAKE = (
    "it takes the connection, but no handshake",
    "is it a swarmd node? In a private mesh both need the same swarm.key; it may also have denied us, or be full",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` None: it could not be found out."""

    name: str
    ok: bool | None
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """What came of dialing one known address. `rtt_ms` of the TCP connect."""

    addr: str
    peer_id: str
    origin: str
    ok: bool
    error: str = ""
    fix: str = ""
    rtt_ms: float | None = None


@dataclass(slots=True)
class Diagnosis:
    daemon: str  # "up" | "down"
    findings: list[Finding] = field(default_factory=list)
    dials: list[Dial] = field(default_factory=list)
    skews_s: dict[str, float] = field(default_factory=dict)  # peer id -> its clock minus ours
    reach: dict[str, Any] = field(default_factory=dict)
    peers: int = 0

    def add(self, name: str, ok: bool | None, message: str, fix: str = "") -> None:
        self.findings.append(Finding(name, ok, message, fix))

    def document(self) -> dict[str, Any]:
        """As JSON has it. `ok` unless a finding is bad; a dial that failed is bad only if none worked."""
        return {
            "ok": all(finding.ok is not False for finding in self.findings),
            "daemon": self.daemon,
            "peers": self.peers,
            "reach": self.reach,
            "checks": [
                {"name": each.name, "ok": each.ok, "message": each.message, "fix": each.fix}
                for each in self.findings
            ],
            "dials": [
                {name: getattr(each, name) for name in Dial.__dataclass_fields__} for each in self.dials
            ],
            "clock_skew_s": {peer: round(skew, 3) for peer, skew in self.skews_s.items()},
        }


# Dialing --------------------------------------------------------------------------------------------------


async def try_dial(transport: Transport, addr: str, origin: str) -> Dial:
    """Dial as the daemon would, and say in an operator's words what came of it."""
    try:
        peer_id = peer_of(addr)
    except LocalFault as fault:
        return Dial(addr, "", origin, False, fault.message, fault.fix)
    if any(peer.peer_id == peer_id for peer in transport.peers()):
        return Dial(addr, peer_id, origin, True)
    if peer_id == transport.peer_id:
        return Dial(addr, peer_id, origin, False, "that is this node", "leave its own address out")
    rtt_ms = None
    if not is_relayed(addr):
        began_s = trio.current_time()
        trouble = await _try_tcp(addr)
        if trouble is not None:
            return Dial(addr, peer_id, origin, False, *trouble)
        rtt_ms = round((trio.current_time() - began_s) * 1e3, 1)
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            await transport.connect(addr)
    except (PeerGone, LocalFault, trio.TooSlowError) as error:
        return Dial(addr, peer_id, origin, False, *_explain(str(error)), rtt_ms=rtt_ms)
    return Dial(addr, peer_id, origin, True, rtt_ms=rtt_ms)


async def _try_tcp(addr: str) -> tuple[str, str] | None:
    """(what is wrong, the fix), or None if something takes the connection."""
    parts = addr.split("/")
    host, port = parts[2], int(parts[4])
    try:
        with trio.fail_after(TCP_TIMEOUT_S):
            stream = await trio.open_tcp_stream(host, port)
        await stream.aclose()
        return None
    except trio.TooSlowError:
        return _TCP[errno.ETIMEDOUT]
    except OSError as error:
        numbers = [error.errno or 0, *_causes(error)]
        known = next((_TCP[number] for number in numbers if number in _TCP), None)
        if known is not None:
            return known
        if ip_of(addr) is None:
            return f"{host} has no address ({error})", "is the name right, and does DNS answer here?"
        return str(error), "check this host's network"


def _causes(error: BaseException) -> list[int]:
    """The errnos under an error: trio gathers those of several attempts."""
    inner = [*getattr(error, "exceptions", ()), error.__cause__, error.__context__]
    found = [each.errno for each in inner if isinstance(each, OSError) and each.errno is not None]
    for each in inner:
        if isinstance(each, BaseExceptionGroup):
            found += [e.errno for e in each.exceptions if isinstance(e, OSError) and e.errno is not None]
    return found


def _explain(said: str) -> tuple[str, str]:
    for part, meaning, fix in _DIAL:
        if part in said.lower():
            return meaning, fix
    meaning, fix = _HANDSHAKE
    return f"{meaning} ({said[:200]})", fix


# Clocks ---------------------------------------------------------------------------------------------------


def time_answer() -> bytes:
    """What a node answers to {"t": "time"}."""
    return encode({"ns": time.time_ns()})


async def skew_of(transport: Transport, peer_id: str) -> float | None:
    """By how many seconds the peer's clock is ahead of ours, to half a round trip; None if it does not say."""
    began_ns = time.time_ns()
    try:
        answer = decode(await transport.request(peer_id, encode({"t": "time"}), timeout_s=ASK_TIMEOUT_S))
    except (PeerGone, RemoteFault):
        return None
    ended_ns = time.time_ns()
    theirs_ns = answer.get("ns") if type(answer) is dict else None
    if type(theirs_ns) is not int:
        return None
    return (theirs_ns - (began_ns + ended_ns) // 2) / S_NS


# All of it ------------------------------------------------------------------------------------------------


async def examine(
    daemon: str,
    transport: Transport,
    known: Sequence[tuple[str, str]],
    report: Mapping[str, Any],
    reach: Callable[[], Awaitable[Mapping[str, Any]]],
) -> Diagnosis:
    """`known`: (address, where it is from) to dial; `report`: as `Discovery.report`; `reach`: how we are reached."""
    found = Diagnosis(daemon)
    _listening(found, transport)
    async with trio.open_nursery() as nursery:

        async def dial(addr: str, origin: str) -> None:
            found.dials.append(await try_dial(transport, addr, origin))

        for addr, origin in list(known)[:MAX_DIALS]:
            nursery.start_soon(dial, addr, origin)
    found.dials.sort(key=lambda each: (each.ok, each.origin, each.addr))
    found.peers = len(transport.peers())
    found.reach = dict(await reach())
    _dialed(found)
    _lists(found, report)
    _mdns(found, report)
    _dht(found, report)
    await _clocks(found, transport)
    _reached(found)
    _peers(found, report)
    return found


def _listening(found: Diagnosis, transport: Transport) -> None:
    ips = [ip for addr in transport.addrs if (ip := ip_of(addr)) is not None and not is_relayed(addr)]
    if not ips:
        found.add("listening", False, "on no address", "set listen in swarmd.toml")
    elif all(ip.is_loopback for ip in ips):
        found.add(
            "listening",
            False,
            "on loopback only: no other host can reach this node",
            'set listen = ["/ip4/0.0.0.0/tcp/4001"]',
        )
    else:
        found.add("listening", True, ", ".join(addr.rpartition("/p2p/")[0] for addr in transport.addrs))


def _dialed(found: Diagnosis) -> None:
    if not found.dials:
        found.add(
            "addresses", None, "this node knows no address of another one", "swarmd join, or set bootstrap"
        )
        return
    worked = sum(dial.ok for dial in found.dials)
    fix = "" if worked else "see each below"
    found.add("addresses", worked > 0, f"{worked} of {len(found.dials)} known addresses answer", fix)


def _lists(found: Diagnosis, report: Mapping[str, Any]) -> None:
    for entry, error in report.get("lists", {}).items():
        if not error and entry.startswith("/ip"):
            continue  # it is among the dials
        found.add(
            f"bootstrap {entry}", not error, error or "read", "mend or remove the entry" if error else ""
        )


def _mdns(found: Diagnosis, report: Mapping[str, Any]) -> None:
    mdns = report["mdns"]
    if mdns["state"] == "off":
        found.add("mDNS", None, "off", "mdns = true finds nodes of the local network")
    elif mdns["state"] == "failed":
        found.add("mDNS", False, mdns["error"], "is UDP port 5353 open for multicast on this host?")
    else:
        text = f"{mdns['state']}, at {', '.join(mdns['interfaces']) or 'nothing yet'}: {mdns['seen']} of our mesh"
        others = f", {mdns['other_meshes']} announcements of other meshes" if mdns["other_meshes"] else ""
        found.add("mDNS", True, text + others)


def _dht(found: Diagnosis, report: Mapping[str, Any]) -> None:
    dht = report["dht"]
    if dht["state"] == "off":
        found.add("DHT", None, "off", "dht = true finds all nodes through one")
    else:
        found.add("DHT", True, f"{dht['table']} nodes in the table, {dht.get('lookups', 0)} lookups")


async def _clocks(found: Diagnosis, transport: Transport) -> None:
    for peer in list(transport.peers())[:MAX_CLOCKS]:
        skew_s = await skew_of(transport, peer.peer_id)
        if skew_s is not None:
            found.skews_s[peer.peer_id] = skew_s
    if not found.skews_s:
        found.add("clock", None, "no peer to compare with")
        return
    middle_s = statistics.median(found.skews_s.values())
    ahead = "behind" if middle_s > 0 else "ahead of"
    text = f"{abs(middle_s):.2f} s {ahead} that of {len(found.skews_s)} peers (their median)"
    bad = abs(middle_s) > SKEW_BAD_S
    fix = (
        f"set this host's clock (NTP): what it says {MAX_FUTURE_NS // S_NS} s early is refused" if bad else ""
    )
    found.add("clock", not bad, text, fix)


def _reached(found: Diagnosis) -> None:
    kind = found.reach.get("nat", "unknown")
    texts = {
        "public": (True, "others reach this node at its own address", ""),
        "private": (
            None,
            "others do not reach this node by dialing it: it is behind a NAT or firewall",
            "open or forward its port; until then it is reached through relays, if it has any",
        ),
        "unknown": (None, "nobody has tried to dial this node yet", "it takes peers that answer"),
    }
    ok, message, fix = texts[kind]
    relays = found.reach.get("relays") or []
    if kind == "private" and relays:
        ok, message, fix = True, f"{message}, and reached through {len(relays)} relays", ""
    found.add("reachability", ok, message, fix)


def _peers(found: Diagnosis, report: Mapping[str, Any]) -> None:
    """The answer to `why no peers?`, from all the others."""
    if found.peers:
        found.add("peers", True, f"{found.peers} connected")
        return
    if not found.dials and not report["mdns"].get("seen"):
        why = "this node was told of no other, and hears of none"
        fix = "join with a ticket of a member (swarmd invite there), or set bootstrap or peers in swarmd.toml"
    elif found.dials:
        first = found.dials[0]
        why = f"none of the {len(found.dials)} known addresses works; the first: {first.error}"
        fix = first.fix
    else:
        why, fix = (
            "nodes were seen on the local network, but none could be dialed",
            "see swarmd peers again shortly",
        )
    found.add("peers", False, f"none: {why}", fix)
