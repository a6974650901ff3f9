"""Payloads: each kind has a shape, and only RemoteFault says that something does not fit it."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import cids, limits
from swarmd.protocol.cbor import Link
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.kinds import KINDS, check_payload

LINK = Link(cids.raw_cid(b"x"))
DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.text(max_size=8)
    | st.binary(max_size=40)
    | st.sampled_from([LINK, DID, "t1", "accepted", "ADD_TASK", "reexec", "accept", "text.wordcount"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["op", "task", "outcome", "type", "cid", "as", "id", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def refused(kind, payload, code="bad-payload"):
    with pytest.raises(RemoteFault) as caught:
        check_payload(kind, payload)
    assert caught.value.code == code


def places(value, path=()):
    """Every path into a payload, its own root first."""
    yield path
    if type(value) is dict:
        for key in value:
            yield from places(value[key], (*path, key))
    elif type(value) is list:
        for position in range(len(value)):
            yield from places(value[position], (*path, position))


def put(payload, path, value):
    if not path:
        return value
    changed = copy.deepcopy(payload)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def test_the_eighteen_kinds_of_the_protocol(payloads_of):
    assert set(KINDS) == set(payloads_of(DID)) == set(
        "NEED PROPOSE CLAIM COMMIT ATTEST DECIDE FINALIZE YIELD RELEASE UPDATE_PLAN ATTEST_PLAN CHALLENGE INVALIDATE RECONCILE CHECKPOINT POOL MONEY ESCROW".split()
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_pass(payloads_of, kind):
    for payload in payloads_of(DID)[kind]:
        check_payload(kind, payload)


@pytest.mark.parametrize("kind", KINDS)
def test_no_place_takes_null_and_no_map_another_field(payloads_of, kind):
    for payload in payloads_of(DID)[kind]:
        for path in places(payload):
            refused(kind, put(payload, path, None))
            refused(kind, put(payload, path, object()))
            inner = payload
            for step in path:
                inner = inner[step]
            if type(inner) is int and path[-1] != "value":
                refused(kind, put(payload, path, True))
                refused(kind, put(payload, path, -1))
                refused(kind, put(payload, path, (1 << 64) - 1))
                refused(kind, put(payload, path, float(inner)))
            if type(inner) is dict and path[-1:] not in (("plan",), ("input",)):
                refused(kind, put(payload, path, {**inner, "more": 1}))
            if type(inner) is list and path[-2:-1] != ("plan",):
                refused(kind, put(payload, path, tuple(inner)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_required_field_can_be_left_out(payloads_of, kind):
    optional = {"inline", "after", "pay", "seller"}
    for payload in payloads_of(DID)[kind]:
        for name in payload.keys() - optional:
            refused(kind, {key: value for key, value in payload.items() if key != name})


# (kind, path, value that does not fit, value at the bound that does)
BOUNDS = [
    ("NEED", ("title",), "x" * 257, "x" * 256),
    ("NEED", ("title",), "\u00e9" * 129, "\u00e9" * 128),
    ("NEED", ("budget",), limits.MAX_AMOUNT + 1, limits.MAX_AMOUNT),
    ("NEED", ("deadline_ns",), 1 << 63, (1 << 63) - 1),
    ("NEED", ("fund", "seq"), (1 << 62) + 1, 1 << 62),
    ("NEED", ("fund", "prev"), bytes(31), bytes(range(32))),
    ("NEED", ("tasks",), [], None),
    ("NEED", ("tasks", 0, "id"), "", "a" * 64),
    ("NEED", ("tasks", 0, "id"), "a" * 65, "A.b_c-1"),
    ("NEED", ("tasks", 0, "id"), "-a", "9"),
    ("NEED", ("tasks", 0, "id"), "a\n", "a"),
    ("NEED", ("tasks", 0, "id"), "\u00e9", "e"),
    ("NEED", ("tasks", 0, "capability"), "Text", "text.word-count_2"),
    ("NEED", ("tasks", 0, "max_price"), limits.MAX_AMOUNT + 1, 0),
    ("NEED", ("tasks", 0, "input"), {"a": {}}, {}),
    ("NEED", ("tasks", 0, "input"), {"a": {"cid": bytes(LINK), "as": "json"}}, {"a": {"cid": LINK, "as": "json"}}),
    ("NEED", ("tasks", 0, "input"), {"a": {"cid": LINK, "as": "yaml"}}, {"a": {"cid": LINK, "as": "bytes"}}),
    ("NEED", ("tasks", 0, "input"), {"a": {"cid": LINK, "task": "t1"}}, {"a": {"task": "t1", "pointer": ""}}),
    ("NEED", ("tasks", 0, "input"), {"": {"cid": LINK, "as": "text"}}, None),
    ("NEED", ("tasks", 0, "input"), {f"a{i}": {"task": "t", "pointer": ""} for i in range(65)},
     {f"a{i}": {"task": "t", "pointer": ""} for i in range(64)}),
    ("NEED", ("tasks", 0, "verify"), {"type": "trust"}, {"type": "reexec"}),
    ("NEED", ("tasks", 0, "verify"), {"type": ["reexec"]}, None),
    ("NEED", ("tasks", 1, "after"), [f"t{i}" for i in range(49)], [f"t{i}" for i in range(48)]),
    ("NEED", ("inline",), [b"x" * (limits.MAX_INLINE_BYTES + 1)], [b"x" * limits.MAX_INLINE_BYTES]),
    ("NEED", ("inline",), [b""] * 17, [b""] * 16),
    ("PROPOSE", ("plan",), {}, None),
    ("PROPOSE", ("plan", "t1"), [], None),
    ("PROPOSE", ("plan", "t1"), [[DID, 1]] * 9, [[DID, 1]] * 8),
    ("PROPOSE", ("plan", "t1"), [[DID]], None),
    ("PROPOSE", ("plan", "t1"), [[DID, 1, 2]], None),
    ("PROPOSE", ("round",), (1 << 16) + 1, 1 << 16),
    ("PROPOSE", ("lease_s",), limits.MAX_LEASE_S + 1, limits.MAX_LEASE_S),
    ("ATTEST_PLAN", ("verdict",), "abstain", "reject"),
    ("ATTEST_PLAN", ("reason",), "x" * 513, "x" * 512),
    ("DECIDE", ("k",), 256, 255),
    ("CLAIM", ("attempt",), limits.MAX_CANDIDATES, limits.MAX_CANDIDATES - 1),
    ("COMMIT", ("result",), bytes(LINK), LINK),
    ("COMMIT", ("size",), limits.MAX_CONTENT_BYTES + 1, limits.MAX_CONTENT_BYTES),
    ("COMMIT", ("telemetry", "cpu_ms"), (1 << 40) + 1, 1 << 40),
    ("COMMIT", ("inline",), b"x" * (limits.MAX_INLINE_BYTES + 1), b""),
    ("ATTEST", ("verdict",), "maybe", "abstain"),
    ("ATTEST", ("score",), 101, 0),
    ("FINALIZE", ("outcome",), "released", None),
    ("RELEASE", ("cause",), "yielded", "unclaimed"),
    ("UPDATE_PLAN", ("ops",), [], None),
    ("UPDATE_PLAN", ("ops",), [{"op": "LINK", "parent": "a", "child": "b"}] * 257, [{"op": "LINK", "parent": "a", "child": "b"}] * 256),
    ("UPDATE_PLAN", ("ops", 0), {"op": "REMOVE_TASK", "task": "t1"}, None),
    ("UPDATE_PLAN", ("ops", 3, "value"), "x" * 1025, "x" * 1024),
    ("UPDATE_PLAN", ("ops", 3, "value"), [1], False),
    ("UPDATE_PLAN", ("ops", 3, "key"), "", "k"),
    ("CHALLENGE", ("evidence",), [LINK] * 17, [LINK] * 16),
    ("RECONCILE", ("orphaned",), [bytes(LINK)], []),
    ("RECONCILE", ("orphaned",), [LINK] * 1025, [LINK] * 1024),
    ("CHECKPOINT", ("root",), bytes(33), bytes(32)),
    ("ESCROW", ("op",), "steal", None),
    ("ESCROW", ("nonce",), bytes(15), bytes(range(16))),
    ("ESCROW", ("terms", "amount"), -1, limits.MAX_AMOUNT),
    ("ESCROW", ("terms", "amount"), limits.MAX_AMOUNT + 1, 1),
    ("ESCROW", ("terms", "amount"), 0.5, 5),
    ("ESCROW", ("terms", "milestones"), [], None),
    ("ESCROW", ("terms", "milestones"), [{"name": "m", "amount": 1}] * 33, [{"name": "m", "amount": 1}] * 32),
    ("ESCROW", ("terms", "undecided_bp"), 10_001, 10_000),
    ("ESCROW", ("terms", "panel"), [DID] * 32, [DID] * 31),
    ("CHECKPOINT", ("epoch",), (1 << 62) + 1, 1 << 62),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "path", "wrong", "right"), BOUNDS)
def test_bounds(payloads_of, kind, path, wrong, right):
    payload = payloads_of(DID)[kind][0]
    refused(kind, put(payload, path, wrong))
    if right is not None:
        check_payload(kind, put(payload, path, right))


@pytest.mark.parametrize("did", ["", "did:key:z", "did:web:a", DID + "x"])
def test_a_worker_that_is_no_did(payloads_of, did):
    refused("PROPOSE", put(payloads_of(DID)["PROPOSE"][0], ("plan", "t1"), [[did, 1]]), "bad-did")


def test_too_many_tasks(make_task, payloads_of):
    need = payloads_of(DID)["NEED"][0]
    full = [make_task(f"t{i}") for i in range(limits.MAX_TASKS_PER_NEED)]
    check_payload("NEED", {**need, "tasks": full})
    refused("NEED", {**need, "tasks": [*full, make_task("more")]})


@pytest.mark.parametrize("kind", ["", "need", "NEED ", "PAY", None, 5, b"NEED", ["NEED"], {"NEED": 1}])
def test_an_unknown_kind(kind):
    refused(kind, {}, "unknown-kind")


@pytest.mark.property_id("P10")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS) | anything, anything)
def test_any_payload_fits_or_is_refused(kind, payload):
    try:
        check_payload(kind, payload)
    except RemoteFault as fault:
        assert fault.code in ("bad-payload", "bad-did", "unknown-kind")


@pytest.mark.property_id("P10")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_any_change_of_one_place_fits_or_is_refused(payloads_of, kind, data):
    payload = data.draw(st.sampled_from(payloads_of(DID)[kind]))
    path = data.draw(st.sampled_from(list(places(payload))))
    try:
        check_payload(kind, put(payload, path, data.draw(anything)))
    except RemoteFault as fault:
        assert fault.code in ("bad-payload", "bad-did")
