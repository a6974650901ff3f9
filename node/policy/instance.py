"""One instance of an OPA policy in wasmtime: set up once, its memory restored before each evaluation.

The ABI is https://www.openpolicyagent.org/docs/wasm (1.2 or later: one-shot `opa_eval`). The call goes
through wasmtime's C API directly: the public `Func.__call__` rebuilds its ctypes frame each time, 74 us
against 17. That path is unchecked, so `check_module` holds every type it relies on before.
"""

import ctypes
import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import wasmtime
from swarmd.node.policy.modules import engine
from swarmd.node.policy.verdicts import Denied
from swarmd.protocol.canonical_json import too_deep
from swarmd.protocol.faults import LocalFault
from wasmtime import _bindings, _ffi, _func

MAX_MEMORY_BYTES: Final = 16 * 1_048_576
MAX_RESULT_BYTES: Final = 65_536
MAX_ENTRYPOINTS: Final = 64
# For the start function, the maps of entrypoints and builtins, and the data document (about 95 a byte).
LOAD_FUEL: Final = 10_000_000
LOAD_FUEL_PER_DATA_BYTE: Final = 300
# Free memory that an evaluation finds; one that needs more grows the memory and costs a new instance. The
# same on every node, for growing burns gas.
SCRATCH_BYTES: Final = 49_152
_PAGE: Final = 65_536
_RESULT_READ_BYTES: Final = 512

_I32: Final = "i32"
_Signature = tuple[tuple[str, ...], tuple[str, ...]]
_IMPORTS: Final[dict[str, _Signature]] = {
    "opa_abort": ((_I32,), ()),
    "opa_println": ((_I32,), ()),
    **{f"opa_builtin{n}": ((_I32,) * (n + 2), (_I32,)) for n in range(5)},
}
_EXPORTS: Final[dict[str, _Signature]] = {
    "opa_eval": ((_I32,) * 7, (_I32,)),
    "opa_malloc": ((_I32,), (_I32,)),
    "opa_json_parse": ((_I32, _I32), (_I32,)),
    "opa_json_dump": ((_I32,), (_I32,)),
    "opa_heap_ptr_get": ((), (_I32,)),
    "opa_heap_ptr_set": ((_I32,), ()),
    "entrypoints": ((), (_I32,)),
    "builtins": ((), (_I32,)),
}

# PyDLL keeps the GIL. An evaluation is a handful of calls of a microsecond each; giving the GIL up at each
# would let any busy thread hold the daemon's loop for its whole switch interval (5 ms), several times over.
_lib: Final = ctypes.PyDLL(_ffi.dll._name)
_address, _size = ctypes.c_void_p, ctypes.c_size_t


