"""Compiles one module in a process of its own: `python -m swarmd.node.policy.compile_worker CPU_S BYTES`.

wasm on stdin, native code on stdout; exit code 3 and a sentence if it is no module. Compiling is not metered, and
some modules take seconds and gigabytes of it: this process has limits, and nothing else to lose.
"""

import resource
import sys


def main() -> int:
    cpu_s, size = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    from swarmd.node.policy.modules import INVALID, compile_wasm
    from swarmd.protocol.faults import LocalFault

    wasm = sys.stdin.buffer.read()
    try:
        native = bytes(compile_wasm(wasm).serialize())
    except LocalFault as fault:
        sys.stdout.write(fault.message)
        return INVALID
    sys.stdout.buffer.write(native)
    return 0


if __name__ == "__main__":
    sys.exit(main())
