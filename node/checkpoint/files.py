"""A checkpoint as a file that anybody with the mesh's genesis verifies, offline: `swarmd checkpoint export|verify`.

One zstandard frame of canonical CBOR: {"v": 1, "mesh": id, "chain": [[epoch, head, certificate, [roster parts]]], "parts":
[bodies]}, the chain from the first checkpoint to the one exported, the parts those of the last.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.checkpoint.records import Kept, Records
from swarmd.protocol import engine
from swarmd.protocol.batch import proof_from_list, verify_proof
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint import ballots, unpacking
from swarmd.protocol.checkpoint import snapshot as snapshots
from swarmd.protocol.checkpoint.packing import compress, decompress
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, Packed, Snapshot
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Adopted
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.terms import Terms

VERSION = 1
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Followed:
    """Checkpoints that follow each other, oldest first. `rosters`: of every epoch that they, or what came before, name;
    `parts`: those that came with them, by their hashes."""

    chain: tuple[Kept, ...]
    rosters: dict[int, Roster]
    parts: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Verified:
    """The last checkpoint of a chain whose every certificate holds."""

    epoch: int
    state: bytes
    found: Snapshot
    signers: tuple[str, ...]


def export(records: Records, genesis: Genesis, epoch: int, to: Path) -> int:
    """Write the checkpoint that opens `epoch`; returns the bytes. LocalFault if its snapshot is not here any more."""
    kept = records.at(epoch)
    packed = records.packed(kept.state) if kept is not None else None
    if kept is None or packed is None:
        raise LocalFault(
            "no-checkpoint",
            f"the snapshot of epoch {epoch} is not here",
            fix="swarmd checkpoint list says which are",
        )
    body = {
        "v": VERSION,
        "mesh": genesis.mesh_id,
        "chain": chain_rows(records, epoch),
        "parts": list(packed.parts.values()),
    }
    frame = compress(encode(body))
    if to.exists():
        raise LocalFault("file-exists", f"{to} is there already", fix="name another file")
    part = to.with_name(to.name + ".part")
    try:
        with part.open("xb") as file:
            file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        part.rename(to)
    except OSError as error:
        raise LocalFault("cannot-write", f"{to}: {error.strerror}", fix="name another file") from None
    finally:
        part.unlink(missing_ok=True)
    return len(frame)


def chain_rows(records: Records, epoch: int) -> list[Any]:
    """The checkpoints up to the one that opens `epoch`, as `verify_chain` takes them. LocalFault if one is not here."""
    rows = [to_row(each, each.head, records.body) for each in records.since(1, epoch)]
    if [row[0] for row in rows] != list(range(1, epoch + 1)):
        raise LocalFault(
            "no-checkpoint",
            f"the chain of checkpoints up to epoch {epoch} is not whole here",
            fix="ask a node that was in the mesh from its beginning",
        )
    return rows


def to_row(kept: Kept, head: bytes, roster_of: Callable[[bytes], bytes | None]) -> list[Any]:
    """[epoch, head, certificate, rosters that it names], as `verify_chain` takes it; head and rosters in the form that
    the caller gives them."""
    rosters = [roster_of(name) or b"" for name in unpacking.roster_names(kept.head).values()]
    return [kept.epoch, head, [proof.to_list() for proof in kept.certificate], rosters]


def prove_rosters(genesis: Genesis, rows: Any) -> dict[int, Roster]:
    """The roster of every epoch up to the last of `rows` (see `chain_rows`), proven from genesis on. RemoteFault
    `bad-checkpoint` or `bad-certificate`."""
    if type(rows) is not list:
        raise RemoteFault("bad-checkpoint", "no chain of checkpoints")
    proven = verify_chain(genesis, Terms(genesis).rosters, 0, NO_SNAPSHOT, rows)
    # A roster counts once its epoch has begun: before that its beacon is not known.
    return {epoch: roster for epoch, roster in proven.rosters.items() if epoch <= len(rows)}


def verify(frame: bytes, genesis: Genesis) -> Verified:
    """The checkpoint of an exported file. RemoteFault if anything of it does not hold."""
    body = decode(decompress(frame, MAX_FILE_BYTES))
    if type(body) is not dict or body.get("v") != VERSION or type(body.get("chain")) is not list:
        raise RemoteFault("bad-checkpoint", f"no checkpoint of version {VERSION}")
    if body.get("mesh") != genesis.mesh_id:
        raise RemoteFault("other-mesh", "the checkpoint is of another mesh than this genesis")
    proven = verify_chain(genesis, Terms(genesis).rosters, 0, NO_SNAPSHOT, body["chain"])
    if not proven.chain or type(body.get("parts")) is not list:
        raise RemoteFault("bad-checkpoint", "an empty chain")
    kept = proven.chain[-1]
    parts = _by_hash(part for part in body["parts"] if type(part) is bytes)
    for name in unpacking.part_names(kept.head):
        if name not in parts:
            raise RemoteFault("bad-checkpoint", "a part is missing, or is not what the head names")
    found = unpacking.unpack(Packed(kept.head, parts))
    _check_money(genesis, found)
    signers = {verify_proof(genesis.mesh_id, proof).sender for proof in kept.certificate[1:]}
    return Verified(kept.epoch, kept.state, found, tuple(sorted(signers)))


def _check_money(genesis: Genesis, found: Snapshot) -> None:
    try:
        engine.step(State(genesis, NOBODY), Adopted(found, {}, 0))
    except CorruptState as error:
        raise RemoteFault("bad-checkpoint", f"it cannot be adopted: {error}"[:300]) from None
    except Exception as error:
        # What a quorum certified and no rule foresaw: it is refused like all else that makes no sense.
        raise RemoteFault("bad-checkpoint", f"it cannot be adopted: {type(error).__name__}") from None


def verify_chain(
    genesis: Genesis,
    known: dict[int, Roster],
    epoch: int,
    state: bytes,
    rows: Sequence[Any],
    opened: Callable[[bytes], bytes] = bytes,
) -> Followed:
    """Checkpoint after checkpoint from `epoch` on, whose snapshot is `state` and whose rosters are `known`.

    `rows`: [epoch, head, certificate, roster parts], heads and parts as `opened` takes them.
    RemoteFault `bad-checkpoint` or `bad-certificate` for the first that does not follow.
    """
    rosters = dict(known)
    chain: list[Kept] = []
    parts: dict[bytes, bytes] = {}
    for row in rows:
        kept, bodies = _parse_row(row, opened)
        epoch += 1
        if kept.epoch != epoch or epoch - 1 not in rosters:
            raise RemoteFault("bad-checkpoint", f"epoch {kept.epoch} where {epoch} comes next")
        root, certified = ballots.verify_certificate(
            genesis.mesh_id, epoch, rosters[epoch - 1].members, kept.certificate
        )
        prev, said = unpacking.links(kept.head)
        if (kept.state, said) != (certified, root):
            raise RemoteFault("bad-checkpoint", f"the head of epoch {epoch} is not what was certified")
        if prev != state:
            raise RemoteFault("bad-checkpoint", f"epoch {epoch} does not follow the one before")
        for number, name in unpacking.roster_names(kept.head).items():
            body = bodies.get(name)
            if body is not None:
                rosters[number] = unpacking.parse_roster(body)
                parts[name] = body
            elif number not in rosters:
                raise RemoteFault("bad-checkpoint", f"no roster for epoch {number}")
        state = certified
        chain.append(kept)
    return Followed(tuple(chain), rosters, parts)


def _parse_row(row: Any, opened: Callable[[bytes], bytes]) -> tuple[Kept, dict[bytes, bytes]]:
    """A checkpoint, unverified, and the rosters by their hashes. One that its sender has not got is empty."""
    if type(row) is not list or len(row) != 4 or type(row[0]) is not int or type(row[2]) is not list:
        raise RemoteFault("bad-checkpoint", "not [epoch, head, certificate, rosters]")
    epoch, head, certificate, parts = row
    if type(head) is not bytes or type(parts) is not list or any(type(part) is not bytes for part in parts):
        raise RemoteFault("bad-checkpoint", "not [epoch, head, certificate, rosters]")
    head = opened(head)
    proofs = tuple(proof_from_list(each) for each in certificate)
    return Kept(epoch, snapshots.state_of(head), head, proofs), _by_hash(
        opened(part) for part in parts if part
    )


def _by_hash(bodies: Iterable[bytes]) -> dict[bytes, bytes]:
    return {sha256(body).digest(): body for body in bodies}
