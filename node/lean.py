"""libp2p without what swarmd does not use of it: a third less to import, and 16 MB less of memory.

libp2p 0.8.1 imports all of itself for any part: QUIC, WebSocket, mDNS, UPnP and certificates from ACME, and with them
aioquic, httpx, requests and rich. Three things keep that out of a daemon's process: what a package's `__init__` gathers
is gathered when somebody asks the package for it; modules that are only ever named, in annotations and behind settings
that are off, are stand-ins; and dnspython does without DNS over QUIC and HTTPS.

`install` is for the process of a daemon, before anything else imports libp2p. docs/adr/0039-a-start-does-less.md.
"""

import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from typing import Any

# What was read against: another version may use what is a stand-in here, and is imported whole.
LIBP2P_VERSION = "0.8.1"
# Module -> the names that others import from it.
STAND_INS: dict[str, tuple[str, ...]] = {
    "libp2p.discovery.bootstrap.bootstrap": ("BootstrapDiscovery",),
    "libp2p.discovery.mdns.mdns": ("MDNSDiscovery", "create_mdns_discovery"),
    "libp2p.discovery.upnp.upnp": ("UpnpManager",),
    "libp2p.security.tls.autotls.acme": ("ACMEClient", "compute_b36_peer_id"),
    "libp2p.security.tls.autotls.broker": ("BrokerClient",),
    "libp2p.transport.quic.config": ("QUICTransportConfig",),
    "libp2p.transport.quic.stream": ("QUICStream",),
}


class _Package(types.ModuleType):
    """A package whose `__init__` runs when somebody asks for a name that is not there."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        loader = spec.loader if spec is not None else None
        if isinstance(loader, _PackageLoader) and not (name.startswith("__") or loader.ran):
            loader.ran = True
            loader.real.exec_module(self)
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _PackageLoader(Loader):
    def __init__(self, real: Loader) -> None:
        self.real = real
        self.ran = False

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Later, or never."""


class _StandIn(Loader):
    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        for name in STAND_INS[module.__name__]:
            setattr(module, name, type(name, (_Unused,), {"__module__": module.__name__}))


class _Unused:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"{type(self).__module__} is a stand-in: swarmd does not use it")


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "libp2p":
            return None
        if fullname in STAND_INS:
            return ModuleSpec(fullname, _StandIn())
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        # Generated code registers itself when its package is imported.
        if spec is None or spec.loader is None or not spec.submodule_search_locations or ".pb" in fullname:
            return spec
        spec.loader = _PackageLoader(spec.loader)
        return spec


def install() -> bool:
    """From now on this process imports of libp2p only what is used. False, and nothing is changed, if libp2p is here
    already or is not the version that this was made for."""
    if "libp2p" in sys.modules or version("libp2p") != LIBP2P_VERSION:
        return False
    _do_without_dns_over_https()
    sys.meta_path.insert(0, _Finder())
    return True


def _do_without_dns_over_https() -> None:
    """dnspython imports httpx and aioquic where they are installed. It has no public switch for that: where this one
    is gone, they are imported."""
    try:
        from dns._features import force
    except ImportError:
        return
    for feature in ("doq", "doh"):
        force(feature, False)
