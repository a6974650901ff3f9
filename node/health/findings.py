"""Findings: each has a stable code, a status, what is so in words, and the fix if it is not well."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from swarmd.protocol.faults import CorruptState, LocalFault

# bad: something does not work, or will not; warning: it works, but not for long or not as well as it could;
# unknown: it could not be found out, or is switched off.
Status = Literal["ok", "warning", "bad", "unknown"]
PAGE = "docs/doctor.md"

# code -> what is looked at. Programs count on the codes: none is ever reused for something else.
CODES: Mapping[str, str] = {
    # Without a daemon: what `swarmd config check` looks at.
    "settings": "swarmd.toml and the SWARMD_* variables are understood",
    "addresses": "the addresses in the settings are ones, and none contradicts another",
    "key": "node.key is there, is a key, and only its owner can read it",
    "permissions": "nobody else can read or write the home and what is secret in it",
    "genesis": "genesis.json is there and fits together",
    "swarm-key": "swarm.key, if there is one, is a key",
    "arbiter-settings": "a mesh that etcd decides for has its endpoints and certificates in the settings",
    "policy": "the policy in force loads and keeps to its limits",
    "chain-settings": "a chain elsewhere has endpoints and contract addresses that can be meant",
    "agents-file": "agents.json is understood, and the programs in it are there",
    "journal": "the journal opens, and no newer swarmd wrote it",
    "disk": "the disk of the home takes writes and has room",
    "ports": "nothing else listens where the daemon would",
    "clock": "this host's clock is right: against its own files, NTP, and the peers'",
    "versions": "Python is one that is supported, and the daemon that runs is this swarmd",
    "files-limit": "the process may open as many files as connections may need",
    # With a daemon.
    "daemon": "a daemon answers at the home",
    "trouble": "the daemon can write its journal",
    "restored": "a node made of a backup has heard enough to speak",
    "listening": "other hosts can reach an address that the daemon listens on",
    "dials": "the known addresses of other nodes answer",
    "bootstrap": "the bootstrap lists are read and their signatures hold",
    "mdns": "the local network is searched, if mdns is on",
    "dht": "the mesh is searched through the nodes that are known, if dht is on",
    "reachability": "others can dial this node, or reach it through relays",
    "peers": "somebody is connected",
    "sync-lag": "nothing waits for statements that have not come",
    "frames-dropped": "the daemon keeps up with what peers send",
    "chain": "the chain answers and takes transactions",
    "chain-head": "the newest block that the chain's endpoints know is not old",
    "gas": "the account on the chain can pay for transactions",
    "outbox": "what must go on chain does not pile up",
    "agents": "the agents of this host can take work and mostly finish it",
    "stuck-needs": "no need of this node waits for something for long",
    "verifier": "this node's seat among the verifiers is not jailed or lost",
    "arbiter": "etcd answers, in a mesh that it decides for",
    "bridge": "NATS answers, if frames are bridged over it",
    "content": "content is kept and exchanged",
    "kubo": "this host's kubo answers and has room, if content is kept there",
}


@dataclass(frozen=True, slots=True)
class Finding:
    code: str
    status: Status
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is no code of a finding")

    def document(self) -> dict[str, Any]:
        docs = f"{PAGE}#{self.code}" if self.status in ("bad", "warning") else ""
        return {
            "code": self.code,
            "status": self.status,
            "message": self.message,
            "fix": self.fix,
            "docs": docs,
        }


def of_fault(code: str, fault: LocalFault | CorruptState) -> Finding:
    return Finding(code, "bad", fault.message, fault.fix or "see the message")


def of_checks(checks: Iterable[Mapping[str, Any]], codes: Mapping[str, str]) -> list[Finding]:
    """The checks of `doctor.net` and `doctor.content` as findings; `codes` by the name's first word that is known."""
    found = []
    for check in checks:
        code = codes.get(check["name"]) or codes[check["name"].split(" ")[0]]
        status: Status = {True: "ok", False: "bad", None: "unknown"}[check["ok"]]  # type: ignore[assignment]
        found.append(Finding(code, status, check["message"], check["fix"]))
    return found


def good(found: Iterable[Finding]) -> bool:
    return all(each.status != "bad" for each in found)
