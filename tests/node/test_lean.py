"""What a daemon's process imports: not the half of libp2p, and of what comes with it, that swarmd does not use."""

import importlib
import json
import subprocess
import sys

import pytest
import swarmd.node.transport.p2p  # noqa: F401  libp2p, as our tests have it: whole
from swarmd.node import lean

UNUSED = (
    "aioquic",
    "httpx",
    "requests",
    "rich",
    "ipfshttpclient",
    "textual",
    "fastapi",
    "opentelemetry",
    "web3",
)


def in_a_process(program: str):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_daemon_imports_nothing_that_it_does_not_use():
    found = in_a_process(
        "import json, sys\n"
        "from swarmd.node import lean\n"
        "installed = lean.install()\n"
        "from swarmd.node import up, daemon\n"
        "import libp2p\n"
        "real = libp2p.utils.encode_uvarint(1).hex()\n"  # a name that only the package's own __init__ gathers
        "again = lean.install()\n"
        "print(json.dumps([installed, real, again, sorted({m.partition('.')[0] for m in sys.modules})]))"
    )
    installed, real, again, modules = found
    assert (installed, real, again) == (True, "01", False)
    assert not set(UNUSED) & set(modules)
    assert "libp2p" in modules


def test_a_stand_in_says_what_it_is_when_it_is_used():
    message = in_a_process(
        "import json\n"
        "from swarmd.node import lean\n"
        "lean.install()\n"
        "from libp2p.discovery.mdns.mdns import MDNSDiscovery\n"
        "try:\n    MDNSDiscovery(1)\n"
        "except RuntimeError as error:\n    print(json.dumps(str(error)))"
    )
    assert "libp2p.discovery.mdns.mdns is a stand-in" in message


@pytest.mark.parametrize("module", lean.STAND_INS)
def test_what_stands_in_has_the_names_of_the_real_module(module):
    real = importlib.import_module(module)
    assert all(hasattr(real, name) for name in lean.STAND_INS[module])


def test_another_version_of_libp2p_is_imported_whole(monkeypatch):
    monkeypatch.setattr(lean, "version", lambda name: "0.9.0")
    for name in [name for name in sys.modules if name.partition(".")[0] == "libp2p"]:
        monkeypatch.delitem(sys.modules, name)
    before = list(sys.meta_path)
    assert lean.install() is False
    assert sys.meta_path == before
