"""What holds for all tests: no setting of the developer's own node leaks in, and Hypothesis keeps to our time."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import trio
from hypothesis import settings

# The machines that run this are shared: how long one example takes says nothing. CI tries the same examples
# on each run, so that it fails for a change and not by chance; developers' runs look for new ones.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

for _name in [name for name in os.environ if name.startswith("SWARMD_")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parent.parent


class NatsServer:
    """A real nats-server on a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220 (it starts at once, and outlives the call)
            ["nats-server", "-a", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with trio.fail_after(15):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
                    return
                except OSError:
                    await trio.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
async def nats_server():
    if shutil.which("nats-server") is None:
        if os.environ.get("CI"):
            pytest.fail("nats-server is not installed")
        pytest.skip("nats-server is not installed: apt-get install nats-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = NatsServer(port)
    await made.start()
    yield made
    made.stop()
