"""`swarmd bench policy`: what one evaluation costs, beside the same rules in Python and, if it is there, in node.

The policy is `open-mesh` (14 deny rules) with a data document of 3 KB, the input a need's, of 450 bytes. Each round
is a whole evaluation as the runner makes it: facts to canonical JSON, memory restored, fuel, verdict, digest. Beside
it `standard`, which has all the rules that ship.
"""

import json
import re
import shutil
import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swarmd import policies
from swarmd.node.bench.by_hand import reasons
from swarmd.node.console.output import Output, facts
from swarmd.node.policy.host import WasmGate
from swarmd.node.policy.modules import load_module
from swarmd.node.policy.verdicts import canonical_input, canonical_json
from swarmd.protocol.faults import LocalFault

INPUT_BYTES = 450
DATA_BYTES = 3_072
WARM_UP = 500
NODE_TIMEOUT_S = 120.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=int, default=50_000, metavar="N", help="evaluations measured (default 50000)"
    )


def main(args: Namespace, out: Output) -> int:
    if not 100 <= args.rounds <= 10_000_000:
        raise LocalFault("usage", "100 to 10,000,000 rounds")
    figures = run(args.rounds)
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts([(name, value) for name, value in figures.items() if not isinstance(value, dict)]))
        for name in ("standard", "python", "node"):
            beside = figures[name]
            out.line(
                f"{name:<8}" + (", ".join(f"{k} {v}" for k, v in beside.items()) if beside else "not here")
            )
    return 0


def run(rounds: int) -> dict[str, Any]:
    policy = policies.load("open-mesh")
    data, input_ = data_of(policy.data), input_of()
    gate = WasmGate(policy.wasm, data)
    figures = _evaluations(gate, data, input_, rounds)
    many = [input_] * min(rounds, 20_000)
    started_s = time.process_time()
    gate.evaluate_many("ingress", many)
    # CPU time: what one core does of it, whoever else is busy on this machine.
    figures["evals_per_s"] = round(len(many) / (time.process_time() - started_s))
    standard = policies.load("standard")
    standard_data = data_of(standard.data)
    return figures | {
        "load_ms": _load_ms(policy.wasm),
        "deny_rules": _deny_rules("open-mesh"),
        "input_bytes": len(canonical_input("ingress", input_)),
        "data_bytes": len(canonical_json(data)),
        "rounds": rounds,
        "standard": {
            **_evaluations(WasmGate(standard.wasm, standard_data), standard_data, input_, rounds),
            "deny_rules": _deny_rules("standard"),
        },
        "python": _measure(lambda: reasons(input_, data), rounds),
        "node": _node(policy.wasm, data, input_, rounds),
    }


def _evaluations(
    gate: WasmGate, data: Mapping[str, Any], input_: Mapping[str, Any], rounds: int
) -> dict[str, Any]:
    verdict = gate.evaluate("ingress", input_)
    if not verdict.allow or list(verdict.reasons) != reasons(input_, data):
        raise LocalFault("bench", f"the policy and the rules by hand differ: {verdict.reasons}")
    return {**_measure(lambda: gate.evaluate("ingress", input_), rounds), "gas": verdict.gas}


def _measure(call: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """p50_us, p95_us, p99_us of single calls, by the clock on the wall."""
    for _ in range(WARM_UP):
        call()
    clock = time.perf_counter_ns
    took = []
    for _ in range(rounds):
        started_ns = clock()
        call()
        took.append(clock() - started_ns)
    took.sort()
    return {f"p{p}_us": round(took[len(took) * p // 100] / 1e3, 1) for p in (50, 95, 99)}


def _load_ms(wasm: bytes) -> float:
    """Loading the compiled module from the cache, the best of thirty."""
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        load_module(wasm, Path(folder) / "cache")
        took, kept = [], []  # kept, for letting a module go takes as long as loading one
        for _ in range(30):
            started_ns = time.perf_counter_ns()
            kept.append(load_module(wasm, Path(folder) / "cache"))
            took.append(time.perf_counter_ns() - started_ns)
    return round(min(took) / 1e6, 3)


def _deny_rules(name: str) -> int:
    """Rules that object, of the policy and those it is made of."""
    source = policies.rego(name).decode()
    uses = source.split("# uses:", 1)[1].splitlines()[0] if "# uses:" in source else ""
    parts = [source, *(policies.rego(each.strip()).decode() for each in uses.split(",") if each.strip())]
    return sum(len(re.findall(r"^reasons contains", part, re.MULTILINE)) for part in parts)


def data_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The policy's data with a deny list that brings it to DATA_BYTES."""
    senders: dict[str, str] = {}
    filled = {**data, "deny": {"senders": senders}}
    while len(canonical_json(filled)) < DATA_BYTES:
        senders[f"did:key:z6Mk{len(senders):044d}"] = "spam"
    return filled


def input_of() -> dict[str, Any]:
    """What the ingress gate is told of a need, of INPUT_BYTES."""
    found: dict[str, Any] = {
        "gate": "ingress",
        "kind": "NEED",
        "sender": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "role": "member",
        "thread": "need-" + "a" * 32,
        "payload_size": 1_234,
        "epoch": 0,
        "budget": 1_000_000,
        "tasks": 4,
        "max_price": 500_000,
        "deadline_s": 600,
        "capabilities": ["text.merge", "text.split", "text.wordcount"],
        "content_types": ["json", "text"],
        "note": "",
    }
    found["note"] = "n" * (INPUT_BYTES - len(canonical_input("ingress", found)))
    return found


# OPA's own host in JavaScript: no fuel, no restored memory, no digest.
_NODE = """
const {loadPolicy} = require('@open-policy-agent/opa-wasm'), fs = require('fs');
const [wasm, data, input, rounds] = process.argv.slice(1);
loadPolicy(fs.readFileSync(wasm)).then((policy) => {
  policy.setData(JSON.parse(fs.readFileSync(data)));
  const facts = JSON.parse(fs.readFileSync(input)), took = [];
  for (let i = 0; i < 500; i++) policy.evaluate(facts);
  for (let i = 0; i < +rounds; i++) {
    const started = process.hrtime.bigint();
    policy.evaluate(facts);
    took.push(Number(process.hrtime.bigint() - started));
  }
  took.sort((a, b) => a - b);
  const at = (p) => Math.round(took[Math.floor(took.length * p / 100)] / 100) / 10;
  console.log(JSON.stringify({p50_us: at(50), p95_us: at(95), p99_us: at(99)}));
});
"""


def _node(
    wasm: bytes, data: Mapping[str, Any], input_: Mapping[str, Any], rounds: int
) -> dict[str, Any] | None:
    """The same in node with @open-policy-agent/opa-wasm; None where these are not installed."""
    node = shutil.which("node")
    if node is None:
        return None
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        paths = [Path(folder) / name for name in ("policy.wasm", "data.json", "input.json")]
        for path, content in zip(paths, (wasm, canonical_json(data), canonical_json(input_)), strict=True):
            path.write_bytes(content)
        try:
            done = subprocess.run(
                [node, "-e", _NODE, *map(str, paths), str(rounds)],
                capture_output=True,
                text=True,
                timeout=NODE_TIMEOUT_S,
            )
            found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        except (OSError, ValueError, subprocess.TimeoutExpired):
            found = {}
    return found or None
