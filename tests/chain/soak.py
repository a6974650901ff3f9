"""Settles payments on anvil while the process that does it is killed, the chain forgets, and the endpoint hangs.

    python soak.py FOLDER ANVIL_URL ANVIL_PID PAYMENTS SEED

Lives are forked from here and end by SIGKILL at random moments, but the last. Meanwhile this process makes the blocks,
replaces up to DEPTH of the newest by empty ones, and stops anvil for longer than a request may take. At the end it counts
as a stranger would, on the chain alone, and prints JSON. Run by test_settlement.py with few payments; by hand with 10,000.
"""

import json
import os
import random
import signal
import sys
import time
import urllib.request
from hashlib import sha256
from pathlib import Path

from swarmd.node.chain.account import LocalSigner
from swarmd.node.chain.anchoring import AnchorMachine, Terms
from swarmd.node.chain.client import FeePolicy, Unavailable
from swarmd.node.chain.desk import SETTLEMENT, TOKEN, Desk
from swarmd.node.chain.evm_signatures import address_of
from swarmd.node.chain.outbox import Outbox
from swarmd.node.chain.rpc import RpcChain
from swarmd.node.chain.settlement import Settlements
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.ledger.netting import PaymentReceipt

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")  # anvil's first
CHAIN_ID = 31_337
DEPTH = 3
TIMEOUT_S = 0.5
NOW_S = 1_800_000_000
EPOCH = 250
KEYS = {address_of(key): key for key in (sha256(b"party%d" % n).digest() for n in range(20))}


def payments(count, seed):
    rng = random.Random(seed)
    for n in range(count):
        payer, payee = rng.sample(sorted(KEYS), 2)
        yield PaymentReceipt(
            sha256(b"%d/%d" % (seed, n)).digest(), payer, payee, rng.randint(1, 10**6), f"{n}"
        )


class Shore:
    def __init__(self, folder, url, addresses):
        self.client = RpcChain([url], CHAIN_ID, timeout_s=TIMEOUT_S)
        self.outbox = Outbox(folder / "outbox.sqlite")
        terms = Terms(DEPTH, FeePolicy(10**13), addresses, False)
        self.desk = Desk(AnchorMachine(self.client, LocalSigner(KEY), self.outbox, terms))
        self.book = Settlements(folder / "settlement.sqlite", min_receipts=EPOCH, deadline_s=10**9)

    def close(self):
        self.outbox.close()
        self.book.close()


def live(folder, url, addresses, count, seed):
    """One life: feed what is missing, settle until all is settled."""
    shore = None
    receipts = list(payments(count, seed))
    while True:
        try:
            if shore is None:
                shore = Shore(folder, url, addresses)
            status = shore.book.status()
            fed = status["waiting"] + sum(
                row[0]
                for row in shore.book._db.execute("SELECT count(*) FROM receipt WHERE epoch IS NOT NULL")
            )
            if fed < count and status["waiting"] < EPOCH:
                shore.book.add(receipts[fed : fed + EPOCH], now_s=NOW_S)
            shore.client.refresh()
            shore.book.tick(shore.desk, now_s=NOW_S, at_once=fed == count, keys=KEYS)
            shore.desk.machine.tick()
            if status["settled"] == count:
                return
        except Unavailable:
            pass
        time.sleep(0.01)


def fork(*arguments):
    child = os.fork()
    if child:
        return child
    try:
        live(*arguments)
        os._exit(0)
    except BaseException as error:
        print(f"life: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)


class Sea:
    """The chain's side of it."""

    def __init__(self, url, pid):
        self.url, self.pid = url, pid

    def rpc(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())
        assert "error" not in found, found
        return found["result"]

    def hang(self, seconds):
        os.kill(self.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)


def prepare(folder, url, sea):
    """Contracts, and 10**12 minor units of everybody in deposit."""
    shore = Shore(folder, url, {})
    addresses = {}
    for name in (TOKEN, SETTLEMENT):
        while (address := shore.desk.deploy(name)) is None:
            shore.client.refresh()
            shore.desk.machine.tick()
            sea.rpc("evm_mine")
        addresses[name] = address
    shore.close()
    shore = Shore(folder, url, addresses)
    while True:
        try:
            shore.desk.fund("all", 10**12 * len(KEYS))
            for account in KEYS:
                shore.desk.deposit(account.hex(), 10**12, account)
            if shore.outbox.pending() == 0:
                break
        except LocalFault as fault:
            assert fault.code in ("approving", "not-enough-tokens"), fault
        shore.client.refresh()
        shore.desk.machine.tick()
        sea.rpc("evm_mine")
    shore.close()
    return addresses


def audit(folder, url, addresses, count, seed):
    shore = Shore(folder, url, addresses)
    expected = dict.fromkeys(KEYS, 10**12)
    for receipt in payments(count, seed):
        expected[receipt.payer] -= receipt.amount
        expected[receipt.payee] += receipt.amount
    found = {account: shore.desk.view(SETTLEMENT, "balanceOf", account)[0] for account in KEYS}
    codec = shore.desk.machine.codec(SETTLEMENT)
    logs = shore.client.logs(
        addresses[SETTLEMENT], codec.topic("Settled"), first_block=0, last_block=shore.client.head()
    )
    events = [codec.decode_event("Settled", log.topics, log.data) for log in logs]
    shore.close()
    return {
        "sums_equal": found == expected,
        "settled_on_chain": sum(event["count"] for event in events),
        "epochs": len(events),
        "epochs_once": len({event["epoch"] for event in events}) == len(events),
    }


def main(folder, url, pid, count, seed):
    folder, count, seed = Path(folder), int(count), int(seed)
    sea = Sea(url, int(pid))
    addresses = prepare(folder, url, sea)
    rng = random.Random(seed)
    # After these the last life is let live.
    kills_wanted = max(8, count // 50)
    kills = reorgs = hangs = failed = 0
    child = fork(folder, url, addresses, count, seed)
    dies_at = time.monotonic() + rng.uniform(0.05, 0.6)
    begun = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                break
            failed += code != -signal.SIGKILL
            if failed > 3:
                break
            child = fork(folder, url, addresses, count, seed)
            dies_at = time.monotonic() + rng.uniform(0.05, 0.6)
        elif kills < kills_wanted and time.monotonic() > dies_at:
            os.kill(child, signal.SIGKILL)
            kills += 1
            dies_at = time.monotonic() + 60
            continue
        sea.rpc("evm_mine")
        if rng.random() < 0.15:
            sea.rpc("anvil_reorg", rng.randint(1, DEPTH), [])
            reorgs += 1
        if rng.random() < 0.03:
            sea.hang(rng.uniform(0.1, 2 * TIMEOUT_S))
            hangs += 1
        time.sleep(0.04)
    result = {"payments": count, "parties": len(KEYS), "kills": kills, "reorgs": reorgs, "hangs": hangs}
    print(
        json.dumps(
            {
                **result,
                "failed": failed,
                "seconds": round(time.monotonic() - begun, 1),
                **audit(folder, url, addresses, count, seed),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
