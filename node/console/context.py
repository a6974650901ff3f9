"""What every command gets: its arguments, where to write, which node is meant."""

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from swarmd.node.console.output import Output
from swarmd.node.home import resolve_home, socket_path
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.faults import LocalFault

CALL_TIMEOUT_S = 30.0


@dataclass
class Context:
    args: Namespace
    out: Output
    env: Mapping[str, str]
    parser: ArgumentParser
    words: tuple[str, ...] = ()  # as they were typed

    @cached_property
    def home(self) -> Path:
        home = resolve_home(self.args.home, self.env)
        if home.is_file():
            fix = "name another with --home or SWARMD_HOME"
            raise LocalFault("bad-home", f"{home} is a file, and a node's home is a folder", fix=fix)
        return home

    def client(self, timeout_s: float | None = CALL_TIMEOUT_S) -> LocalClient:
        """A connection to the daemon of the home; LocalFault `daemon-not-running` names how to start it."""
        try:
            return LocalClient(socket_path(self.home), timeout_s=timeout_s)
        except LocalFault as fault:
            if fault.code != "daemon-not-running":
                raise
            raise self._nobody(fault) from None

    def _nobody(self, fault: LocalFault) -> LocalFault:
        """Why no daemon answers: there is no node, one starts or hangs, or it was not started."""
        from swarmd.node.home_lock import running_pid

        named = self.args.home
        swarmd = f"swarmd --home {shlex.quote(named)}" if named else "swarmd"
        other = "" if named else "; or name its home with --home or SWARMD_HOME"
        if not (self.home / "node.key").exists():
            fix = f"make and start one: {swarmd} up --init --detach{other}"
            return LocalFault(fault.code, f"there is no node in {self.home}", fix=fix)
        pid = running_pid(self.home)
        if pid is not None:
            message = f"the daemon (pid {pid}) does not answer: it is starting, or on its way out"
            return LocalFault(fault.code, message, fix=f"{swarmd} wait ready; if that fails, {swarmd} logs")
        fix = f"start it: {swarmd} up --detach{other}"
        return LocalFault(fault.code, fault.message, fix=fix)

    def ask(self, op: str, **args: Any) -> Any:
        """One question to the daemon, one answer."""
        with self.client() as client:
            return client.call(op, args)
