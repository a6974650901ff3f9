"""What can be found out about a home without its daemon: all that would keep one from starting, and some more."""

import ctypes
import os
import resource
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from swarmd.node.config import CONFIG_FILE, Config, load_config
from swarmd.node.health.findings import Finding, Status, of_fault
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.genesis import Genesis

DISK_BAD_BYTES = 64 << 20
DISK_LOW_BYTES = 1 << 30
PROBE_BYTES = 65_536
# A file of ours from the future by more than this: the clock went back.
CLOCK_BACK_S = 60.0
SPARE_FILES = 200
# adjtimex(2): the kernel's clock is not disciplined by NTP.
_TIME_ERROR = 5
_TIMEX_BYTES = 1_024

Said = tuple[Status, str] | tuple[Status, str, str]


@dataclass(frozen=True)
class Ground:
    """What the checks stand on. `pid` of the daemon that runs on the home, None if none does."""

    home: Path
    env: Mapping[str, str]
    pid: int | None

    @cached_property
    def config(self) -> Config:
        return load_config(self.home, self.env).config

    @cached_property
    def genesis(self) -> Genesis:
        from swarmd.node.setup import GENESIS_FILE, load_genesis

        return load_genesis(self.home / GENESIS_FILE)


def examine(ground: Ground) -> list[Finding]:
    """A finding for each check, in order. What is wrong is said once, by the first that meets it."""
    found: list[Finding] = []
    said: dict[str, str] = {}
    for code, check in CHECKS:
        finding = _checked(code, check, ground)
        if finding.status == "bad" and finding.message in said:
            finding = Finding(
                code, "unknown", f"not looked at: see {said[finding.message]}", "mend that first"
            )
        said.setdefault(finding.message, code)
        found.append(finding)
    return found


def _checked(code: str, check: Callable[[Ground], Said], ground: Ground) -> Finding:
    try:
        return Finding(code, *check(ground))
    except (LocalFault, CorruptState) as fault:
        return of_fault(code, fault)
    except OSError as error:
        return Finding(
            code, "bad", f"{error.filename or ground.home}: {error.strerror}", "see who may read it"
        )


def _settings(ground: Ground) -> Said:
    changed = sum(origin != "default" for origin in load_config(ground.home, ground.env).origins.values())
    return "ok", f"{changed} settings are not at their default"


def _addresses(ground: Ground) -> Said:
    from swarmd.bootstrap.lists import check_entry
    from swarmd.node.transport.p2p.access import AccessList
    from swarmd.node.transport.p2p.addresses import parse_listen, parse_peer

    config = ground.config
    for text in config.listen:
        parse_listen(text)
    for text in (*config.peers, *config.content_ipfs_peers):
        parse_peer(text)
    AccessList(config.allow_peers, config.deny_peers)
    for entry in config.bootstrap:
        check_entry(entry)
    counts = f"{len(config.listen)} to listen on, {len(config.peers)} peers"
    return "ok", f"{counts}, {len(config.bootstrap)} bootstrap entries"


def _key(ground: Ground) -> Said:
    from swarmd.node.keys import load_key

    return "ok", load_key(ground.home).did


# name in the home -> the permissions that others must not have
_PRIVATE = {"": 0o077, "swarm.key": 0o077, "agents.json": 0o077, CONFIG_FILE: 0o022, "journal.db": 0o022}


def _permissions(ground: Ground) -> Said:
    if not ground.home.is_dir():
        return "bad", f"{ground.home} is no folder", "make a node there: swarmd init"
    for name, forbidden in _PRIVATE.items():
        path = ground.home / name if name else ground.home
        if not path.exists():
            continue
        found = path.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid():
            fix = f"run swarmd as its owner, or: chown -R {os.geteuid()} {ground.home}"
            return "bad", f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}", fix
        if mode & forbidden:
            what = "read" if forbidden == 0o077 else "write to"
            return "warning", f"others can {what} {path} (mode {mode:o})", f"chmod go= {path}"
    return "ok", "only its owner can read what is secret"


def _genesis(ground: Ground) -> Said:
    return "ok", f"mesh {ground.genesis.name}, {len(ground.genesis.roster)} verifiers"


def _arbiter(ground: Ground) -> Said:
    from swarmd.node.arbiter.settings import EtcdSettings, open_arbiter

    config = ground.config
    settings = EtcdSettings(config.etcd_endpoints, config.etcd_ca, config.etcd_cert, config.etcd_key)
    arbiter = open_arbiter(settings, ground.genesis, lambda: 0)
    if arbiter is None:
        return "ok", "none: the committee's signatures decide"
    arbiter.client.close()
    return "ok", f"etcd at {', '.join(config.etcd_endpoints)}"


def _swarm_key(ground: Ground) -> Said:
    from swarmd.bootstrap.swarmkey import load_psk

    return "ok", "an open mesh" if load_psk(ground.home) is None else "a private mesh"


def _policy(ground: Ground) -> Said:
    from swarmd.node.keys import load_key
    from swarmd.node.policy.loading import make_capsules

    config = ground.config
    me = load_key(ground.home).did
    capsules = make_capsules(ground.home, config.policy_path, config.policy_signers, me)
    return "ok", capsules.in_force().policy_hash.hex()


