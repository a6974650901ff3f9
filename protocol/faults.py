"""The error family: whose fault is it?

`LocalFault` is our caller's (an operator, an agent on this host), `RemoteFault` a peer's, and
`CorruptState` ours: the only one that stops the daemon.
"""


class Fault(Exception):
    """Carries a stable, kebab-case `code` for machines and a sentence for people."""

    def __init__(self, code: str, message: str = "", *, fix: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message or code
        self.fix = fix


class LocalFault(Fault):
    """A caller on this host asked for something impossible. Nothing was changed."""


class RemoteFault(Fault):
    """A peer sent something it must not send. It is refused and the peer scored down; we live (P10)."""


class CorruptState(Fault):
    """Our own disk or state contradicts itself. The daemon stops rather than spread it."""
