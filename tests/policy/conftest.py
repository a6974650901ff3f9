"""Gates over the shipped policy, and hand-written modules that speak OPA's ABI and mean harm."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import wasmtime
from swarmd import policies
from swarmd.node.policy.host import WasmGate

SENDER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
NEED = {
    "gate": "ingress",
    "kind": "NEED",
    "sender": SENDER,
    "thread": "need-1",
    "payload_size": 456,
    "epoch": 7,
    "budget": 60_000,
}
ALLOW = '[{"result":{"allow":true,"obligations":[],"reasons":[]}}]'

# The smallest module that the host takes: strings at fixed places, an allocator that only moves a pointer.
PARTS = {
    "memory": '(import "env" "memory" (memory 2))',
    "imports": "",
    "extra": "",
    "start": "",
    "opa_eval": '(func (export "opa_eval") (param i32 i32 i32 i32 i32 i32 i32) (result i32) {eval})',
    "opa_malloc": """(func (export "opa_malloc") (param i32) (result i32) (local i32)
        (local.set 1 (i32.load (i32.const 8)))
        (i32.store (i32.const 8) (i32.add (local.get 1) (local.get 0))) (local.get 1))""",
    "opa_json_parse": '(func (export "opa_json_parse") (param i32 i32) (result i32) (i32.const 1))',
    "opa_json_dump": '(func (export "opa_json_dump") (param i32) (result i32) (local.get 0))',
    "opa_heap_ptr_get": '(func (export "opa_heap_ptr_get") (result i32) (i32.load (i32.const 8)))',
    "opa_heap_ptr_set": '(func (export "opa_heap_ptr_set") (param i32) (i32.store (i32.const 8) (local.get 0)))',
    "entrypoints": '(func (export "entrypoints") (result i32) (i32.const 1024))',
    "builtins": '(func (export "builtins") (result i32) (i32.const 2048))',
    "abi": """(global (export "opa_wasm_abi_version") i32 (i32.const 1))
        (global (export "opa_wasm_abi_minor_version") i32 (i32.const 3))""",
}


def text(value: str) -> str:
    return '"' + "".join(f"\\{byte:02x}" for byte in value.encode()) + '\\00"'


def module(
    evaluate: str = "(i32.const 4096)",
    *,
    result: str = ALLOW,
    entrypoints: str = '{"swarm/policy/verdict":0}',
    builtins: str = "{}",
    **parts: str,
) -> bytes:
    """A module whose opa_eval has the body `evaluate`; any of PARTS may be replaced. `result` is at 4096."""
    body = {**PARTS, **parts}
    body["opa_eval"] = body["opa_eval"].replace("{eval}", evaluate)
    data = "".join(
        f"(data (i32.const {at}) {text(value)})"
        for at, value in ((1024, entrypoints), (2048, builtins), (4096, result))
    )
    heap = '(data (i32.const 8) "\\00\\40\\00\\00")'  # 16384
    order = ["imports", "memory", *(name for name in body if name not in ("imports", "memory"))]
    wat = f"(module {' '.join(body[name] for name in order)} {data} {heap})"
    return bytes(wasmtime.wat2wasm(wat))


@pytest.fixture
def make_module() -> Callable[..., bytes]:
    return module


@pytest.fixture
def need() -> dict[str, Any]:
    return dict(NEED)


@pytest.fixture(scope="session")
def base() -> policies.Policy:
    return policies.load("base")


@pytest.fixture(scope="session")
def gate(base: policies.Policy) -> WasmGate:
    return WasmGate(base.wasm, base.data)


@pytest.fixture
def with_data(base: policies.Policy) -> Callable[..., WasmGate]:
    """A gate over the base policy with some of its data replaced."""

    def make(**data: Mapping[str, Any]) -> WasmGate:
        return WasmGate(base.wasm, {**base.data, **data})

    return make
