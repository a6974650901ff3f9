"""The arbiter in etcd: one record a need, written by compare-and-set, kept by a lease until nobody can ask any more."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import trio
from swarmd.node.arbiter.client import EtcdClient, EtcdError
from swarmd.node.arbiter.messages import CREATE, EQUAL, MOD, make
from swarmd.node.telemetry.histogram import Histogram
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.cids import cid_text, parse_cid
from swarmd.protocol.effects import Arbitrate
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.limits import S_NS

log = logging.getLogger(__name__)

MAX_ASKED = 64  # questions under way at a time
RETRY_MIN_S = 0.1
RETRY_MAX_S = 2.0
LEASE_SLOT_S = 6 * 3_600
_FIELDS = {
    "need_id": str, "proposal_id": str, "epoch": int, "lamport": int, "k_plan": int, "decider_id": str, "timestamp_ns": int,
}  # fmt: skip


class BadRecord(Exception):
    """Something else than a decision of ours stands under a key of ours."""


@dataclass(frozen=True, slots=True)
class DecideRecord:
    """What is on record about a need (seed 004, command 33). `proposal_id` is a CID as text."""

    need_id: str
    proposal_id: str
    epoch: int
    lamport: int
    k_plan: int
    decider_id: str
    timestamp_ns: int

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()


def parse_record(need: str, value: bytes) -> DecideRecord:
    """The record under the key of `need`; BadRecord if it is none."""
    try:
        found = parse_json(value)
    except BadJson as error:
        raise BadRecord(f"no JSON: {error}") from None
    if type(found) is not dict or found.keys() != _FIELDS.keys():
        raise BadRecord(f"the fields must be {', '.join(_FIELDS)}")
    for name, kind in _FIELDS.items():
        if type(found[name]) is not kind:
            raise BadRecord(f"{name} must be {kind.__name__}")
    if found["need_id"] != need or found["epoch"] < 0:
        raise BadRecord("it is about another need")
    try:
        parse_cid(found["proposal_id"])
    except RemoteFault as fault:
        raise BadRecord(f"proposal_id: {fault.message}") from None
    return DecideRecord(**found)


def key_of(mesh: str, need: str) -> bytes:
    """`/swarmd/MESH/decide/BUCKET/NEED`, the bucket (of 256) in two hexadecimal digits."""
    return f"/swarmd/{mesh}/decide/{bucket_of(need):02x}/{need}".encode()


class EtcdArbiter:
    """Implements `ports.Arbiter`. `clock_ns` is the node's; records outlive a need's deadline by `keep_s`."""

    def __init__(self, client: EtcdClient, mesh: str, clock_ns: Callable[[], int], keep_s: int) -> None:
        self.client = client
        self.counters = {"asked": 0, "recorded": 0, "found": 0, "lost": 0, "late": 0, "retries": 0}
        self.latency = Histogram()  # of a question, retries included
        self.state = "idle"
        self.error = ""
        self._mesh = mesh
        self._clock_ns = clock_ns
        self._keep_ns = keep_s * S_NS
        self._limit = trio.CapacityLimiter(MAX_ASKED)
        self._leases: dict[int, int] = {}  # slot -> lease
        self._granting = trio.Lock()

    def status(self) -> Mapping[str, Any]:
        """For operators. `state`: idle, up, unreachable, refused or bad-record."""
        limiter = self._limit.statistics()
        return {
            "kind": "etcd",
            "state": self.state,
            "error": self.error,
            "endpoint": self.client.endpoint,
            "endpoints": list(self.client.endpoints),
            "failures": dict(self.client.failures),
            "pending": limiter.borrowed_tokens + limiter.tasks_waiting,
            "ms": {f"p{p}": round(self.latency.percentile(p / 100), 2) for p in (50, 95, 99)},
            **self.counters,
        }

    async def decide(self, asked: Arbitrate) -> bytes:
        """The plan on record for the need in that epoch, ours or another's; b"" if there is none and it is too late, or
        a later epoch has one. Tries until there is an answer."""
        self.counters["asked"] += 1
        began_ns = self._clock_ns()
        pause_s = RETRY_MIN_S
        async with self._limit:
            while True:
                try:
                    record = await self._settle(asked)
                except (EtcdError, BadRecord) as error:
                    self._trouble(error)
                    self.counters["retries"] += 1
                    await trio.sleep(pause_s)
                    pause_s = min(RETRY_MAX_S, 2 * pause_s)
                    continue
                if self.state not in ("up", "idle"):
                    log.info("etcd answers again")
                self.state, self.error = "up", ""
                self.latency.add((self._clock_ns() - began_ns) / 1e6)
                return self._answer(asked, record)

    def _answer(self, asked: Arbitrate, record: DecideRecord | None) -> bytes:
        if record is None or record.epoch != asked.epoch:
            self.counters["late"] += 1
            return b""
        winner = parse_cid(record.proposal_id)
        if winner != asked.proposal:
            self.counters["lost"] += 1
        elif (record.decider_id, record.timestamp_ns) == (asked.decider, asked.at_ns):
            self.counters["recorded"] += 1
        else:
            self.counters["found"] += 1
        return winner

    def _trouble(self, error: EtcdError | BadRecord) -> None:
        if isinstance(error, BadRecord):
            state = "bad-record"
        elif error.code in ("permission-denied", "unauthenticated", "invalid-argument"):
            state = "refused"
        else:
            state = "unreachable"
        if state != self.state:
            log.error("etcd is %s: %s; needs wait, trying again", state, error)
        self.state, self.error = state, str(error)[:300]

    async def _settle(self, asked: Arbitrate) -> DecideRecord | None:
        if self._clock_ns() > asked.until_ns:
            return await self.get_decide(asked.need)
        ours = DecideRecord(
            need_id=asked.need,
            proposal_id=cid_text(asked.proposal),
            epoch=asked.epoch,
            lamport=asked.lamport,
            k_plan=asked.k,
            decider_id=asked.decider,
            timestamp_ns=asked.at_ns,
        )
        return await self.try_decide(ours, asked.until_ns)

    async def try_decide(self, ours: DecideRecord, until_ns: int) -> DecideRecord:
        """Record `ours` unless a decision of its epoch or a later one is on record; what then is. EtcdError, BadRecord.

        May be called again with the same record after any error.
        """
        key = key_of(self._mesh, ours.need_id)
        condition = make("Compare", result=EQUAL, target=CREATE, key=key, create_revision=0)
        while True:
            said = await self._put_if(condition, key, ours, until_ns)
            if said.succeeded:
                return ours
            found = said.responses[0].response_range.kvs if said.responses else ()
            if not found:
                # Its lease ended between two questions of ours.
                condition = make("Compare", result=EQUAL, target=CREATE, key=key, create_revision=0)
                continue
            record = self._read(ours.need_id, found[0].value)
            if record.epoch >= ours.epoch:
                return record
            condition = make("Compare", result=EQUAL, target=MOD, key=key, mod_revision=found[0].mod_revision)

    async def _put_if(self, condition: Any, key: bytes, ours: DecideRecord, until_ns: int) -> Any:
        for attempt in (0, 1):
            slot, lease = await self._lease(until_ns)
            put = make("PutRequest", key=key, value=ours.to_json(), lease=lease)
            request = make(
                "TxnRequest",
                compare=[condition],
                success=[make("RequestOp", request_put=put)],
                failure=[make("RequestOp", request_range=make("RangeRequest", key=key))],
            )
            try:
                return await self.client.call("Txn", request)
            except EtcdError as error:
                if error.code != "not-found" or attempt:
                    raise
                # The lease is gone: somebody revoked it, or etcd was restored from a copy.
                if self._leases.get(slot) == lease:
                    del self._leases[slot]
        raise AssertionError("unreachable")

    async def get_decide(self, need: str) -> DecideRecord | None:
        """What is on record about a need: a linearizable read. EtcdError, BadRecord."""
        request = make("RangeRequest", key=key_of(self._mesh, need))
        said = await self.client.call("Range", request)
        return self._read(need, said.kvs[0].value) if said.kvs else None

    async def on_record(self, need: str) -> Mapping[str, Any] | None:
        """As `get_decide`, for people: also what goes wrong. Asks until it is cancelled or has an answer."""
        while True:
            try:
                found = await self.get_decide(need)
                return asdict(found) if found is not None else None
            except BadRecord as error:
                return {"error": str(error)}
            except EtcdError:
                await trio.sleep(RETRY_MIN_S)

    def _read(self, need: str, value: bytes) -> DecideRecord:
        try:
            return parse_record(need, value)
        except BadRecord as error:
            raise BadRecord(f"{key_of(self._mesh, need).decode()}: {error}") from None

    async def _lease(self, until_ns: int) -> tuple[int, int]:
        """(slot, lease) that outlives `until_ns` by what was asked for, shared by all that end in the same six hours."""
        slot = (until_ns + self._keep_ns) // (LEASE_SLOT_S * S_NS) + 1
        if slot in self._leases:
            return slot, self._leases[slot]
        async with self._granting:
            if slot not in self._leases:
                ttl_s = slot * LEASE_SLOT_S - self._clock_ns() // S_NS
                granted = await self.client.call("LeaseGrant", make("LeaseGrantRequest", TTL=ttl_s))
                # Those of the past serve no need that is still open.
                passed = self._clock_ns() // (LEASE_SLOT_S * S_NS)
                self._leases = {old: lease for old, lease in self._leases.items() if old > passed}
                self._leases[slot] = granted.ID
            return slot, self._leases[slot]
