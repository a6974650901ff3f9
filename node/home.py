"""Where a node lives on disk. Pure: the daemon, the CLI and the agents' SDK all find the same place."""

import sys
from collections.abc import Mapping
from pathlib import Path

from swarmd.protocol.faults import LocalFault

# The store of content, in the home.
CONTENT_FOLDER = "content"


def resolve_home(flag: str | None, env: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """The node's home folder: `--home`, then SWARMD_HOME, then the platform's place for user data.

    That place is `$XDG_DATA_HOME/swarmd` or `~/.local/share/swarmd`, on macOS
    `~/Library/Application Support/swarmd`. The folder need not exist. Raises LocalFault `no-home` if
    nothing says where it is.
    """
    if flag:
        return _absolute(flag, env)
    if env.get("SWARMD_HOME"):
        return _absolute(env["SWARMD_HOME"], env)
    if platform == "darwin":
        return _user_home(env) / "Library" / "Application Support" / "swarmd"
    xdg = env.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path there is invalid and must be ignored.
    if xdg.startswith("/"):
        return Path(xdg) / "swarmd"
    return _user_home(env) / ".local" / "share" / "swarmd"


def socket_path(home: Path) -> Path:
    """The daemon's Unix socket. Its folder is private (0700) even where the home is not."""
    return home / "run" / "swarmd.sock"


def _absolute(text: str, env: Mapping[str, str]) -> Path:
    if text == "~" or text.startswith("~/"):
        return _user_home(env) / text[2:]
    return Path(text).absolute()


def _user_home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME", "")
    if not home.startswith("/"):
        raise LocalFault(
            "no-home",
            "HOME is not set, so there is no place for the node",
            fix="set HOME or SWARMD_HOME, or pass --home DIR",
        )
    return Path(home)
