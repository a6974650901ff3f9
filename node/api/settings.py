"""What the HTTP API is told, and what it refuses to be told."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swarmd.protocol.faults import LocalFault

DEFAULT_PORT = 4280
LOOPBACK_NAMES = frozenset(("localhost", "localhost.localdomain", "ip6-localhost"))


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Times in seconds, sizes in bytes. Port 0: DEFAULT_PORT, or any free one where that is taken."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: str = ""
    tls_key: str = ""
    hosts: Sequence[str] = ()  # names, beside the address itself, that a Host header may have
    cors_origins: Sequence[str] = ()
    rate_per_s: float = 500.0  # requests of one token
    max_body_bytes: int = 1_048_576
    max_upload_bytes: int = 64 * 1_048_576

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert and self.tls_key)

    def check(self) -> None:
        """LocalFault `bad-config` for what would be unsafe or cannot work; the daemon is not to start with it."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise LocalFault(
                "bad-config",
                "api_tls_cert and api_tls_key belong together",
                fix="set both, to PEM files, or neither",
            )
        if not is_loopback(self.host) and not self.tls:
            raise LocalFault(
                "bad-config",
                f"api_host = {self.host} can be reached from elsewhere, and there is no TLS: tokens would be readable",
                fix="set api_tls_cert and api_tls_key, or api_host = 127.0.0.1 behind a tunnel or proxy with TLS",
            )
        for name, file in (("api_tls_cert", self.tls_cert), ("api_tls_key", self.tls_key)):
            if file and not os.access(Path(file).expanduser(), os.R_OK):
                raise LocalFault(
                    "bad-config", f"{name} = {file} cannot be read", fix="name a readable PEM file"
                )
        for origin in self.cors_origins:
            scheme, _, host = origin.partition("://")
            if scheme not in ("http", "https") or not host or "/" in host or "*" in host:
                raise LocalFault(
                    "bad-config",
                    f"api_cors_origins: {origin!r} is no origin",
                    fix="write each as https://host or https://host:port; a * would let every page in",
                )


def is_loopback(host: str) -> bool:
    """Whether only this host can reach it. A name other than localhost may resolve to anything: False."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
