"""The capsules of a node on disk: a file each, and which one is in force.

`HOME/policies/CID.capsule` are whole packages; `HOME/policies/active.json` says what runs. "" in the place of a CID
is the configured policy (the one that ships, or `policy_path`).
"""

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from swarmd.node.policy.capsule import Package, parse_package
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

CONFIGURED: Final = ""
MAX_STORED: Final = 64
MAX_FORMER: Final = 16
_SUFFIX: Final = ".capsule"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in force, what was (oldest first), and what comes into force at a lamport time."""

    active: str = CONFIGURED
    former: tuple[str, ...] = ()
    pending: tuple[str, int] | None = None

    def switched(self) -> "Standing":
        """After the pending one came into force."""
        if self.pending is None:
            return self
        former = (*self.former, self.active)[-MAX_FORMER:]
        return Standing(self.pending[0], former)

    def rolled_back(self) -> "Standing":
        """Back to the one before. LocalFault `no-former-policy` if there was none."""
        if not self.former:
            raise LocalFault(
                "no-former-policy", "no policy was in force before this one", fix="swarmd policy list"
            )
        return Standing(self.former[-1], self.former[:-1])


class CapsuleStore:
    """Not shared between processes: the daemon's, or a command's while it holds the home's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # Packages ------------------------------------------------------------------------------------------

    def put(self, package: Package) -> str:
        """Keep a checked package; returns its CID. The oldest that is of no use makes way for it."""
        cid = package.capsule.cid_text
        standing = self.standing()
        used = {standing.active, *standing.former, *(standing.pending or ())[:1], cid}
        stored = self.cids()
        for old in stored[: max(0, len(stored) + 1 - MAX_STORED)]:
            if old not in used:
                self._path(old).unlink(missing_ok=True)
        self._write(self._path(cid), package.to_bytes())
        return cid

    def get(self, cid: str) -> Package:
        """LocalFault `no-such-capsule`, or `bad-capsule` for a file that is not what it was."""
        try:
            package = parse_package(self._path(cid).read_bytes())
        except FileNotFoundError:
            raise LocalFault(
                "no-such-capsule", f"{cid} is not among this node's capsules", fix="swarmd policy list"
            ) from None
        except (OSError, RemoteFault) as error:
            raise LocalFault(
                "bad-capsule", f"{self._path(cid)}: {error}", fix="remove it; it is fetched again from peers"
            ) from None
        if package.capsule.cid_text != cid:
            raise LocalFault("bad-capsule", f"{self._path(cid)} holds another capsule", fix="remove it")
        return package

    def cids(self) -> list[str]:
        """Of all that are here, the oldest file first."""
        try:
            files = [(path.stat().st_mtime_ns, path.stem) for path in self.folder.glob(f"*{_SUFFIX}")]
        except OSError:
            return []
        return [cid for _, cid in sorted(files)]

    def find(self, text: str) -> str:
        """The CID that begins with `text`. LocalFault `no-such-capsule`, `ambiguous`."""
        found = [cid for cid in self.cids() if cid.startswith(text)] if text else []
        if len(found) != 1:
            raise LocalFault(
                "ambiguous" if found else "no-such-capsule",
                f"{len(found) or 'no'} capsules begin with {text!r}",
                fix="swarmd policy list",
            )
        return found[0]

    def _path(self, cid: str) -> Path:
        try:
            return self.folder / f"{cid_text(parse_cid(cid))}{_SUFFIX}"
        except RemoteFault as fault:
            raise LocalFault("no-such-capsule", fault.message, fix="swarmd policy list") from None

    # Standing ------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """LocalFault `bad-standing` if the file is no such thing: nobody should guess which policy holds."""
        path = self.folder / "active.json"
        try:
            found = parse_json(path.read_bytes())
            pending = found["pending"]
            standing = Standing(
                _text(found["active"]),
                tuple(map(_text, found["former"])),
                None if pending is None else (_text(pending["cid"]), int(pending["at_lamport"])),
            )
        except FileNotFoundError:
            return Standing()
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise LocalFault(
                "bad-standing", f"{path}: {error!r}", fix="remove it to go back to the configured policy"
            ) from None
        return standing

    def set_standing(self, standing: Standing) -> None:
        pending = standing.pending
        document = {
            "active": standing.active,
            "former": list(standing.former),
            "pending": None if pending is None else {"cid": pending[0], "at_lamport": pending[1]},
        }
        self._write(self.folder / "active.json", json.dumps(document, indent=2).encode() + b"\n")

    def schedule(self, cid: str, at_lamport: int) -> None:
        self.set_standing(replace(self.standing(), pending=(cid, at_lamport)))

    def _write(self, path: Path, content: bytes) -> None:
        """Written aside, synced and renamed: whole or not at all. LocalFault `disk`."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".tmp")  # 0600
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(aside, path)
            except BaseException:
                with suppress(OSError):
                    Path(aside).unlink()
                raise
        except OSError as error:
            raise LocalFault(
                "disk", f"{path}: {error.strerror}", fix="make room, or the folder writable"
            ) from None


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is no CID")
    return value


def require_trust(author: str, signers: Sequence[str], me: str) -> None:
    """LocalFault `untrusted-signer` unless the operator trusts the author, or it is this node itself."""
    if author != me and author not in signers:
        raise LocalFault(
            "untrusted-signer",
            f"the operator of this node does not trust {author}",
            fix="add it to policy_signers in swarmd.toml, if you do",
        )
