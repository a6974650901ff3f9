"""A policy from its author to the nodes of others: gossiped, fetched, proven, switched and rolled back."""

import time

import nacl.signing
import pytest
import trio
from swarmd import policies
from swarmd.node.keys import load_key
from swarmd.node.policy import capsule as capsules
from swarmd.node.policy import capsules as exchange
from swarmd.node.policy.host import WasmGate
from swarmd.node.policy.probes import probes
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault, RemoteFault


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """make(node, name, **data): a signed package of a shipped policy with some of its data replaced."""
    cache = tmp_path_factory.mktemp("policy") / "cache"

    def package(node, name="base", **data):
        policy = policies.load(name)
        whole = {**policy.data, **data}
        gate = WasmGate(policy.wasm, whole, cache)
        made = capsules.create(
            name, gate, policy.wasm, whole, probes(), author=node.did, made_ns=time.time_ns()
        )
        return capsules.sign(made, node.did, load_key(node.home).sign)

    return package


async def ready(node, cid):
    """Until `node` has the capsule."""
    with trio.fail_after(20):
        while cid not in [row["cid"] for row in (await node.call("policy.list"))["stored"]]:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def in_force(node, cid):
    """The switch is at the next turn: a moment later."""
    with trio.fail_after(10):
        while (await node.call("policy.list"))["active"] != cid:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_from_an_author_to_a_mesh_and_back(mesh, task, echo, make):
    three = await mesh(3)
    author, other, stranger = three
    await other.stop()
    await other.start(policy_signers=(author.did,), peers=[author.addr, stranger.addr])
    await author.attach(echo("a"))
    await three.until_met()
    package = make(author, limits={"max_budget": 500_000})
    cid = package.capsule.cid_text
    assert (await author.call("policy.publish", package=package.to_bytes())) == {"cid": cid}
    await ready(other, cid)
    # Who does not trust the author hears of it and takes nothing.
    with trio.fail_after(10):
        while not (heard := (await stranger.call("policy.list"))["offered"]):  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert heard == [{"cid": cid, "name": "base", "author": author.did, "state": "untrusted"}]
    assert (await stranger.refused("policy.fetch", cid=cid)).code == "untrusted-signer"
    assert (await stranger.refused("policy.activate", cid=cid)).code == "no-such-capsule"

    before = other.runner.gate.policy_hash
    for node in (author, other):
        await node.call("policy.activate", cid=cid[:24])
        await in_force(node, cid)
    assert author.runner.gate.policy_hash == other.runner.gate.policy_hash != before
    fault = await author.refused("need.post", spec={"budget": "1.00", "tasks": [task()]})
    assert (fault.code, fault.message) == ("denied-by-policy", "budget-over-cap")
    need = await author.post(task(), budget="0.50")
    assert (await author.finish(need))["state"] == "FINALIZED"
    checked = other.runner.gates.counters
    assert checked["digests-checked"] > 0 and checked["digests-false"] == 0
    assert stranger.runner.gates.counters["digests-unknown-policy"] > 0

    # It stays in force after a restart, and one call takes it back.
    await other.stop()
    await other.start()
    assert (await other.call("policy.list"))["active"] == cid
    assert await other.call("policy.rollback") == {"cid": "", "cancelled": ""}
    assert other.runner.gate.policy_hash == before
    await author.call("policy.rollback")
    need = await author.post(task(), budget="1.00")
    assert (await author.finish(need))["state"] == "FINALIZED"
    await three.until_agreed()
    three.check_money()


async def test_who_was_away_is_told_when_it_comes_back(mesh, make):
    two = await mesh(2)
    author, late = two
    await late.stop()
    package = make(author)
    await author.call("policy.publish", package=package.to_bytes())
    await late.start(policy_signers=(author.did,), peers=[author.addr])
    await ready(late, package.capsule.cid_text)


async def test_all_switch_at_one_lamport_and_a_restart_does_not_forget(mesh, task, echo, make):
    two = await mesh(2)
    author, other = two
    await author.attach(echo("a"))
    await other.stop()
    await other.start(policy_signers=(author.did,), peers=[author.addr])
    await two.until_met()
    package = make(author, limits={"max_budget": 900_000})
    cid = package.capsule.cid_text
    await author.call("policy.publish", package=package.to_bytes())
    await ready(other, cid)
    at = max(node.state.lamport for node in two) + 5
    for node in two:
        assert (await node.call("policy.activate", cid=cid, at_lamport=at))["at_lamport"] == at
    await other.stop()
    await other.start(peers=[author.addr])
    await two.until_met()
    pending = (await other.call("policy.list"))["pending"]
    assert pending["cid"] == cid and 0 < pending["in"] <= 5
    assert (await author.call("policy.list"))["active"] == ""
    need = await author.post(task(), budget="1.00")
    await author.finish(need)
    for node in two:
        await in_force(node, cid)
        assert (await node.call("policy.list"))["former"] == [""]
    await two.until_agreed()
    # A switch that is still to come can be called off.
    second = make(author, limits={"max_budget": 1})
    await author.call("policy.publish", package=second.to_bytes())
    await author.call("policy.activate", cid=second.capsule.cid_text, at_lamport=1 << 40)
    assert await author.call("policy.rollback") == {"cid": cid, "cancelled": second.capsule.cid_text}
    assert (await author.call("policy.list"))["pending"] is None


