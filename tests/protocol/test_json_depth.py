"""Deep JSON never reaches the parser, whatever the recursion limit: a stack overflow would end the daemon (P10)."""

import subprocess
import sys

import pytest
from swarmd.protocol.canonical_json import BadJson, parse_json, too_deep

pytestmark = pytest.mark.property_id("P10")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":', b'["]",['])
def test_deep_json_is_refused_with_a_huge_recursion_limit(opening):
    code = f"""
import sys
sys.setrecursionlimit(100_000)
from swarmd.protocol.canonical_json import BadJson, parse_json
try:
    parse_json({opening!r} * 500_000)
except BadJson:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip()) == (0, "refused"), run.stderr[-500:]


def test_the_chain_leaves_the_recursion_limit_alone():
    code = """
import sys, tempfile, trio
from pathlib import Path
from swarmd.node.chain import EmbeddedChain
before = sys.getrecursionlimit()

async def main():
    with tempfile.TemporaryDirectory() as home:
        chain = EmbeddedChain(Path(home))
        async def seen(_): ...
        async with trio.open_nursery() as nursery:
            await nursery.start(chain.run, seen)
            with trio.fail_after(60):
                while chain.status()["state"] != "ready":
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

trio.run(main)
assert "py_ecc" in sys.modules
print(sys.getrecursionlimit() == before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "True", run.stderr[-500:]


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b"[" * 500 + b"]" * 500, True),
        (b'["[[[[' + b"[" * 1000 + b'"]', False),
        (b'["\\"' + b"[" * 1000 + b'"]', False),
        (b"[1],[2]" * 100, False),
        (b"[" * 65, True),
        (b"]" * 65 + b"[" * 65, True),
        (b'{"a":[' * 40 + b"]}" * 40, False),
    ],
)
def test_depth_is_seen_without_parsing(text, deep):
    assert too_deep(text) is deep


def test_wide_documents_pass():
    assert len(parse_json(b"[" + b"[1,2]," * 50_000 + b"[]]")) == 50_001
    with pytest.raises(BadJson):
        parse_json(b'{"a": [1, 2}' * 40)
