"""What a service manager wants to hear: systemd's notify protocol, one datagram (`man sd_notify`)."""

import os
import socket


def tell_service_manager(message: str) -> None:
    """Send `message` (READY=1) to whoever started us with NOTIFY_SOCKET; nothing if nobody did."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    name = "\0" + address[1:] if address[0] == "@" else address  # @: Linux's abstract namespace
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(message.encode(), name)
        except OSError:
            pass  # nobody listens any more: no reason to stop
