"""Replaying a node's journal: the same inputs must give the same state, and other orders the same mesh (P2).

Works on a home (running or not) or on an incident bundle; the journal is copied first and never written.
"""

import io
import json
import random
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from swarmd.node import codec
from swarmd.node.beginning import begin
from swarmd.node.journal import Journal
from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.node.version import version
from swarmd.protocol import engine
from swarmd.protocol.cids import cid_text
from swarmd.protocol.didkey import did_of
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Admitted, Authored, Input
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State

BUNDLE_SUFFIX = ".tar.zst"
MAX_BUNDLE_BYTES = 4 << 30
_FILES = ("journal.db", GENESIS_FILE, "incident.json")
# Nobody: an observer has no duties, so a replay in another order says nothing of its own.
OBSERVER = did_of(bytes(32))


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out. `finalized` are the ids of FINALIZE envelopes that stand, by need."""

    inputs: int
    envelopes: int
    needs: int
    finalized: dict[str, list[str]]
    mesh_digest: str
    state_digest: str

    def to_map(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            "envelopes": self.envelopes,
            "needs": self.needs,
            "finalized": self.finalized,
            "mesh_digest": self.mesh_digest,
            "state_digest": self.state_digest,
        }


class Recording:
    """A copy of a node's journal with its genesis."""

    def __init__(self, folder: Path) -> None:
        self.genesis: Genesis = load_genesis(folder / GENESIS_FILE)
        self.journal = Journal(folder / "journal.db")
        me = self.journal.meta("did")
        if me is None:
            raise LocalFault("bad-recording", "the journal does not say whose it is")
        self.me = me.decode()

    def inputs(self) -> Iterator[Input]:
        def load(key: codec.BatchKey) -> tuple[Envelope, ...]:
            return self.journal.batch(key).envelopes

        for record in self.journal.inputs():
            yield codec.decode_input(record, self.genesis.mesh_id, load)

    def replay(self, *, check_everything: bool = True) -> Replayed:
        """Every input in its order: reproduces every FINALIZE and the state digest of the node."""
        state, _ = begin(self.journal, self.genesis, self.me)
        state.check_everything = check_everything
        count = envelopes = 0
        for given in self.inputs():
            engine.step(state, given)
            count += 1
            envelopes += len(_envelopes(given))
        return _result(state, count, envelopes)

    def replay_shuffled(self, seed: int, skew_s: float) -> Replayed:
        """Every envelope in an order that `seed` picks, heard by a clock that is off by up to `skew_s`."""
        dice = random.Random(seed)
        heard = [(e, reason, given.at_ns) for given in self.inputs() for e, reason in _judged(given)]
        dice.shuffle(heard)
        state, _ = begin(self.journal, self.genesis, OBSERVER)
        for envelope, reason, at_ns in heard:
            at_ns += int(dice.uniform(-skew_s, skew_s) * S_NS)
            denied = {} if reason is None else {0: reason}
            engine.step(state, Admitted((envelope,), denied, max(0, at_ns)))
        return _result(state, len(heard), len(heard))


def _envelopes(given: Input) -> tuple[Envelope, ...]:
    if isinstance(given, Admitted):
        return given.envelopes
    return (given.envelope,) if isinstance(given, Authored) else ()


def _judged(given: Input) -> Iterator[tuple[Envelope, str | None]]:
    denied = given.denied if isinstance(given, Admitted) else {}
    for position, envelope in enumerate(_envelopes(given)):
        yield envelope, denied.get(position)


def _result(state: State, inputs: int, envelopes: int) -> Replayed:
    return Replayed(
        inputs=inputs,
        envelopes=envelopes,
        needs=len(state.needs),
        finalized={
            need.id: sorted(cid_text(final.id) for final in need.finals.values())
            for need in sorted(state.needs.values(), key=lambda need: need.id)
            if need.finals
        },
        mesh_digest=mesh_digest(state).hex(),
        state_digest=state_digest(state).hex(),
    )


