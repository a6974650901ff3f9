"""Making a home: its folder, key and genesis."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmd.node.keys import KEY_FILE, Identity, create_key, load_key
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import Genesis, parse_genesis

GENESIS_FILE = "genesis.json"
# What a new mesh of one gives its founder: 1,000 USDC of test credit.
FOUNDER_BALANCE = 1_000_000_000


def create_home(home: Path) -> Identity:
    """Make the folder (0700) and the key, or load the key of a home that has one but no genesis yet."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(home, 0o700)
    except OSError as error:
        raise LocalFault("bad-home", f"{home}: {error.strerror}", fix="choose another --home") from None
    if (home / KEY_FILE).exists():
        return load_key(home)
    return create_key(home)


def init_home(home: Path, genesis: Genesis | None = None, *, name: str = "solo") -> tuple[Identity, Genesis]:
    """Make a whole home. Without a genesis it founds a mesh of its own, in which it is the only verifier.

    LocalFault `home-exists` if the home belongs to a mesh already.
    """
    if (home / GENESIS_FILE).exists():
        raise LocalFault("home-exists", f"{home} is a swarmd home already", fix="choose another --home")
    identity = create_home(home)
    genesis = genesis or found_mesh(name, [identity.did], {identity.did: FOUNDER_BALANCE})
    write_genesis(home / GENESIS_FILE, genesis)
    return identity, genesis


def found_mesh(name: str, verifiers: Sequence[str], balances: Mapping[str, int], **params: Any) -> Genesis:
    """A checked genesis; LocalFault `bad-genesis` if the parts do not fit."""
    draft = Genesis(name, tuple(sorted(set(verifiers))), dict(balances), **params)
    return parse_genesis(draft.to_map())


def write_genesis(path: Path, genesis: Genesis) -> None:
    """Atomically, so that a crash leaves either no genesis or a whole one."""
    text = json.dumps(genesis.to_map(), indent=2, sort_keys=True) + "\n"
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_genesis(path: Path) -> Genesis:
    """LocalFault `no-home` if there is none, `bad-genesis` naming what is wrong with it."""
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise LocalFault("no-home", f"{path} is missing", fix="run swarmd init") from None
    except (OSError, ValueError) as error:
        raise LocalFault("bad-genesis", f"{path}: {error}", fix="take it anew from a member") from None
    return parse_genesis(value)
