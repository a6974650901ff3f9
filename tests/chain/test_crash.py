"""SIGKILL at any moment: afterwards each anchor is on chain exactly once and was told of at least once (P9)."""

import json
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

from swarmd.contracts import load_artifact
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.codec import ContractCodec
from swarmd.node.chain.embedded import EmbeddedEvm, contract_address
from swarmd.node.chain.kv import SqliteKv

ANCHORS, KILLS = 60, 15


def kill9(*arguments: object) -> dict[str, object]:
    script = Path(__file__).with_name("kill9.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def audit(home: Path, anchors: int) -> None:
    """Read the files as a stranger would, and count."""
    expected = {
        sha256(repr(n).encode()).digest(): sha256(repr(("root", n)).encode()).digest() for n in range(anchors)
    }
    signer = LocalSigner(load_or_create_key(home / "chain" / "account.key"))
    evm = EmbeddedEvm(SqliteKv(home / "chain" / "chain.sqlite"), 1337, signer.account)
    codec = ContractCodec(load_artifact("SettlementAnchor"))
    logs = evm.logs(
        contract_address(signer.account, 0), codec.topic("Anchored"), first_block=0, last_block=evm.head()
    )
    events = [codec.decode_event("Anchored", log.topics, log.data) for log in logs]
    assert Counter(event["id"] for event in events) == Counter(expected.keys())
    assert {event["id"]: event["root"] for event in events} == expected
    # One transaction each and one for the contract: nothing was sent twice under another nonce either.
    assert evm.nonce(signer.account) == anchors + 1
    evm.close()
    told = (home / "told").read_bytes()
    assert {told[i : i + 32] for i in range(0, len(told), 32)} == set(expected)


def test_killed_at_random_moments(tmp_path):
    result = kill9("random", tmp_path, ANCHORS, KILLS, 1)
    assert result == {"killed": KILLS, "failed": 0, "last": 0}
    audit(tmp_path, ANCHORS)


def test_killed_before_and_after_every_commit(tmp_path):
    ends = kill9("commits", tmp_path)["ends"]
    assert len(ends) > 20  # genesis, deployment, three anchors: two moments for each commit
    assert ends[:-1] == [[-9, 0]] * (len(ends) - 1)
    assert ends[-1] == [0, 0]
    for kill_at in range(len(ends)):
        audit(tmp_path / str(kill_at), 3)