def _chain(ground: Ground) -> Said:
    from swarmd.node.console.money import rpc_settings

    config = ground.config
    if rpc_settings(config) is None:
        return "ok", f"embedded, chain id {config.chain_id}"
    keystore = ground.home / "chain" / "keystore.json"
    if keystore.exists() and not ground.env.get("SWARMD_KEYSTORE_PASSPHRASE"):
        fix = "set SWARMD_KEYSTORE_PASSPHRASE for the daemon, as in the environment of its service"
        return "warning", f"{keystore} is encrypted, and its passphrase is not in this environment", fix
    return "ok", f"chain {config.chain_id} at {len(config.chain_rpc)} endpoints"


def _agents_file(ground: Ground) -> Said:
    from swarmd.node.agents.registry import AgentRegistry

    agents = AgentRegistry(ground.home / "agents.json").list()
    gone = [each.name for each in agents if each.argv and shutil.which(each.argv[0]) is None]
    if gone:
        fix = "add them again where their program is now: swarmd agent add --replace"
        return "warning", f"the program of {', '.join(gone)} is not there", fix
    return "ok", f"{len(agents)} agents"


def _journal(ground: Ground) -> Said:
    from swarmd.node import migrations
    from swarmd.node.own_journal import is_lost, journal_lost

    path = ground.home / "journal.db"
    if is_lost(ground.home):
        lost = journal_lost(ground.home)
        return "bad", lost.message, lost.fix
    if not path.exists():
        return "ok", "none yet: the daemon makes it"
    try:
        # Read only: a journal must not be migrated by whoever looks.
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as db:
            migrations.refuse_newer(db, path)
            inputs = db.execute("select max(id) from inputs").fetchone()[0] or 0
    except sqlite3.DatabaseError as error:
        fix = "check the disk; restore a backup, or without one: swarmd backup recover (docs/backup.md)"
        return "bad", f"{path}: {error}", fix
    return "ok", f"{inputs} inputs, {path.stat().st_size >> 10} KiB"


def _disk(ground: Ground) -> Said:
    place = ground.home if ground.home.is_dir() else ground.home.parent
    probe = place / f".swarmd-probe-{os.getpid()}"
    try:
        with open(probe, "xb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return "bad", f"{place} takes no writes: {error.strerror}", "free space, or mount it writable"
    finally:
        probe.unlink(missing_ok=True)
    free = shutil.disk_usage(place).free
    text = f"{free >> 20} MiB free at {place}"
    if free < DISK_BAD_BYTES:
        return "bad", text, "free space: the daemon refuses needs while the disk is full"
    fix = "free space, or bound content_max_bytes" if free < DISK_LOW_BYTES else ""
    return ("warning" if fix else "ok"), text, fix


def _ports(ground: Ground) -> Said:
    from swarmd.node.transport.p2p.addresses import parse_listen, require_free

    if ground.pid is not None:
        return "ok", f"the daemon (pid {ground.pid}) has them"
    for text in ground.config.listen:
        addr = parse_listen(text)
        if addr.value_for_protocol("tcp") != "0":
            require_free(addr)
    return "ok", f"free: {', '.join(ground.config.listen)}"


def _clock(ground: Ground) -> Said:
    now_s = time.time()
    newest_s, newest = max(
        ((path.stat().st_mtime, path) for path in ground.home.glob("*") if path.is_file()),
        default=(0.0, ground.home),
    )
    if newest_s > now_s + CLOCK_BACK_S:
        text = f"{newest.name} was written {newest_s - now_s:.0f} s in the future: the clock went back"
        return "bad", text, "set this host's clock (NTP)"
    synchronised = ntp_synchronised()
    if synchronised is None:
        return "unknown", "this host does not say whether NTP sets its clock"
    if not synchronised:
        fix = "timedatectl set-ntp true, or run chrony: what is stamped too early is refused by others"
        return "warning", "NTP does not set this host's clock", fix
    return "ok", "set by NTP"


def ntp_synchronised() -> bool | None:
    """As the Linux kernel has it; None where it cannot be asked."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else bool(answer != _TIME_ERROR)


def _versions(ground: Ground) -> Said:
    from swarmd.node.version import version

    text = f"swarmd {version()}, Python {sys.version.split()[0]}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        return "bad", text, "use Python 3.11 or 3.12"
    return "ok", text


def _files_limit(ground: Ground) -> Said:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ground.config.max_connections + SPARE_FILES
    text = f"{soft} files, {ground.config.max_connections} connections"
    if resource.RLIM_INFINITY != soft < wanted:
        return "warning", text, f"ulimit -n {wanted} (hard limit {hard}), or lower max_connections"
    return "ok", text


CHECKS: tuple[tuple[str, Callable[[Ground], Said]], ...] = (
    ("settings", _settings),
    ("addresses", _addresses),
    ("key", _key),
    ("permissions", _permissions),
    ("genesis", _genesis),
    ("swarm-key", _swarm_key),
    ("arbiter-settings", _arbiter),
    ("policy", _policy),
    ("chain-settings", _chain),
    ("agents-file", _agents_file),
    ("journal", _journal),
    ("disk", _disk),
    ("ports", _ports),
    ("clock", _clock),
    ("versions", _versions),
    ("files-limit", _files_limit),
)
