"""Policies that mean harm: refused when loaded or denied when asked, quickly, and the host lives (P10)."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from swarmd import policies
from swarmd.node.policy import modules
from swarmd.node.policy.host import WasmGate
from swarmd.node.policy.modules import MAX_WASM_BYTES
from swarmd.protocol.faults import LocalFault
from wasmtime import _func

Make = Callable[..., bytes]
ALLOW = '[{"result":{"allow":true,"obligations":[],"reasons":[]}}]'


@pytest.fixture(autouse=True)
def host_lives(gate: WasmGate, need: dict[str, Any]) -> Any:
    """After whatever a test did, the shipped policy judges as before and nothing is parked."""
    before = gate.evaluate("ingress", need)
    yield
    assert gate.evaluate("ingress", need) == before
    assert _func.LAST_EXCEPTION is None


def test_the_harmless_module_works(make_module: Make, need: dict[str, Any]) -> None:
    verdict = WasmGate(make_module(), {}).evaluate("ingress", need)
    assert verdict.allow and verdict.reasons == () and 0 < verdict.gas < 100


DENIED = {
    "infinite loop": ("(loop (br 0)) (unreachable)", "out-of-gas"),
    "unreachable": ("(unreachable)", "policy-trap"),
    "division by zero": ("(i32.div_u (i32.const 1) (i32.const 0))", "policy-trap"),
    "reads outside": ("(i32.load (i32.const -4))", "policy-trap"),
    "writes outside": ("(i32.store (i32.const -4) (i32.const 1)) (i32.const 4096)", "policy-trap"),
    "result outside": ("(i32.const -1)", "bad-result"),
    "result at the very end": (
        "(i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1))",
        "bad-result",
    ),
    "null result": ("(i32.const 0)", "bad-result"),
    "result that never ends": (
        "(memory.fill (i32.const 4096) (i32.const 97) (i32.const 120000)) (i32.const 4096)",
        "bad-result",
    ),
    "jump to nowhere": ("(call_indirect $table (result i32) (i32.const 3))", "policy-trap"),
}


@pytest.mark.parametrize("name", DENIED)
def test_evaluations_that_go_wrong_are_denied(make_module: Make, need: dict[str, Any], name: str) -> None:
    evaluate, reason = DENIED[name]
    gate = WasmGate(make_module(evaluate, extra="(table $table 4 funcref)"), {})
    begin = time.process_time()
    verdict = gate.evaluate("ingress", need)
    assert time.process_time() - begin < 0.1
    assert not verdict.allow and verdict.reasons == (reason,) and verdict.gas <= gate.gas_limit
    assert gate.evaluate("ingress", need) == verdict  # a new instance, the same verdict


def test_recursion_ends_in_a_trap(make_module: Make, need: dict[str, Any]) -> None:
    gate = WasmGate(
        make_module(
            "(call $deep (i32.const 1))",
            extra="(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))",
        ),
        {},
        gas_limit=1 << 40,
    )
    assert gate.evaluate("ingress", need).reasons == ("policy-trap",)


def test_a_memory_bomb_is_held_by_the_cap(make_module: Make, need: dict[str, Any]) -> None:
    grow_all = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (i32.const 4096)"
    gate = WasmGate(make_module(grow_all), {})
    first = gate.evaluate("ingress", need)
    assert first.allow and gate.evaluate("ingress", need) == first  # it got 16 MiB, and was dropped for it
    at_once = "(drop (memory.grow (i32.const 65000))) (unreachable)"
    assert WasmGate(make_module(at_once), {}).evaluate("ingress", need).reasons == ("policy-trap",)


IMPORTS = '(import "env" "opa_abort" (func $abort (param i32)))'
BUILTIN = '(import "env" "opa_builtin1" (func $builtin (param i32 i32 i32) (result i32)))'


def test_dropped_instances_are_freed(
    make_module: Make, need: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # what earlier tests left is not counted
    freed = 0
    delete = wasmtime.Store._delete

    def count(store: wasmtime.Store, pointer: Any) -> None:
        nonlocal freed
        freed += 1
        delete(store, pointer)

    monkeypatch.setattr(wasmtime.Store, "_delete", count)
    abort = "(drop (memory.grow (i32.const 100))) (call $abort (i32.const 4096)) (unreachable)"
    gate = WasmGate(make_module(abort, imports=IMPORTS), {})
    for _ in range(50):
        assert gate.evaluate("ingress", need).reasons == ("policy-abort",)
    gc.collect()
    assert freed == 50  # each with 6 MiB and a callback


def test_state_cannot_be_hidden_in_memory(make_module: Make, need: dict[str, Any]) -> None:
    for at in (12, 60_000, 131_068):  # its own data, the middle, and beyond the heap
        count = f"""(i32.store (i32.const {at}) (i32.add (i32.load (i32.const {at})) (i32.const 1)))
            (if (i32.gt_u (i32.load (i32.const {at})) (i32.const 1)) (then (unreachable))) (i32.const 4096)"""
        gate = WasmGate(make_module(count), {})
        assert all(gate.evaluate("ingress", need).allow for _ in range(5))


def test_an_abort_is_a_deny(make_module: Make, need: dict[str, Any]) -> None:
    gate = WasmGate(make_module("(call $abort (i32.const 4096)) (unreachable)", imports=IMPORTS), {})
    assert gate.evaluate("ingress", need).reasons == ("policy-abort",)
    far = WasmGate(make_module("(call $abort (i32.const -1)) (unreachable)", imports=IMPORTS), {})
    assert far.evaluate("ingress", need).reasons == ("policy-abort",)


def test_a_builtin_that_is_called_is_a_deny(make_module: Make, need: dict[str, Any]) -> None:
    call = "(call $builtin (i32.const 0) (i32.const 0) (i32.const 0))"
    assert WasmGate(make_module(call, imports=BUILTIN), {}).evaluate("ingress", need).reasons == (
        "policy-abort",
    )


RESULTS = {
    "no result": "[]",
    "two results": f"[{ALLOW[1:-1]},{ALLOW[1:-1]}]",
    "undefined": "",
    "a number": "1",
    "no list": '{"result":{}}',
    "no result key": '[{"outcome":{}}]',
    "a bare true": '[{"result":true}]',
    "allow is a string": '[{"result":{"allow":"true","obligations":[],"reasons":[]}}]',
    "allow is 1": '[{"result":{"allow":1,"obligations":[],"reasons":[]}}]',
    "no reasons": '[{"result":{"allow":true,"obligations":[]}}]',
    "no obligations": '[{"result":{"allow":true,"reasons":[]}}]',
    "more": '[{"result":{"allow":true,"obligations":[],"reasons":[],"x":1}}]',
    "reasons no strings": '[{"result":{"allow":false,"obligations":[],"reasons":[1]}}]',
    "allow twice": '[{"result":{"allow":false,"allow":true,"obligations":[],"reasons":[]}}]',
    "not utf-8": ALLOW.replace("true", "\udc80"),
    "half": ALLOW[:-5],
    "deep": "[" * 40_000,
    "long reason": '[{"result":{"allow":false,"obligations":[],"reasons":["' + "x" * 300 + '"]}}]',
    "many reasons": '[{"result":{"allow":false,"obligations":[],"reasons":['
    + ",".join(['"x"'] * 65)
    + "]}}]",
}


@pytest.mark.parametrize("name", RESULTS)
def test_anything_but_one_verdict_is_denied(make_module: Make, need: dict[str, Any], name: str) -> None:
    result = RESULTS[name].encode("utf-8", "surrogateescape").decode("latin-1")
    raw = "".join(f"\\{ord(char):02x}" for char in result)
    data = f'(data (i32.const 20000) "{raw}\\00")'
    heap = '(data (i32.const 8) "\\00\\00\\01\\00")'  # 65536: above the result
    module = make_module("(i32.const 20000)", extra=data, start=heap)
    verdict = WasmGate(module, {}).evaluate("ingress", need)
    assert (verdict.allow, verdict.reasons) == (False, ("bad-result",)) and verdict.gas > 0


def test_a_deny_with_its_reasons_sorted(make_module: Make, need: dict[str, Any]) -> None:
    result = '[{"result":{"allow":false,"obligations":["log"],"reasons":["b","a"]}}]'
    assert WasmGate(make_module(result=result), {}).evaluate("ingress", need).reasons == ("a", "b")


EVAL = '(func (export "opa_eval") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 4096))'
REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "an import from the system": (
        {
            "imports": '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
        },
        "policy-import",
    ),
    "an unknown import": (
        {"imports": '(import "env" "fetch" (func (param i32) (result i32)))'},
        "policy-import",
    ),
    "a known import of another type": (
        {"imports": '(import "env" "opa_abort" (func (param i64)))'},
        "policy-import",
    ),
    "an imported global": ({"imports": '(import "env" "opa_abort" (global i32))'}, "policy-import"),
    "an imported table": ({"imports": '(import "env" "table" (table 1 funcref))'}, "policy-import"),
    "its own memory": ({"memory": "(memory 2)"}, "policy-memory"),
    "4 GiB of memory": ({"memory": '(import "env" "memory" (memory 65536))'}, "policy-memory"),
    "opa_eval of another type": ({"opa_eval": EVAL}, "policy-export"),
    "no opa_malloc": ({"opa_malloc": ""}, "policy-export"),
    "opa_eval that is a global": (
        {"opa_eval": '(global (export "opa_eval") i32 (i32.const 1))'},
        "policy-export",
    ),
    "no ABI version": ({"abi": ""}, "policy-export"),
    "an old ABI": (
        {
            "abi": '(global (export "opa_wasm_abi_version") i32 (i32.const 1))'
            '(global (export "opa_wasm_abi_minor_version") i32 (i32.const 1))'
        },
        "policy-export",
    ),
    "an ABI that is a function": (
        {"abi": '(func (export "opa_wasm_abi_version")) (func (export "opa_wasm_abi_minor_version"))'},
        "policy-export",
    ),
    "builtins of the host": ({"builtins": '{"http.send":0}'}, "policy-builtins"),
    "no such entrypoint": ({"entrypoints": '{"other":0}'}, "policy-export"),
    "an entrypoint that is no number": ({"entrypoints": '{"swarm/policy/verdict":"0"}'}, "policy-export"),
    "an entrypoint out of range": ({"entrypoints": '{"swarm/policy/verdict":-1}'}, "policy-export"),
    "entrypoints that are no JSON": ({"entrypoints": "{"}, "policy-load"),
    "entrypoints nested deep": ({"entrypoints": "[" * 1_000}, "policy-load"),
    "a start function that never ends": (
        {"extra": "(func $begin (loop (br 0)))", "start": "(start $begin)"},
        "policy-load",
    ),
    "a start function that traps": (
        {"extra": "(func $begin unreachable)", "start": "(start $begin)"},
        "policy-load",
    ),
    "a start function that aborts": (
        {
            "imports": IMPORTS,
            "extra": "(func $begin (call $abort (i32.const 0)))",
            "start": "(start $begin)",
        },
        "policy-load",
    ),
    "an allocator that never ends": (
        {"opa_malloc": '(func (export "opa_malloc") (param i32) (result i32) (loop (br 0)) (unreachable))'},
        "policy-load",
    ),
    "an allocator that points outside": (
        {"opa_malloc": '(func (export "opa_malloc") (param i32) (result i32) (i32.const -1))'},
        "policy-load",
    ),
    "data it cannot parse": (
        {"opa_json_parse": '(func (export "opa_json_parse") (param i32 i32) (result i32) (i32.const 0))'},
        "policy-load",
    ),
    "a heap outside its memory": (
        {"opa_heap_ptr_get": '(func (export "opa_heap_ptr_get") (result i32) (i32.const -16))'},
        "policy-load",
    ),
    "a dump that points outside": (
        {"opa_json_dump": '(func (export "opa_json_dump") (param i32) (result i32) (i32.const -1))'},
        "policy-load",
    ),
    "a huge table": ({"extra": "(table 1000000 funcref)"}, "policy-load"),
    "data segments outside": ({"extra": '(data (i32.const -1) "x")'}, "policy-load"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_that_are_refused(make_module: Make, name: str) -> None:
    parts, code = REFUSED[name]
    wasm = make_module(**parts)
    begin = time.process_time()
    with pytest.raises(LocalFault) as caught:
        WasmGate(wasm, {})
    assert caught.value.code == code and caught.value.fix
    assert time.process_time() - begin < 1.0


FEATURES = {
    "64-bit memory": '(module (import "env" "memory" (memory i64 2)))',
    "shared memory": '(module (import "env" "memory" (memory 2 4 shared)))',
    "two memories": "(module (memory 1) (memory 1))",
    "vectors": "(module (func (result v128) (v128.const i64x2 0 0)))",
    "tail calls": "(module (func $f (return_call $f)))",
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_that_no_policy_needs_are_off(name: str) -> None:
    with pytest.raises(LocalFault, match="policy-invalid"):
        WasmGate(bytes(wasmtime.wat2wasm(FEATURES[name])), {})


def test_bytes_that_are_no_module_are_refused(base: policies.Policy) -> None:
    cuts = [base.wasm[:length] for length in (0, 3, 8, 100, 5_000, len(base.wasm) - 1)]
    for wasm in [*cuts, b"(module)", b"junk" * 100, base.wasm + b"\0", b"\0asm\x0d\0\1\0" + bytes(50)]:
        with pytest.raises(LocalFault) as caught:
            WasmGate(wasm, {})
        assert caught.value.code in ("policy-invalid", "policy-memory"), wasm[:20]


def test_a_module_of_twelve_megabytes_is_refused_unread(base: policies.Policy) -> None:
    begin = time.process_time()
    with pytest.raises(LocalFault, match="policy-too-big"):
        WasmGate(base.wasm + bytes(12_000_000), {})
    assert time.process_time() - begin < 0.1 and MAX_WASM_BYTES < 12_000_000


def test_bit_flips_never_escape_as_anything_else(base: policies.Policy, need: dict[str, Any]) -> None:
    for at in range(8, len(base.wasm), len(base.wasm) // 12):
        wasm = base.wasm[:at] + bytes([base.wasm[at] ^ 0x10]) + base.wasm[at + 1 :]
        try:
            gate = WasmGate(wasm, base.data)
        except LocalFault:
            continue
        verdict = gate.evaluate("ingress", need)
        assert verdict.gas <= gate.gas_limit and len(verdict.digest) == 32


def test_a_fault_of_the_host_fails_closed(
    make_module: Make, need: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = WasmGate(make_module(), {})

    def broken(document: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gate, "_judge", broken)
    assert gate.evaluate("ingress", need).reasons == ("host-error",)


# Compiling, which nothing meters.


def test_a_policy_of_others_is_compiled_apart(
    base: policies.Policy, need: dict[str, Any], tmp_path: Path
) -> None:
    inline = WasmGate(base.wasm, base.data).evaluate("ingress", need)
    assert (
        WasmGate(base.wasm, base.data, tmp_path / "cache", limited=True).evaluate("ingress", need) == inline
    )
    (file,) = (tmp_path / "cache").iterdir()
    assert WasmGate(base.wasm, base.data, limited=True).evaluate("ingress", need) == inline
    with pytest.raises(LocalFault, match="policy-invalid"):
        WasmGate(base.wasm[:-1], base.data, tmp_path / "cache", limited=True)
    assert list((tmp_path / "cache").iterdir()) == [file]


def test_a_compile_bomb_meets_the_limits_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "COMPILE_CPU_S", 1)
    # Loops in loops around 2,000 variables: 19 KB that take the compiler half a minute.
    body = "".join(
        f"(local.set {i} (i32.add (local.get {(i * 7 + 1) % 2_000}) (local.get 0)))" for i in range(1, 2_000)
    )
    for _ in range(200):
        body = f"(loop {body} (br_if 0 (local.get 3)))"
    bomb = (
        f'(module (func (export "f") (param i32) (result i32) (local {"i32 " * 2_000}) {body} (local.get 1)))'
    )
    wasm = bytes(wasmtime.wat2wasm(bomb))
    assert len(wasm) < 20_000
    with pytest.raises(LocalFault, match="policy-compile") as caught:
        WasmGate(wasm, {}, limited=True)
    assert "trust" in caught.value.fix


def test_a_compiler_that_needs_too_much_memory(
    base: policies.Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "COMPILE_BYTES", 64 << 20)
    with pytest.raises(LocalFault, match="policy-compile"):
        WasmGate(base.wasm, base.data, limited=True)
