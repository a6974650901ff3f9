"""The model's constants, with where each comes from: `costs.json` beside this file, made by `calibrate.py`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from swarmd.protocol.faults import LocalFault
from swarmd.simulations.scale.events import US_NS, Spread

FILE = Path(__file__).with_name("costs.json")
SOURCES = ("measured", "fitted", "assumed")


class InNs(NamedTuple):
    """What a daemon's thread spends, in nanoseconds."""

    seal: int
    frame_out: int
    frame_in: int
    duplicate: int
    envelope_out: int
    envelope_in: int
    turn: int


@dataclass(frozen=True)
class Costs:
    """CPU times of a daemon's one thread in microseconds, sizes in bytes. Meanings: costs.json."""

    sign_us: float
    flush_us: float
    verify_us: float
    parse_us: float
    build_us: float
    step_us: float
    gate_us: float
    journal_row_us: float
    glue_us: float
    frame_out_us: float
    frame_in_us: float
    duplicate_us: float
    turn_us: float
    post_us: float
    job_us: float
    agent_us: float
    driver_us: float
    commit_p50_ms: float
    commit_p99_ms: float
    local_ms: float
    envelope_bytes: float
    manifest_bytes: float
    chain_bytes: float

    @cached_property
    def in_ns(self) -> InNs:
        """A frame is signed twice, as a flush and as a gossip message; `frame_in_us` has the latter's verification."""

        def ns(*parts_us: float) -> int:
            return int(sum(parts_us) * US_NS)

        return InNs(
            seal=ns(2 * self.sign_us, self.flush_us),
            frame_out=ns(self.frame_out_us),
            frame_in=ns(self.frame_in_us, self.verify_us),
            duplicate=ns(self.duplicate_us),
            envelope_out=ns(self.build_us, self.gate_us, self.step_us, self.journal_row_us, self.glue_us),
            envelope_in=ns(self.parse_us, self.gate_us, self.step_us, self.journal_row_us, self.glue_us),
            turn=ns(self.turn_us),
        )

    @property
    def commit(self) -> Spread:
        return Spread(self.commit_p50_ms, self.commit_p99_ms)


def read(path: Path = FILE) -> dict[str, Any]:
    """The document; LocalFault `bad-costs` if it is none."""
    try:
        document = json.loads(path.read_text("utf-8"))
        checked = {name: _value(name, entry) for name, entry in document["costs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LocalFault(
            "bad-costs", f"{path}: {error}", fix="take costs.json anew, or run calibrate"
        ) from None
    unknown = sorted(checked.keys() ^ Costs.__dataclass_fields__.keys())
    if unknown:
        raise LocalFault("bad-costs", f"{path}: missing or unknown: {', '.join(unknown)}")
    return dict(document)


def _value(name: str, entry: Mapping[str, Any]) -> float:
    value = entry["value"]
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise ValueError(f"{name} must be a non-negative number")
    if entry["source"] not in SOURCES or not entry["how"]:
        raise ValueError(f"{name} must say how it was found")
    return float(value)


def load(path: Path = FILE) -> Costs:
    """The constants of a costs.json."""
    return of(read(path))


def of(document: Mapping[str, Any]) -> Costs:
    return Costs(**{name: _value(name, entry) for name, entry in document["costs"].items()})
