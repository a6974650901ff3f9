"""The WASM test cases that the opa project publishes, run in our sandbox: its ABI is ours, and its answers too.

They come from the Go module of the pinned compiler (`policies/build.sh --cases`), not from this repository. CI runs
all of them; elsewhere one in eight, for compiling each takes a fifth of a second of CPU.
"""

import base64
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from swarmd.node.policy.instance import Instance
from swarmd.node.policy.modules import engine
from swarmd.node.policy.verdicts import Denied, canonical_json
from swarmd.protocol.faults import LocalFault

TOOLS = Path(__file__).parents[2] / ".tools"
FOUND = next(iter(TOOLS.glob("opa-cases-v*.tar.gz")), None)
GAS = 10_000_000
# Their harness gives these cases builtins of its own; our sandbox has none.
HOST_BUILTINS = {"custom built-in", "impure built-in", "memoization"}


def load() -> list[tuple[str, dict[str, Any]]]:
    assert FOUND is not None
    cases = []
    with tarfile.open(FOUND) as archive:
        for member in archive:
            data = archive.extractfile(member)
            if member.name.endswith(".json") and data is not None:
                cases += [(member.name, case) for case in json.load(data)["cases"]]
    return cases


def outcome(case: dict[str, Any]) -> Any:
    """The result set, or the Denied or LocalFault that there was instead."""
    try:
        module = wasmtime.Module(engine(), base64.b64decode(case["wasm"]))
        instance = Instance(module, canonical_json(case.get("data", {})), "eval")
        document = canonical_json(case["input"]) if "input" in case else b""
        return json.loads(instance.evaluate(document, GAS).result)
    except (Denied, LocalFault) as error:
        return error


def fits(case: dict[str, Any], found: Any) -> bool:
    if case["note"] in HOST_BUILTINS:
        return isinstance(found, LocalFault) and found.code == "policy-builtins"
    if isinstance(found, Exception):
        return bool(case.get("want_error")) and case["want_error"] in str(found)
    if "want_defined" in case:
        return bool(found) == case["want_defined"]

    def ordered(results: list[Any]) -> list[str]:
        return sorted(json.dumps(result, sort_keys=True) for result in results)

    return "want_result" in case and ordered(found) == ordered(case["want_result"])


@pytest.mark.skipif(
    FOUND is None and not os.environ.get("CI"), reason="policies/build.sh --cases was not run: CI does"
)
def test_the_published_cases() -> None:
    cases = load()
    assert len(cases) >= 369
    chosen = cases if os.environ.get("CI") else cases[::8]
    wrong = [
        f"{name}: {case['note']}: {found!r:.300}"
        for name, case in chosen
        if not fits(case, found := outcome(case))
    ]
    assert not wrong, "\n".join(wrong)
