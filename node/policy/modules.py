"""Compiling policy modules: the engine's fixed settings, the size cap, and a private cache of native code."""

import os
import platform
import stat
import subprocess
import tempfile
import zlib
from contextlib import suppress
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Final

import wasmtime
from swarmd.node.own_python import own_python
from swarmd.protocol.faults import LocalFault

MAX_WASM_BYTES: Final = 4 * 1_048_576
# What compiling a policy of others may take. OPA's take 0.2 s of CPU.
COMPILE_CPU_S: Final = 10
COMPILE_BYTES: Final = 2 << 30
INVALID: Final = 3  # the exit code of compile_worker for what is no module
_MAGIC: Final = b"swarmd-policy-module-2\n"
# CRC-32 of what follows: against torn and rotten files, at a third of the time of SHA-256. Against people who can
# write here nothing would help.
_SUM_BYTES: Final = 4
# What is compiled in: part of the cache's key. Fuel counts and floats must be the same on every machine, so
# everything that a policy does not need is off.
_SETTINGS: Final = {
    "consume_fuel": True,
    "cranelift_nan_canonicalization": True,
    "wasm_threads": False,
    "wasm_relaxed_simd": False,
    "wasm_simd": False,
    "wasm_multi_memory": False,
    "wasm_memory64": False,
    "wasm_tail_call": False,
    # A deep recursion must end in a trap well inside any thread's stack.
    "max_wasm_stack": 512 * 1_024,
    # Reserving less than 4 GiB costs a bounds check per access (about 1 us an evaluation) and keeps the
    # daemon inside an address space limit.
    "memory_reservation": 1 << 20,
}


@cache
def engine_version() -> str:
    """Names what a gas count depends on: fuel changes between wasmtime versions, so the pin is exact."""
    return f"wasmtime/{version('wasmtime')} host/1"


@cache
def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    for name, value in _SETTINGS.items():
        setattr(config, name, value)
    return wasmtime.Engine(config)


def load_module(wasm: bytes, cache_dir: Path | None, *, limited: bool = False) -> wasmtime.Module:
    """`wasm` compiled, from `cache_dir` if this machine compiled it before (then well under 1 ms).

    `limited`: compile in a process with little time and memory, as for whatever comes from others.
    LocalFault `policy-too-big`, `policy-invalid`, `policy-compile` if that takes too much, or `policy-cache` for
    a folder that others may write to.
    """
    if len(wasm) > MAX_WASM_BYTES:
        raise LocalFault(
            "policy-too-big", f"{len(wasm)} bytes; at most {MAX_WASM_BYTES}", fix="split the policy"
        )
    if cache_dir is None:
        return _native(_compile_apart(wasm)) if limited else compile_wasm(wasm)
    path = _private(cache_dir) / f"{_key(wasm)}.native"
    module = _from_cache(path)
    if module is None and limited:
        native = _compile_apart(wasm)
        module = _native(native)
        _to_cache(path, native)
    elif module is None:
        module = compile_wasm(wasm)
        _to_cache(path, bytes(module.serialize()))
    return module


def _compile_apart(wasm: bytes) -> bytes:
    """Native code made by `compile_worker`, whose limits a compile bomb meets instead of ours."""
    try:
        done = subprocess.run(
            [
                *own_python("swarmd.node.policy.compile_worker"),
                str(COMPILE_CPU_S),
                str(COMPILE_BYTES),
            ],
            input=wasm,
            capture_output=True,
            timeout=6 * COMPILE_CPU_S,  # it may wait for a busy machine
        )
    except subprocess.TimeoutExpired:
        raise _too_much("time") from None
    if done.returncode == 0:
        return done.stdout
    if done.returncode == INVALID:
        raise LocalFault(
            "policy-invalid",
            done.stdout.decode("utf-8", "replace")[:300],
            fix="compile it with policies/build.sh",
        )
    raise _too_much(f"time or memory (it ended with {done.returncode})")


def _too_much(what: str) -> LocalFault:
    return LocalFault(
        "policy-compile",
        f"compiling the policy takes too much {what}",
        fix="split it, or do not trust its author",
    )


def _native(code: bytes) -> wasmtime.Module:
    return wasmtime.Module.deserialize(engine(), code)


@lru_cache(maxsize=8)
def compile_wasm(wasm: bytes) -> wasmtime.Module:
    """Remembered: gates over one module with different data share its code."""
    # wasmtime would take the text format as well, which has no stable hash.
    if wasm[:8] != b"\0asm\x01\0\0\0":
        raise LocalFault(
            "policy-invalid", "not a WebAssembly module", fix="compile it with policies/build.sh"
        )
    try:
        return wasmtime.Module(engine(), wasm)
    except wasmtime.WasmtimeError as error:
        raise LocalFault(
            "policy-invalid", str(error).splitlines()[0][:300], fix="compile it with policies/build.sh"
        ) from None


def _key(wasm: bytes) -> str:
    parts = (engine_version(), repr(sorted(_SETTINGS.items())), platform.machine(), _cpu_features())
    return sha256("\n".join(parts).encode() + sha256(wasm).digest()).hexdigest()


@cache
def _cpu_features() -> str:
    """Native code is made for the features of the CPU at hand, and a disk may move to another machine."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def _private(folder: Path) -> Path:
    """Native code is run as it is found: the folder must be ours alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise LocalFault("policy-cache", str(error), fix="choose a folder that can be written to") from error
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise LocalFault(
            "policy-cache",
            f"{folder} is open to others",
            fix=f"chmod 700 {folder}, and make sure it is yours",
        )
    return folder


def _head(body: bytes) -> bytes:
    return _MAGIC + zlib.crc32(body).to_bytes(_SUM_BYTES, "big")


def _from_cache(path: Path) -> wasmtime.Module | None:
    """The cached module; None if there is none, or it is torn, rotten or of another engine."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head, body = content[: len(_MAGIC) + _SUM_BYTES], content[len(_MAGIC) + _SUM_BYTES :]
    if head != _head(body):
        return None
    try:
        return wasmtime.Module.deserialize(engine(), body)
    except wasmtime.WasmtimeError:
        return None


def _to_cache(path: Path, body: bytes) -> None:
    """Written aside and renamed, so a reader never sees a part. Not being able to write costs time only."""
    with suppress(OSError):
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_head(body) + body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError:
            Path(aside).unlink(missing_ok=True)
            raise