@contextmanager
def recording(source: Path) -> Iterator[Recording]:
    """A recording of a home or of a bundle; LocalFault `bad-recording` if it is neither."""
    with tempfile.TemporaryDirectory(prefix="swarmd-replay-") as name:
        folder = Path(name)
        if source.is_dir():
            copy_home(source, folder)
        else:
            _unpack(source, folder)
        found = Recording(folder)
        try:
            yield found
        finally:
            found.journal.close()


def copy_home(home: Path, folder: Path) -> None:
    """A consistent copy of the journal, taken while the daemon may be writing, and the genesis."""
    if not (home / "journal.db").exists():
        raise LocalFault("bad-recording", f"{home} has no journal", fix="name a swarmd home or a bundle")
    source = sqlite3.connect(f"file:{home / 'journal.db'}?mode=ro", uri=True)
    target = sqlite3.connect(folder / "journal.db")
    try:
        source.backup(target)
    except sqlite3.DatabaseError as error:
        raise CorruptState("bad-journal", f"{home / 'journal.db'}: {error}") from error
    finally:
        target.close()
        source.close()
    (folder / GENESIS_FILE).write_bytes((home / GENESIS_FILE).read_bytes())


def capture(home: Path, bundle: Path) -> dict[str, Any]:
    """Write an incident bundle: journal and genesis, no key, no agents, no content blocks.

    What peers were sent stays in it, for the signatures cover it; see docs/replay.md. Returns what it holds.
    """
    if not bundle.name.endswith(BUNDLE_SUFFIX):
        raise LocalFault("bad-bundle", f"{bundle}: a bundle's name ends in {BUNDLE_SUFFIX}")
    if bundle.exists():
        raise LocalFault("bad-bundle", f"{bundle} exists already", fix="choose another name")
    with tempfile.TemporaryDirectory(prefix="swarmd-incident-") as name:
        folder = Path(name)
        copy_home(home, folder)
        _strip(folder / "journal.db")
        with recording(folder) as taken:
            result = taken.replay()
            held = {"version": version(), "did": taken.me, **result.to_map()}
        (folder / "incident.json").write_text(json.dumps(held, indent=2, sort_keys=True) + "\n", "utf-8")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file in _FILES:
                info = archive.gettarinfo(folder / file, arcname=file)
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                info.mode = 0o600
                with open(folder / file, "rb") as data:
                    archive.addfile(info, data)
        temporary = bundle.with_name(bundle.name + ".tmp")
        temporary.write_bytes(zstandard.ZstdCompressor(level=9).compress(packed.getvalue()))
        temporary.replace(bundle)
    return held


def _strip(journal: Path) -> None:
    """Leave out content and the outbox: inputs of tasks may be private and the outbox repeats them."""
    db = sqlite3.connect(journal, isolation_level=None)
    try:
        for table in ("blocks", "outbox"):
            if db.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone():
                db.execute(f"delete from {table}")
        db.execute("vacuum")
    finally:
        db.close()


def _unpack(bundle: Path, folder: Path) -> None:
    try:
        with open(bundle, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                left = MAX_BUNDLE_BYTES
                for info in archive:
                    # Only the names we know, as plain files: a bundle comes from somebody else.
                    if info.name not in _FILES or not info.isreg():
                        raise LocalFault("bad-recording", f"{bundle}: unexpected entry {info.name[:80]!r}")
                    left -= info.size
                    data = archive.extractfile(info)
                    if left < 0 or data is None:
                        raise LocalFault("bad-recording", f"{bundle}: more than {MAX_BUNDLE_BYTES} bytes")
                    (folder / info.name).write_bytes(data.read())
    except (OSError, tarfile.TarError, zstandard.ZstdError) as error:
        raise LocalFault("bad-recording", f"{bundle}: {error}", fix="name a home or a bundle") from None


def recorded(folder_or_bundle: Path) -> dict[str, Any] | None:
    """What the bundle says it held when it was taken; None for a home."""
    if folder_or_bundle.is_dir():
        return None
    with tempfile.TemporaryDirectory(prefix="swarmd-replay-") as name:
        _unpack(folder_or_bundle, Path(name))
        value: dict[str, Any] = json.loads((Path(name) / "incident.json").read_text("utf-8"))
        return value
