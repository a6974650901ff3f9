"""What every command gets: its arguments, where to write, which node is meant."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from swarmd.node.console.output import Output
from swarmd.node.home import resolve_home, socket_path
from swarmd.node.transport.local_client import LocalClient

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
        return resolve_home(self.args.home, self.env)

    def client(self, timeout_s: float | None = CALL_TIMEOUT_S) -> LocalClient:
        """A connection to the daemon of the home; LocalFault `daemon-not-running` names how to start it."""
        return LocalClient(socket_path(self.home), timeout_s=timeout_s)

    def ask(self, op: str, **args: Any) -> Any:
        """One question to the daemon, one answer."""
        with self.client() as client:
            return client.call(op, args)
