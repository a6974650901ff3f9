"""Who says that it has what: provider records of the DHT, for a time and within bounds. Pure.

A key is the multihash of a CID, as in libp2p's kad-dht, whatever its codec. Only a peer itself says what it has. When the
book is full, who has most in it makes way: one peer that announces without end pushes out its own.
"""

from collections import OrderedDict
from collections.abc import Callable

from swarmd.node.transport.p2p.kad.table import Contact

RECORD_TTL_S = 48 * 3_600.0  # of kad-dht's specification
MAX_PROVIDERS_PER_KEY = 32
MAX_RECORDS_PER_PEER = 16_384
MAX_RECORDS = 131_072
# sha2-256 only: no content of a mesh has another hash.
_PREFIX = b"\x12\x20"
_KEY_BYTES = 34

Records = OrderedDict[bytes, tuple[Contact, float]]  # peer -> (contact, until), oldest first
_NONE: Records = OrderedDict()


def is_content_key(key: bytes) -> bool:
    return len(key) == _KEY_BYTES and key.startswith(_PREFIX)


class ProviderBook:
    """Records by key. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._keys: dict[bytes, Records] = {}
        self._of_peer: dict[bytes, OrderedDict[bytes, None]] = {}
        self.records = 0

    def add(self, key: bytes, provider: Contact) -> None:
        """`provider` has `key`, it says."""
        peer_id = provider.peer_id
        if peer_id in self._keys.get(key, ()):
            self._remove(key, peer_id)
        if len(of_key := self._keys.get(key, _NONE)) >= MAX_PROVIDERS_PER_KEY:
            self._remove(key, next(iter(of_key)))
        if len(of_peer := self._of_peer.get(peer_id, ())) >= MAX_RECORDS_PER_PEER:
            self._remove(next(iter(of_peer)), peer_id)
        if self.records >= MAX_RECORDS:
            self._make_room()
        self._keys.setdefault(key, OrderedDict())[peer_id] = (provider, self._clock() + RECORD_TTL_S)
        self._of_peer.setdefault(peer_id, OrderedDict())[key] = None
        self.records += 1

    def of(self, key: bytes) -> list[Contact]:
        """Who said so lately, the latest first."""
        now_s = self._clock()
        late = [peer_id for peer_id, (_, until_s) in self._keys.get(key, _NONE).items() if until_s <= now_s]
        for peer_id in late:
            self._remove(key, peer_id)
        return [contact for contact, _ in reversed(self._keys.get(key, _NONE).values())]

    def expire(self) -> None:
        """Forget what is too old."""
        for key in list(self._keys):
            self.of(key)

    def __len__(self) -> int:
        return len(self._keys)

    def _make_room(self) -> None:
        largest = max(self._of_peer, key=lambda peer_id: len(self._of_peer[peer_id]))
        self._remove(next(iter(self._of_peer[largest])), largest)

    def _remove(self, key: bytes, peer_id: bytes) -> None:
        del self._keys[key][peer_id]
        if not self._keys[key]:
            del self._keys[key]
        del self._of_peer[peer_id][key]
        if not self._of_peer[peer_id]:
            del self._of_peer[peer_id]
        self.records -= 1
