"""What a host's service manager reads to run the daemon: a systemd unit, a launchd property list. Pure."""

import plistlib
import shlex
from dataclasses import dataclass
from pathlib import Path

NAME = "swarmd"
LABEL = "io.swarmd.daemon"
# Exit codes (docs/cli.md) after which another try meets the same: wrong settings, refused, damaged state.
HOPELESS = (2, 4, 6)


@dataclass(frozen=True, slots=True)
class Service:
    """`argv`: how swarmd is called, absolute. `user`: of a service of the whole host; "" for a user's own."""

    argv: tuple[str, ...]
    home: Path
    user: str = ""

    def command(self) -> list[str]:
        return [*self.argv, "--home", str(self.home), "up"]


# What `man systemd.exec` offers to take from a service, and ours does not need. Not here: MemoryDenyWriteExecute, since
# wasmtime compiles policies to machine code; PrivateNetwork and PrivateUsers, which would cut it off or change who it
# is; ProcSubset=pid, since agents' runs ask /proc for memory. Agents run inside, under the same limits.
_HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @obsolete
SystemCallErrorNumber=EPERM
KeyringMode=private
UMask=0077
"""


def systemd_unit(service: Service) -> str:
    """A unit that starts the daemon, waits until it says it is ready, and starts it again if it fails."""
    account = f"User={service.user}\nGroup={service.user}\n" if service.user else ""
    # A user's own agents and plans are in the home folder: to be read, but not written beside the node's own.
    homes = "ProtectHome=yes\n" if service.user else "ProtectHome=read-only\n"
    if service.user and service.home.is_relative_to("/home"):
        homes = "ProtectHome=read-only\n"
    network = "Wants=network-online.target\nAfter=network-online.target\n" if service.user else ""
    return f"""\
# Written by `swarmd service install`.
[Unit]
Description=swarmd, a peer-to-peer node for agents
{network}StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(_quoted, service.command()))}
{account}Restart=on-failure
RestartSec=2
RestartPreventExitStatus={" ".join(map(str, HOPELESS))}
TimeoutStartSec=120
TimeoutStopSec=30
KillMode=mixed
LimitNOFILE=65536
TasksMax=4096

{homes}{_HARDENING.format(home=_quoted(str(service.home)))}
[Install]
WantedBy={"multi-user.target" if service.user else "default.target"}
"""


def _quoted(word: str) -> str:
    """A word of a unit file: % begins a specifier, $ a variable, and quotes are C's."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped == shlex.quote(escaped) else f'"{escaped}"'


def launchd_plist(service: Service) -> bytes:
    """A launchd job: started at login (or boot), kept alive unless it ended as asked."""
    logs = service.home / "swarmd.log"
    job = {
        "Label": LABEL,
        "ProgramArguments": [*service.command(), "--log-file", str(logs)],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "ProcessType": "Standard",
        "Umask": 0o077,
        "SoftResourceLimits": {"NumberOfFiles": 65_536},
        "WorkingDirectory": str(service.home),
        "StandardErrorPath": str(logs),
    }
    if service.user:
        job["UserName"] = service.user
    return plistlib.dumps(job, sort_keys=False)
