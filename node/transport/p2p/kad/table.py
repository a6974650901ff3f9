"""The routing table: whom of the mesh we know, thinning out with distance (Maymounkov and Mazieres, 2002).

Pure. A contact gets in only after it proved its identity to us and spoke our protocol; one that answers is
never pushed out by a new one; and a bucket takes few of one global network, so that whoever makes keys by the
thousand on a few machines cannot surround us.
"""

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha256

from swarmd.bootstrap.addresses import ip_of, is_relayed

BUCKET_SIZE = 20
KEY_BITS = 256
MAX_PER_NETWORK = 4
_PREFIX_BITS = {4: 24, 6: 48}


def key_of(peer_id: bytes) -> int:
    """Where a peer id, or any other target, is in the space of keys."""
    return int.from_bytes(sha256(peer_id).digest(), "big")


@dataclass(frozen=True, slots=True)
class Contact:
    """`peer_id` as bytes (multihash); `addrs` are dialable multiaddrs."""

    peer_id: bytes
    addrs: tuple[str, ...]

    @property
    def key(self) -> int:
        return key_of(self.peer_id)

    def network(self) -> str:
        """The global network it is in; "" for local ones, names and relayed peers, which are not counted."""
        for addr in self.addrs:
            ip = ip_of(addr)
            if ip is not None and ip.is_global and not is_relayed(addr):
                return str(ipaddress.ip_network(f"{ip}/{_PREFIX_BITS[ip.version]}", strict=False))
        return ""


class RoutingTable:
    """`alive` says whether a contact is connected now."""

    def __init__(self, own_id: bytes, alive: Callable[[bytes], bool]) -> None:
        self._own_id = own_id
        self._own_key = key_of(own_id)
        self._alive = alive
        self._buckets: dict[int, dict[bytes, Contact]] = {}  # shared prefix bits -> contacts, oldest first

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def __contains__(self, peer_id: bytes) -> bool:
        return peer_id in self._bucket(key_of(peer_id))

    def _bucket(self, key: int) -> dict[bytes, Contact]:
        return self._buckets.setdefault(KEY_BITS - (self._own_key ^ key).bit_length(), {})

    def add(self, contact: Contact) -> bool:
        """Take in a contact that just proved itself; False if there is no place for it."""
        if contact.peer_id == self._own_id or not contact.addrs:
            return False
        bucket = self._bucket(contact.key)
        known = bucket.pop(contact.peer_id, None)
        if known is None:
            network = contact.network()
            if network and sum(each.network() == network for each in bucket.values()) >= MAX_PER_NETWORK:
                return False
            if len(bucket) >= BUCKET_SIZE:
                silent = next((peer for peer in bucket if not self._alive(peer)), None)
                if silent is None:
                    return False
                del bucket[silent]
        bucket[contact.peer_id] = contact
        return True

    def remove(self, peer_id: bytes) -> None:
        self._bucket(key_of(peer_id)).pop(peer_id, None)

    def closest(self, target: int, count: int, without: Collection[bytes] = ()) -> list[Contact]:
        """Up to `count` contacts, nearest to `target` first."""
        found = [
            contact
            for bucket in self._buckets.values()
            for peer_id, contact in bucket.items()
            if peer_id not in without
        ]
        found.sort(key=lambda contact: contact.key ^ target)
        return found[:count]

    def depth(self) -> int:
        """The most prefix bits that a contact shares with us."""
        return max((shared for shared, bucket in self._buckets.items() if bucket), default=0)
