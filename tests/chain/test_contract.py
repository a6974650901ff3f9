"""SettlementAnchor on a real EVM: who may write what, and which proofs it believes (P7)."""

import random
from hashlib import sha256

import pytest
from swarmd.protocol import merkle

# An implementation of its own, straight from the words of the contract's comment: level by level, no tricks.


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root_and_path(leaves: list[bytes], index: int) -> tuple[bytes, list[bytes]]:
    level, path = [leaf_hash(data) for data in leaves], []
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        path += [node for i, node in enumerate(level) if i == index ^ 1]
        level = [node_hash(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        index //= 2
    return level[0], path


def test_the_first_write_is_kept_with_its_block_and_announced(bench, digest):
    receipt = bench.anchor(digest("id"), digest("root"), 7)
    assert receipt.succeeded
    assert bench.view("anchorOf", bench.signer.account, digest("id")) == (
        digest("root"),
        receipt.block_number,
    )
    assert bench.view("countOf", bench.signer.account, digest("id")) == 7
    (log,) = receipt.logs
    assert log.address == bench.contract
    assert log.topics[0] == bench.codec.topic("Anchored")
    event = bench.codec.decode_event("Anchored", log.topics, log.data)
    assert event == {
        "by": "0x" + bench.signer.account.hex(),
        "id": digest("id"),
        "root": digest("root"),
        "count": 7,
    }


def test_nothing_is_anchored_before(bench, digest):
    assert bench.view("anchorOf", bench.signer.account, digest("id")) == (bytes(32), 0)
    assert bench.view("countOf", bench.signer.account, digest("id")) == 0


def test_the_same_write_again_succeeds_and_changes_nothing(bench, digest):
    first = bench.anchor(digest("id"), digest("root"), 7)
    again = bench.anchor(digest("id"), digest("root"), 7)
    assert again.succeeded
    assert again.logs == ()
    assert bench.view("anchorOf", bench.signer.account, digest("id")) == (digest("root"), first.block_number)


@pytest.mark.parametrize(("root", "count"), [("other root", 7), ("root", 8)])
def test_a_different_write_reverts_and_the_first_stands(bench, digest, root, count):
    first = bench.anchor(digest("id"), digest("root"), 7)
    receipt = bench.anchor(digest("id"), digest(root), count)
    assert not receipt.succeeded
    assert receipt.logs == ()
    expected = ("AnchorConflict", (digest("id"), digest("root"), 7))
    assert bench.error_of("anchor", digest("id"), digest(root), count) == expected
    assert bench.view("anchorOf", bench.signer.account, digest("id")) == (digest("root"), first.block_number)
    assert bench.view("countOf", bench.signer.account, digest("id")) == 7


@pytest.mark.parametrize(("root", "count"), [(bytes(32), 1), (b"\1" * 32, 0)])
def test_a_tree_without_leaves_reverts(bench, digest, root, count):
    assert bench.error_of("anchor", digest("id"), root, count) == ("EmptyTree", ())
    assert not bench.anchor(digest("id"), root, count).succeeded


def test_nobody_can_take_the_id_of_another(bench, digest):
    stranger = bench.stranger(digest("a stranger's key"))
    assert bench.anchor(digest("id"), digest("his root"), 1, signer=stranger).succeeded
    assert bench.anchor(digest("id"), digest("our root"), 2).succeeded
    assert bench.view("anchorOf", stranger.account, digest("id"))[0] == digest("his root")
    assert bench.view("anchorOf", bench.signer.account, digest("id"))[0] == digest("our root")
    assert [event["root"] for event in bench.anchored_events()] == [digest("his root"), digest("our root")]


def test_gas_stays_within_what_the_outbox_allows_for(bench, digest):
    first = bench.anchor(digest("id"), digest("root"), 2**32 - 1)
    again = bench.anchor(digest("id"), digest("root"), 2**32 - 1)
    assert first.gas_used < 70_000  # two fresh slots (44,200), the base (21,000) and the log
    assert again.gas_used < 29_000


def test_the_deployed_code_is_the_artifact(bench):
    assert bench.evm.code(bench.contract) == bench.artifact.deployed_bytecode


@pytest.mark.parametrize("size", range(1, 41))
def test_it_verifies_what_the_core_and_the_book_prove(shared_bench, size):
    rng = random.Random(size)
    leaves = [rng.randbytes(rng.randrange(0, 100)) for _ in range(size)]
    for index in {0, size - 1, rng.randrange(size)}:
        root, path = root_and_path(leaves, index)
        assert merkle.root_of(leaves) == root
        assert merkle.proof_of(leaves, index) == path
        assert shared_bench.view("verify", root, leaves[index], index, size, path) is True


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_it_believes_no_other_leaf_path_index_or_count(shared_bench, size):
    leaves = [bytes([n]) * 20 for n in range(size)]
    index = size // 2
    root, path = root_and_path(leaves, index)
    lies = {
        "another leaf": (root, b"forged", index, size, path),
        "another root": (bytes(31) + b"\1", leaves[index], index, size, path),
        "index beyond the end": (root, leaves[index], size, size, path),
        "huge index": (root, leaves[index], 2**256 - 1, size, path),
        "huge count": (root, leaves[index], index, 2**256 - 1, path),
        "no leaves": (root, leaves[index], index, 0, path),
        "a longer path": (root, leaves[index], index, size, [*path, bytes(32)]),
    }
    if size > 1:
        lies["a shorter path"] = (root, leaves[index], index, size, path[:-1])
        lies["a path turned round"] = (root, leaves[index], index, size, [bytes(32), *path[1:]])
        lies["its sibling's index"] = (root, leaves[index], index ^ 1, size, path)
    believed = [name for name, arguments in lies.items() if shared_bench.view("verify", *arguments)]
    assert believed == []


def test_an_inner_node_does_not_pass_for_a_leaf(shared_bench):
    leaves = [b"a", b"b", b"c", b"d"]
    root, _ = root_and_path(leaves, 0)
    left = leaf_hash(b"a") + leaf_hash(b"b")
    right = node_hash(leaf_hash(b"c"), leaf_hash(b"d"))
    assert shared_bench.view("verify", root, left, 0, 2, [right]) is False


def test_a_receipt_is_checked_against_the_anchored_root_and_count(bench, digest):
    leaves = [b"receipt %d" % n for n in range(6)]
    root, path = root_and_path(leaves, 5)
    bench.anchor(digest("epoch"), root, len(leaves))
    by = bench.signer.account
    assert bench.view("includes", by, digest("epoch"), leaves[5], 5, path) is True
    assert bench.view("includes", by, digest("epoch"), b"forged", 5, path) is False
    assert bench.view("includes", by, digest("other epoch"), leaves[5], 5, path) is False
    assert bench.view("includes", bytes(20), digest("epoch"), leaves[5], 5, path) is False


def test_the_codec_agrees_with_web3(shared_bench, digest):
    from web3 import Web3

    codec, artifact = shared_bench.codec, shared_bench.artifact
    contract = Web3().eth.contract(abi=[dict(item) for item in artifact.abi])
    cases = {
        "anchor": [digest(1), digest(2), 3],
        "anchorOf": [Web3.to_checksum_address("0x" + "ab" * 20), digest(1)],
        "verify": [digest(1), b"leaf", 4, 9, [digest(2), digest(3)]],
    }
    for name, arguments in cases.items():
        assert "0x" + codec.encode_call(name, *arguments).hex() == contract.encode_abi(name, args=arguments)
    assert codec.topic("Anchored").hex() == contract.events.Anchored().topic.removeprefix("0x")