async def test_capsules_that_are_not_taken(mesh, make, repo):
    """P10, and nothing of them is kept."""
    (node,) = await mesh(1)
    good = make(node)
    lying = capsules.Package(good.capsule, policies.load("roles").wasm, good.data)
    for content, code in (
        (b"junk", "bad-capsule"),
        (good.to_bytes()[:-1], "bad-capsule"),
        (lying.to_bytes(), "capsule-hash"),
        (7, "bad-args"),
    ):
        assert (await node.refused("policy.publish", package=content)).code == code
    listed = await node.call("policy.list")
    assert listed["stored"] == [] and listed["active"] == ""
    for args, code in (
        ({"cid": 7}, "bad-args"),
        ({"cid": "bafk"}, "no-such-capsule"),
        ({"cid": "bafk", "at_lamport": -1}, "bad-args"),
        ({"cid": "bafk", "at_lamport": True}, "bad-args"),
    ):
        assert (await node.refused("policy.activate", **args)).code == code
    assert (await node.refused("policy.rollback")).code == "no-former-policy"


async def test_a_node_does_not_start_on_a_capsule_it_cannot_trust(mesh, make):
    (node,) = await mesh(1)
    package = make(node, limits={"max_budget": 1})
    await node.call("policy.publish", package=package.to_bytes())
    await node.call("policy.activate", cid=package.capsule.cid_text)
    await in_force(node, package.capsule.cid_text)
    await node.stop()
    file = node.home / "policies" / f"{package.capsule.cid_text}.capsule"
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    with pytest.RaisesGroup(LocalFault, allow_unwrapped=True, flatten_subgroups=True):
        await node.start()
    file.write_bytes(content)


async def test_frames_that_only_look_like_capsules(mesh, make):
    """P10: charged to the peer that sent them, and nothing is kept."""
    (node,) = await mesh(1)
    block = make(node).capsule.block
    for frame in (block[:-1], block[:40], b"\x83\x10", block[:-1] + bytes([block[-1] ^ 1])):
        with pytest.raises(RemoteFault):
            node.daemon.on_frame("peer", frame)
    assert (await node.call("policy.list"))["offered"] == []


async def test_what_is_offered_is_bounded(mesh, make, monkeypatch):
    (node,) = await mesh(1)
    monkeypatch.setattr(exchange, "MAX_OFFERED", 3)
    package = make(node)
    for number in range(5):
        key = nacl.signing.SigningKey(bytes([number]) * 32)
        signed = capsules.sign(
            package, did_of(bytes(key.verify_key)), lambda data, key=key: key.sign(data).signature
        )
        node.daemon.on_frame("peer", signed.capsule.block)
        node.daemon.on_frame("peer", signed.capsule.block)
    offered = (await node.call("policy.list"))["offered"]
    assert len(offered) == 3 and {row["state"] for row in offered} == {"untrusted"}


async def test_what_breaks_on_a_capsule_costs_that_capsule(mesh, make, monkeypatch):
    """P10: the daemon lives, says what became of it, and takes the next one."""
    two = await mesh(2)
    author, other = two
    await other.stop()
    await other.start(policy_signers=(author.did,), peers=[author.addr])
    load = capsules.load

    def breaks(package, cache_dir, **more):
        if package.capsule.name == "roles":
            raise ZeroDivisionError("a bug of ours")
        return load(package, cache_dir, **more)

    roles, base = make(author, "roles"), make(author)
    await author.call("policy.publish", package=roles.to_bytes())
    await ready(other, roles.capsule.cid_text)
    await other.stop()
    (other.home / "policies" / f"{roles.capsule.cid_text}.capsule").unlink()
    monkeypatch.setattr(capsules, "load", breaks)
    await other.start(peers=[author.addr])
    with trio.fail_after(10):
        while not (heard := (await other.call("policy.list"))["offered"]) or heard[0]["state"] == "fetching":  # noqa: ASYNC110
            await trio.sleep(0.05)
    assert heard[0]["state"] == "refused: internal: ZeroDivisionError"
    await author.call("policy.publish", package=base.to_bytes())
    await ready(other, base.capsule.cid_text)
