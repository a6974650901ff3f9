"""The whole state as bytes, and back: what a node begins with instead of replaying all it ever heard.

Generic over the dataclasses of the state: an object is written with the names of its fields, so a field that came later
takes its default and one that is gone is left out. What follows from the rest (indexes, where tasks stand) is not
written but derived. It is read only from our own journal.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from swarmd.protocol import genesis as _genesis
from swarmd.protocol.cbor import Link, decode, encode_ordered
from swarmd.protocol.checkpoint import record
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.envelope import Envelope, parse
from swarmd.protocol.escrow import record as escrows
from swarmd.protocol.escrow.deal import Tick
from swarmd.protocol.faults import CorruptState, RemoteFault
from swarmd.protocol.identity.manifest import Manifest, parse_manifest
from swarmd.protocol.ledger import accounts
from swarmd.protocol.ledger.accounts import Ledger
from swarmd.protocol.pool.record import Member, Pool, Stake
from swarmd.protocol.shadow.record import Shadow, Spend
from swarmd.protocol.state import Anchor, Bond, JobRef, State
from swarmd.protocol.terms import Terms
from swarmd.protocol.views import Views
from swarmd.protocol.work import facts as work
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.plan import Plan

VERSION = 1
_CLASSES: dict[str, type] = {
    each.__name__: each
    for each in (
        work.TaskSpec,
        work.Proposal,
        work.Skip,
        work.Decide,
        work.Claim,
        work.Ending,
        work.Commit,
        work.Attest,
        work.Final,
        work.Closing,
        work.Challenge,
        work.Review,
        work.Ruling,
        accounts.Account,
        accounts.Entry,
        accounts.Escrow,
        record.EpochBallot,
        record.Proposed,
        record.Skipped,
        Roster,
        Member,
        Pool,
        Stake,
        Anchor,
        Bond,
        Shadow,
        Spend,
        JobRef,
        escrows.Escrows,
        escrows.Fixed,
        escrows.Record,
        escrows.Purse,
        escrows.Ended,
        Tick,
        Plan,
        Need,
    )
}
# Derived from the rest.
_DERIVED = {
    "Need": {"runs", "graph", "_graph_of", "by_task", "open_tasks", "decided", "closed"},
    "Record": {"deal"},
    "State": {"genesis", "me", "views", "check_everything", "ledger", "terms"},
}
_LEDGER = ("base", "base_escrows", "entries", "payments", "closings", "double_spends", "newly_funded")
_LATER = ("gated", "certified", "credits", "base_deposited")  # a state of before has none of these


def dump(state: State) -> bytes:
    """Canonical bytes of the state, for `load`."""
    body = {name: _plain(getattr(state, name)) for name in _kept(State)}
    ledger = {name: _plain(getattr(state.ledger, name)) for name in _in_order((*_LEDGER, *_LATER))}
    rosters = _plain(state.terms.rosters)
    return encode_ordered({"v": VERSION, "state": body, "ledger": ledger, "rosters": rosters})


def load(genesis: _genesis.Genesis, me: str, body: bytes, *, check_everything: bool = False) -> State:
    """The state that `dump` wrote for this node. CorruptState `bad-journal` if it is none."""
    try:
        found = decode(body)
        if found["v"] != VERSION:
            raise CorruptState("bad-journal", f"a state of version {found['v']}; this swarmd reads {VERSION}")
        state = State(genesis, me, check_everything=check_everything)
        for name in _kept(State):
            if name in found["state"]:
                setattr(state, name, _value(found["state"][name], genesis.mesh_id))
        state.terms = Terms(genesis, _value(found["rosters"], genesis.mesh_id))
        _load_ledger(state.ledger, found["ledger"], genesis.mesh_id)
        for need in state.needs.values():
            _derive(need)
        state.views = Views.of(state.needs.values())
    except (RemoteFault, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptState("bad-journal", f"a state that makes no sense: {error!r}"[:300]) from error
    return state


def _load_ledger(ledger: Ledger, found: dict[str, Any], mesh_id: bytes) -> None:
    for name in _LEDGER:
        setattr(ledger, name, _value(found[name], mesh_id))
    for name in _LATER:
        if name in found:
            setattr(ledger, name, _value(found[name], mesh_id))
    fresh = ledger.newly_funded
    ledger.rebuild()
    ledger.newly_funded = fresh
    ledger.stirred = {}


def _derive(need: Need) -> None:
    """Facts by task, each the very object that it is by id, and where tasks stand."""
    need.by_task = {}
    for known in (need.claims, need.endings, need.commits, need.finals):
        for fact in known.values():
            need.by_task.setdefault(fact.task, []).append(fact)
    for attest in need.attests.values():
        task = need.commits[attest.commit].task
        need.by_task.setdefault("attests/" + task, []).append(attest)
    need.derive_decided()
    need.derive_all()


def _kept(made: type) -> list[str]:
    """Names of the fields that are written, in the order of dag-cbor: shorter ones first, then bytewise."""
    derived = _DERIVED.get(made.__name__, set())
    return _in_order(field.name for field in fields(made) if field.name not in derived)


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))


_SCALARS: Final = frozenset({type(None), bool, int, str, bytes, Link})


def _plain(value: Any) -> Any:
    """Scalars, byte strings and links as they are; all else as [tag, ...], maps in the order of dag-cbor."""
    kind = type(value)
    return value if kind in _SCALARS else _WRITERS[kind](value)


class _Writers(dict[type, Callable[[Any], list[Any]]]):
    """How an object of a type is written. Of a class of the state that is made out when the first one comes."""

    def __missing__(self, kind: type) -> Callable[[Any], list[Any]]:
        if _CLASSES.get(kind.__name__) is not kind:
            raise TypeError(f"no way to write a {kind.__name__}")
        self[kind] = writer = _writer_of(kind)
        return writer


def _writer_of(made: type) -> Callable[[Any], list[Any]]:
    """Spelt out with few calls: a checkpoint writes some hundred values a need, and nothing else goes on meanwhile."""
    names, scalars, writers = _kept(made), _SCALARS, _WRITERS
    # Of one name alone it would not make a tuple.
    name, values_of = made.__name__, attrgetter(*names, "__class__")

    def write(value: Any) -> list[Any]:
        body = {
            key: each if (kind := type(each)) in scalars else writers[kind](each)
            for key, each in zip(names, values_of(value), strict=False)
        }
        return ["o", name, body]

    return write


def _items(value: Iterable[Any]) -> list[Any]:
    scalars, writers = _SCALARS, _WRITERS
    return [each if (kind := type(each)) in scalars else writers[kind](each) for each in value]


_WRITERS: Final = _Writers(
    {
        list: lambda value: ["l", _items(value)],
        tuple: lambda value: ["t", _items(value)],
        # Of no order, but written in one: as every process hashes otherwise.
        set: lambda value: ["s", sorted(_items(value), key=repr)],
        frozenset: lambda value: ["f", sorted(_items(value), key=repr)],
        dict: lambda value: ["d", [[_plain(key), _plain(each)] for key, each in value.items()]],
        Envelope: lambda value: ["e", value.raw],
        Manifest: lambda value: ["m", value.raw, value.signature],
    }
)


def _value(plain: Any, mesh_id: bytes) -> Any:
    if type(plain) is not list:
        return plain
    match plain[0]:
        case "l":
            return [_value(each, mesh_id) for each in plain[1]]
        case "t":
            return tuple(_value(each, mesh_id) for each in plain[1])
        case "s":
            return {_value(each, mesh_id) for each in plain[1]}
        case "f":
            return frozenset(_value(each, mesh_id) for each in plain[1])
        case "d":
            return {_value(key, mesh_id): _value(each, mesh_id) for key, each in plain[1]}
        case "e":
            return parse(plain[1])
        case "m":
            return parse_manifest(mesh_id, [2, plain[1], plain[2]], verify=False)
        case "o":
            made = _CLASSES[plain[1]]
            names = {field.name for field in fields(made)}
            given = {name: _value(each, mesh_id) for name, each in plain[2].items() if name in names}
            return made(**given)
    raise ValueError(f"no such tag: {plain[0]!r}")
