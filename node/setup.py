"""Making a home: its folder, key and genesis."""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from swarmd.node.keys import KEY_FILE, Identity, create_key, load_key, no_key
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
    if (lost := no_key(home)).code == "key-lost":
        raise lost  # a new key would be another node, on this one's journal
    return create_key(home)


def init_home(home: Path, genesis: Genesis | None = None, *, name: str = "solo") -> tuple[Identity, Genesis]:
    """Make a whole home. Without a genesis it founds a mesh of its own, in which it is the only verifier.

    LocalFault `home-exists` if the home belongs to a mesh already.
    """
    if (home / GENESIS_FILE).exists():
        raise home_exists(home)
    identity = create_home(home)
    genesis = genesis or found_mesh(name, [identity.did], {identity.did: FOUNDER_BALANCE})
    if mesh_on_record(home) not in (None, genesis.mesh_id):
        fix = f"put its {GENESIS_FILE} back: swarmd init --genesis FILE, of a backup or another member"
        raise LocalFault(
            "other-mesh", f"{home} has the journal of another mesh, and no {GENESIS_FILE}", fix=fix
        )
    write_genesis(home / GENESIS_FILE, genesis)
    return identity, genesis


def home_exists(home: Path) -> LocalFault:
    fix = "start it: swarmd up --detach; or choose another --home for another node"
    return LocalFault("home-exists", f"{home} is a swarmd home already", fix=fix)


def mesh_on_record(home: Path) -> bytes | None:
    """The mesh that the journal of a home is of; None if it has none, or none that can be read."""
    path = home / "journal.db"
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("select value from meta where key = 'mesh_id'").fetchone()
    except sqlite3.Error:
        return None  # a start will say what is wrong with it
    return bytes(row[0]) if row else None


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
        fix = "found a mesh: swarmd init; or take the file of a member's: swarmd init --genesis FILE"
        raise LocalFault("no-home", f"{path} is missing", fix=fix) from None
    except OSError as error:
        raise LocalFault("bad-genesis", f"{path}: {error.strerror}", fix="make it readable") from None
    except ValueError as error:
        raise LocalFault("bad-genesis", f"{path}: {error}", fix="take it anew from a member") from None
    return parse_genesis(value)