def _foreign(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments
    called: Callable[..., Any] = function
    return called


_call = _foreign("wasmtime_func_call_unchecked", _address, _address, _address, _address, _size, _address)
_set_fuel = _foreign("wasmtime_context_set_fuel", _address, _address, ctypes.c_uint64)
_get_fuel = _foreign("wasmtime_context_get_fuel", _address, _address, _address)
_memory_size = _foreign("wasmtime_memory_data_size", _size, _address, _address)
_copy = ctypes.PYFUNCTYPE(_address, _address, _address, _size)(
    ctypes.cast(ctypes.memmove, _address).value or 0
)


class _Abort(Exception):
    """Raised inside a callback to trap the policy that called it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The JSON a policy returned, the gas it burnt, and whether its instance may be used again."""

    result: bytes
    gas: int
    reusable: bool


def check_module(module: wasmtime.Module) -> wasmtime.MemoryType:
    """The memory that `module` imports. LocalFault `policy-import`, `policy-export`, `policy-memory` unless
    it imports only what we give and exports, with the right types, what we call."""
    memory: wasmtime.MemoryType | None = None
    for item in module.imports:
        kind = item.type
        if item.module == "env" and item.name == "memory" and isinstance(kind, wasmtime.MemoryType):
            memory = kind
        elif item.module != "env" or _signature(kind) != _IMPORTS.get(item.name or "", ((), ("none",))):
            raise _refused("policy-import", f"imports {item.module}.{item.name}, which no policy gets")
    if memory is None or memory.is_64 or memory.is_shared:
        raise _refused("policy-memory", "does not import a plain memory")
    if memory.limits.min * _PAGE > MAX_MEMORY_BYTES:
        raise _refused(
            "policy-memory", f"wants {memory.limits.min * _PAGE} bytes; at most {MAX_MEMORY_BYTES}"
        )
    exports = {item.name: item.type for item in module.exports}
    for name, signature in _EXPORTS.items():
        if _signature(exports.get(name)) != signature:
            raise _refused("policy-export", f"no {name} of the right type: is it OPA's?")
    return memory


class Instance:
    """A policy ready to judge. Not for two threads at once. After a `Denied` from `evaluate` it is dead."""

    def __init__(self, module: wasmtime.Module, data: bytes, entrypoint: str) -> None:
        memory_type = check_module(module)
        self._aborted = ""
        self._store = store = wasmtime.Store(engine())
        store.set_limits(
            memory_size=MAX_MEMORY_BYTES, table_elements=16_384, instances=1, tables=4, memories=1
        )
        store.set_fuel(LOAD_FUEL + LOAD_FUEL_PER_DATA_BYTE * len(data))
        try:
            self._load(module, memory_type, data, entrypoint)
        except (wasmtime.Trap, wasmtime.WasmtimeError, _Abort) as error:
            _clear_callback_exception()
            why = self._aborted or str(error).splitlines()[0]
            raise _refused("policy-load", f"fails while it is set up: {why[:300]}") from None

    def _load(
        self, module: wasmtime.Module, memory_type: wasmtime.MemoryType, data: bytes, entrypoint: str
    ) -> None:
        store = self._store
        most_pages = MAX_MEMORY_BYTES // _PAGE
        if memory_type.limits.max is not None:
            most_pages = min(most_pages, memory_type.limits.max)
        limits = wasmtime.Limits(memory_type.limits.min, most_pages)
        self._memory = wasmtime.Memory(store, wasmtime.MemoryType(limits))
        imports: list[wasmtime.Memory | wasmtime.Func] = []
        for item in module.imports:
            kind = item.type
            if isinstance(kind, wasmtime.FuncType):
                imports.append(wasmtime.Func(store, kind, self._import(item.name)))
            else:
                imports.append(self._memory)
        exports = wasmtime.Instance(store, module, imports).exports(store)
        self._exports: Mapping[str, Any] = {name: exports[name] for name in _EXPORTS}
        self._check_abi(exports)
        self._entrypoint = self._find_entrypoint(entrypoint)
        self._data = self._load_data(data)
        self._heap: int = self._exports["opa_heap_ptr_get"](store) & 0xFFFFFFFF
        self._make_scratch()
        self._freeze()

    def _make_scratch(self) -> None:
        """Have free memory above the heap, so that an evaluation need not grow it.

        Asked of the policy's own allocator, which does not notice memory that the host adds; more than once,
        for it serves from blocks it freed while it parsed the data.
        """
        store = self._store
        for _ in range(16):
            if self._memory.data_len(store) - self._heap >= SCRATCH_BYTES:
                break
            self._exports["opa_malloc"](store, SCRATCH_BYTES)
        self._exports["opa_heap_ptr_set"](store, self._heap)

    def _freeze(self) -> None:
        """Take the snapshot, and fix the addresses that the fast path uses."""
        store = self._store
        self._bytes = self._memory.data_len(store)
        if not self._data or not 0 < self._heap <= self._bytes:
            raise _refused("policy-load", "its heap pointer or data address is out of its memory")
        # The memory moves only when it grows, and then the instance is dropped.
        self._base = ctypes.addressof(self._memory.data_ptr(store).contents)
        self._snapshot = ctypes.create_string_buffer(ctypes.string_at(self._base, self._bytes), self._bytes)
        self._snapshot_at = ctypes.addressof(self._snapshot)
        self._context = ctypes.cast(store._context(), _address).value
        self._function = self._exports["opa_eval"]._func
        self._function_at = ctypes.addressof(self._function)
        self._memory_at = ctypes.addressof(self._memory._memory)
        self._frame = (_bindings.wasmtime_val_raw_t * 7)()
        self._frame_at = ctypes.addressof(self._frame)
        # wasmtime_val_raw_t is 16 bytes with the i32 first: seven arguments, the result in the first's place.
        self._slots = slots = (ctypes.c_int32 * (4 * 7)).from_buffer(self._frame)
        # opa_eval(reserved, entrypoint, data, input, input's length, free heap, 0 for a result as JSON);
        # `evaluate` sets those that change.
        slots[4], slots[8], slots[12], slots[24] = self._entrypoint, self._data, self._heap, 0
        self._trap = ctypes.c_void_p()
        self._trap_at = ctypes.addressof(self._trap)
        self._fuel = ctypes.c_uint64()
        self._fuel_at = ctypes.addressof(self._fuel)

    def evaluate(self, document: bytes, gas_limit: int) -> Evaluation:
        """Judge one input document (canonical JSON).

        Denied `out-of-gas`, `policy-trap`, `policy-abort`, `out-of-memory` or `bad-result`: drop the instance.
        """
        heap, length, slots = self._heap, len(document), self._slots
        end = heap + length
        if end > self._bytes:
            self._make_room(end)
        _copy(self._base, self._snapshot_at, self._bytes)
        _copy(self._base + heap, document, length)
        _set_fuel(self._context, gas_limit)
        slots[0], slots[16], slots[20] = 0, length, end
        error = _call(self._context, self._function_at, self._frame_at, 7, self._trap_at)
        _get_fuel(self._context, self._fuel_at)
        left = self._fuel.value
        gas = gas_limit - left
        if error or self._trap.value:
            raise self._denied(error, gas)
        if left == 0:  # fuel is checked at loops and calls only: a policy may come home with nothing left
            raise Denied("out-of-gas", gas=gas_limit)
        size = _memory_size(self._context, self._memory_at)
        if size != self._bytes:
            self._base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        return Evaluation(self._read(slots[0] & 0xFFFFFFFF, size, gas), gas, size == self._bytes)

    def _make_room(self, end: int) -> None:
        """Grow for an input larger than the scratch space; the instance is dropped afterwards."""
        try:
            self._memory.grow(self._store, -(-(end - self._bytes) // _PAGE))
        except wasmtime.WasmtimeError:
            raise Denied("out-of-memory", f"no room for the input up to {end}") from None
        self._base = ctypes.addressof(self._memory.data_ptr(self._store).contents)

    def _read(self, at: int, size: int, gas: int) -> bytes:
        """The NUL-terminated string at `at`, which is the policy's word: never read past its memory."""
        if at < size:
            for most in (_RESULT_READ_BYTES, MAX_RESULT_BYTES):
                text = ctypes.string_at(self._base + at, min(most, size - at))
                end = text.find(b"\0")
                if end >= 0:
                    return text[:end]
        raise Denied("bad-result", "no result string inside the memory", gas=gas)

    def _denied(self, error: int | None, gas: int) -> Denied:
        """What a failed call means. Takes ownership of the error or the trap that wasmtime handed over."""
        code: wasmtime.TrapCode | None = None
        if error:
            pointer = ctypes.cast(error, ctypes.POINTER(_bindings.wasmtime_error_t))
            message = str(wasmtime.WasmtimeError._from_ptr(pointer))
        else:
            trap = wasmtime.Trap._from_ptr(ctypes.cast(self._trap, ctypes.POINTER(_bindings.wasm_trap_t)))
            self._trap.value = None
            message, code = trap.message, trap.trap_code
        _clear_callback_exception()
        if self._aborted:
            return Denied("policy-abort", self._aborted, gas=gas)
        if code is wasmtime.TrapCode.OUT_OF_FUEL:
            return Denied("out-of-gas", gas=gas)
        return Denied("policy-trap", message.splitlines()[0][:200] if message else "", gas=gas)

    def _import(self, name: str | None) -> Callable[..., Any]:
        if name == "opa_println":
            return lambda at: None  # a policy's prints are nobody's business here
        # wasmtime-py keeps callbacks in a global table until their store is gone: one that held on to its
        # instance would keep every dropped instance, and its memory, for ever.
        myself = weakref.ref(self)

        def abort(at: int, *_arguments: int) -> None:
            instance = myself()
            if instance is not None:
                instance._aborted = (
                    instance._text(at, 200) or "abort"
                    if name == "opa_abort"
                    else "calls a builtin that is not in the sandbox"
                )
            raise _Abort

        return abort

    def _text(self, at: int, most: int) -> str:
        at &= 0xFFFFFFFF
        size = self._memory.data_len(self._store)
        raw = bytes(self._memory.read(self._store, at, min(at + most, size))) if at < size else b""
        return raw.partition(b"\0")[0].decode(errors="replace")

    def _check_abi(self, exports: Any) -> None:
        try:
            major = exports["opa_wasm_abi_version"].value(self._store)
            minor = exports["opa_wasm_abi_minor_version"].value(self._store)
        except (KeyError, AttributeError):
            major = minor = None
        if major != 1 or not isinstance(minor, int) or minor < 2:
            raise _refused("policy-export", f"OPA's ABI {major}.{minor}; 1.2 or later is needed")
        if self._dump("builtins") != {}:
            raise _refused("policy-builtins", "needs builtins that are not compiled into it")

    def _find_entrypoint(self, name: str) -> int:
        entrypoints = self._dump("entrypoints")
        number = entrypoints.get(name)
        if len(entrypoints) > MAX_ENTRYPOINTS or type(number) is not int or not 0 <= number < 1 << 31:
            raise _refused("policy-export", f"has no entrypoint {name}")
        return number

    def _dump(self, name: str) -> dict[str, Any]:
        """The JSON object behind one of the policy's two self-descriptions."""
        text = self._text(
            self._exports["opa_json_dump"](self._store, self._exports[name](self._store)), 16_384
        )
        try:
            value = None if too_deep(text.encode()) else json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise _refused("policy-load", f"its {name} are no JSON object")
        return value

    def _load_data(self, data: bytes) -> int:
        at = self._exports["opa_malloc"](self._store, len(data)) & 0xFFFFFFFF
        if at + len(data) > self._memory.data_len(self._store):
            raise _refused("policy-load", "has no room for its data")
        self._memory.write(self._store, data, at)
        parsed: int = self._exports["opa_json_parse"](self._store, at, len(data))
        return parsed


def _signature(kind: object) -> _Signature | None:
    if not isinstance(kind, wasmtime.FuncType):
        return None
    return tuple(map(str, kind.params)), tuple(map(str, kind.results))


def _refused(code: str, what: str) -> LocalFault:
    return LocalFault(code, f"the policy {what}", fix="compile it with policies/build.sh")


def _clear_callback_exception() -> None:
    """wasmtime-py parks what a callback raised in a global, where the next call would find it."""
    pending, _func.LAST_EXCEPTION = _func.LAST_EXCEPTION, None
    if isinstance(pending, BaseException) and not isinstance(pending, Exception):
        raise pending  # Ctrl-C arrived inside the callback
