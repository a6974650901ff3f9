"""SIGKILL after each commit of publishers and debtors: each payment is on the chain exactly once (P9)."""

import json
import subprocess
import sys
from pathlib import Path


def test_killed_at_every_commit_it_pays_exactly_once(equipped, tmp_path):
    script = Path(__file__).with_name("kill9.py")
    command = [sys.executable, str(script), str(equipped), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    ends = json.loads(done.stdout)
    assert len(ends) > 15  # dues, the epoch, each signature, the outbox, blocks, proofs
    assert [first for first, _, _ in ends] == [-9] * (len(ends) - 1) + [0]
    paid = {"ann": 1_000_000 - 600, "bob": 1_000_000 + 200, "cat": 1_000_000 + 400}
    told = {"balances": paid, "receipts": 3, "open": {"ann": [], "bob": [], "cat": []}}
    for number, (_, second, found) in enumerate(ends):
        assert (number, second, found) == (number, 0, told)
