"""Named groups of recipients of private content, in HOME/recipients.json: {name: [did:key, ...]}.

Leaving a group means: of what is sealed to it from now on, nothing. Nobody can take back what was sealed before.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from swarmd.node.content.private import MAX_RECIPIENTS
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault

FILE: Final = "recipients.json"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def load_groups(home: Path) -> dict[str, list[str]]:
    """LocalFault `bad-recipients` for a file that holds anything else."""
    path = home / FILE
    try:
        found = json.loads(path.read_bytes())
        groups = {str(name): [str(did) for did in dids] for name, dids in found.items()}
        for dids in groups.values():
            for did in dids:
                public_key_of(did)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RemoteFault) as error:
        raise LocalFault("bad-recipients", f"{path}: {error}", fix="mend the file, or remove it") from None
    return groups


def change_group(home: Path, name: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Sequence[str]:
    """The members afterwards; a group without any is gone. LocalFault `bad-name`, `bad-recipient`, `not-a-member`."""
    if not _NAME.fullmatch(name):
        raise LocalFault(
            "bad-name", f"{name!r} is no name of a group", fix="lower case letters, digits, . _ -"
        )
    groups = load_groups(home)
    members = dict.fromkeys(groups.get(name, ()))
    for did in add:
        try:
            public_key_of(did)
        except RemoteFault as fault:
            raise LocalFault(
                "bad-recipient", fault.message, fix="a did:key, as swarmd status shows it"
            ) from None
        members[did] = None
    for did in remove:
        if did not in members:
            raise LocalFault("not-a-member", f"{did} is not in {name}", fix="swarmd content group list")
        del members[did]
    if len(members) > MAX_RECIPIENTS:
        raise LocalFault("too-many-recipients", f"{len(members)}; a group has at most {MAX_RECIPIENTS}")
    groups[name] = list(members)
    _save(home, {each: dids for each, dids in sorted(groups.items()) if dids})
    return list(members)


def recipients_of(home: Path, words: Iterable[str]) -> list[str]:
    """The DIDs that `words` mean: each a did:key, or the name of a group. LocalFault `no-group`."""
    groups: Mapping[str, Sequence[str]] | None = None
    found: dict[str, None] = {}
    for word in words:
        if word.startswith("did:"):
            found[word] = None
            continue
        groups = load_groups(home) if groups is None else groups
        if word not in groups:
            raise LocalFault(
                "no-group", f"there is no group {word!r}", fix="swarmd content group add NAME DID"
            )
        found.update(dict.fromkeys(groups[word]))
    return list(found)


def _save(home: Path, groups: Mapping[str, Sequence[str]]) -> None:
    path = home / FILE
    temporary = path.with_name(FILE + ".tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(groups, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise LocalFault("disk-error", f"{path}: {error.strerror}", fix="is it a home? swarmd init") from None
