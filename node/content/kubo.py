"""The content of this node in a kubo daemon: `[content] backend = "kubo"`.

Talks to kubo's HTTP API through `ipfshttpclient`, which is older than current kubo: docs/adr/0021-kubo-through-an-older-client.md
says which of its verbs fail, or are silently ignored, and what serves instead. Therefore no answer is believed: each CID
that kubo returns must be the one the bytes have, each block that it gives must hash to what was asked for.

Blocking, and safe to call from any thread: each has a connection of its own. The daemon calls it in worker threads.
"""

import io
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final

from swarmd.node.content.car import car_block, car_header
from swarmd.node.content.store import check_block, grouped, put_all
from swarmd.node.ports import Pin, Usage
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, RAW, cid_text, codec_of, is_cid, parse_cid, verify_block
from swarmd.protocol.faults import LocalFault, RemoteFault

# It is older than the urllib3 that it runs on. For the process: filters are not of one thread.
warnings.filterwarnings(
    "ignore", message="The 'strict' parameter is no longer needed", category=FutureWarning
)

DEFAULT_ADDR: Final = "/ip4/127.0.0.1/tcp/5001"
OLDEST: Final = (0, 18, 0)
TIMEOUT_S: Final = 60.0
# kubo drops what is not pinned when it collects garbage; blocks of one DAG are few groups.
GROUP_BYTES: Final = 8 * 1_048_576
GROUP_BLOCKS: Final = 4_096
_CHUNK_BYTES: Final = 1_048_576
_CODEC_NAMES: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor"}
# kubo keeps no time with a pin: it is in the pin's name.
_PIN_PREFIX: Final = "swarmd"


class KuboStore:
    """`ContentStore` in the kubo daemon whose HTTP API is at the multiaddr `addr`."""

    def __init__(self, addr: str = DEFAULT_ADDR, *, timeout_s: float = TIMEOUT_S) -> None:
        self.addr = addr
        # Late: requests and urllib3 come with it, and few nodes have a kubo.
        self._library: Any = import_module("ipfshttpclient")
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._clients: list[Any] = []
        self._lock = threading.Lock()
        self._corrupt: set[bytes] = set()

    # Health --------------------------------------------------------------------------------------------

    def version(self) -> str:
        """kubo's version. LocalFault `kubo-gone` if nothing answers, `kubo-too-old`."""
        found = str(self._call(lambda client: client.version())["Version"])
        numbers = tuple(int(part) for part in found.split("-")[0].split("."))
        if numbers < OLDEST:
            raise LocalFault(
                "kubo-too-old",
                f"kubo {found} at {self.addr}",
                fix=f"install kubo {'.'.join(map(str, OLDEST))} or later",
            )
        return found

    def peer_id(self) -> str:
        return str(self._call(lambda client: client.id())["ID"])

    def swarm_addrs(self) -> Sequence[str]:
        """Multiaddrs at which it is dialled by libp2p."""
        addrs: list[str] = self._call(lambda client: client.id())["Addresses"] or []
        return addrs

    # Blocks --------------------------------------------------------------------------------------------

    def put(self, cid: bytes, block: bytes) -> None:
        check_block(cid, block)
        # `mhtype` and `cid-codec` are options of today; the client's own `put` knows none.
        options = {"cid-codec": _CODEC_NAMES[codec_of(cid)], "mhtype": "sha2-256", "pin": "false"}
        answer = self._call(lambda client: client.block.put(io.BytesIO(block), opts=dict(options)))
        self._same(cid, answer["Key"])
        self._corrupt.discard(cid)

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        """In groups, as CARs: a request for each block would cost two milliseconds each."""
        return put_all(self.batch(), blocks)

    def batch(self) -> AbstractContextManager[Callable[[bytes, bytes], None]]:
        """A `put` for streams; see `grouped`."""
        return grouped(self._put_group, GROUP_BYTES, GROUP_BLOCKS)

    def _put_group(self, group: dict[bytes, bytes]) -> None:
        """One CAR, of which kubo hashes each block as it takes it; it answers with how many those were."""
        car = car_header(()) + b"".join(car_block(cid, block) for cid, block in group.items())
        options = {"pin-roots": "false", "stats": "true"}

        def send(client: Any) -> Any:
            # Not dag.imprt: it asserts that there is one root.
            body, headers = self._library.multipart.stream_files(io.BytesIO(car), chunk_size=_CHUNK_BYTES)
            return client._client.request(
                "/dag/import", decoder="json", data=body, headers=headers, opts=options
            )

        stats = [item["Stats"] for item in _items(self._call(send)) if item.get("Stats")]
        wanted = (len(group), sum(map(len, group.values())))
        taken = (int(stats[-1]["BlockCount"]), int(stats[-1]["BlockBytesCount"])) if stats else (0, 0)
        if taken != wanted:
            raise LocalFault(
                "kubo-wrong-cid",
                f"kubo took {taken[0]} blocks of {taken[1]} bytes, not {wanted[0]} of {wanted[1]}",
                fix="see kubo's log",
            )
        self._corrupt.difference_update(group)

    def get(self, cid: bytes) -> bytes | None:
        """The verified block if kubo has it here; it does not look for it elsewhere."""
        if not is_cid(cid):
            return None
        block = self._local_only(lambda client: client.block.get(cid_text(cid), opts={"offline": "true"}))
        if block is None:
            return None
        if not isinstance(block, bytes) or not verify_block(cid, block):
            self._corrupt.add(cid)
            return None
        return block

    def has(self, cid: bytes) -> bool:
        return self.size_of(cid) is not None

    def size_of(self, cid: bytes) -> int | None:
        if not is_cid(cid) or cid in self._corrupt:
            return None
        stat = self._local_only(lambda client: client.block.stat(cid_text(cid), opts={"offline": "true"}))
        return None if stat is None else int(stat["Size"])

    def delete(self, cid: bytes) -> bool:
        """LocalFault `kubo-refused` for a block that a pin of a DAG keeps: kubo does not let go of it."""
        if not self.has(cid):
            return False
        self.unpin(cid)
        answer = self._call(
            lambda client: client._client.request("/block/rm", (cid_text(cid),), decoder="json")
        )
        for item in _items(answer):
            if item.get("Error"):
                raise LocalFault("kubo-refused", str(item["Error"]), fix="unpin what holds it first")
        return True

    def cids(self) -> Iterator[bytes]:
        """kubo keeps blocks by their hash alone, so each comes as `raw`, whatever it is. `get` takes it as that."""
        for item in self._call(lambda client: client.unstable.refs.local()):
            try:
                yield parse_cid(str(item["Ref"]))
            except RemoteFault:
                continue  # of other software: another hash function, or version 0

    def sync(self) -> None:
        """Nothing to do: what kubo has answered is as durable as its datastore is set to (`Datastore.Spec`, `sync`)."""

    # Files ---------------------------------------------------------------------------------------------

    def add_file(self, stream: Any, expected: bytes) -> None:
        """Let kubo import a file by itself (256 KiB chunks, raw leaves); LocalFault `kubo-wrong-cid` unless its root is
        `expected`. Not pinned."""
        # As arguments: the client overwrites what of these stands in `opts`, without a word.
        answer = self._call(
            lambda client: client.add(
                stream, cid_version=1, raw_leaves=True, chunker="size-262144", pin=False
            )
        )
        self._same(expected, _items(answer)[-1]["Hash"])

    def cat(self, cid: bytes) -> Iterator[bytes]:
        """The bytes of a file as kubo puts them together. Unverified: read blocks where that matters."""
        with (
            self._faults(),
            self._client().cat(cid_text(cid), stream=True, opts={"offline": "true"}) as parts,
        ):
            yield from parts

    # Pins ----------------------------------------------------------------------------------------------

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Pin:
        at_s = int(time.time())
        options = {"name": f"{_PIN_PREFIX}/{at_s}/{name}", "offline": "true"}
        try:
            answer = self._call(
                lambda client: client.pin.add(cid_text(cid), recursive=recursive, opts=dict(options))
            )
        except LocalFault as fault:
            if "could not find" in fault.message or "not found" in fault.message:
                raise LocalFault(
                    "content-missing",
                    f"a block of {cid_text(cid)} is not here: {fault.message}",
                    fix="fetch or add the content first",
                ) from None
            raise
        self._same(cid, answer["Pins"][0])
        return Pin(cid, recursive, name, at_s)

    def unpin(self, cid: bytes) -> bool:
        for kind in (True, False):
            try:
                self._call(partial(_unpin, text=cid_text(cid), recursive=kind))
                return True
            except LocalFault as fault:
                if "not pinned" not in fault.message and "is pinned" not in fault.message:
                    raise
        return False

    def pins(self) -> Sequence[Pin]:
        """Those made here, oldest first; kubo's own and other programs' are theirs."""
        found = []
        for kind, recursive in (("recursive", True), ("direct", False)):
            answer = self._call(partial(_list_pins, kind=kind))
            for text, entry in (answer.get("Keys") or {}).items():
                prefix, _, rest = str(entry.get("Name", "")).partition("/")
                at_s, _, name = rest.partition("/")
                if prefix == _PIN_PREFIX and at_s.isdecimal():
                    found.append(Pin(parse_cid(text), recursive, name, int(at_s)))
        return sorted(found, key=lambda pin: (pin.at_s, pin.cid))

    def collect(self) -> int:
        """Let kubo drop what nothing pins; how many blocks went."""
        return len(_items(self._call(lambda client: client.repo.gc())))

    def usage(self) -> Usage:
        stat = self._call(lambda client: client.repo.stat())
        size = int(stat["RepoSize"])
        return Usage(
            blocks=int(stat["NumObjects"]),
            bytes=size,
            disk_bytes=size,
            max_bytes=int(stat["StorageMax"]),
            corrupt=len(self._corrupt),
            pins=len(self.pins()),
        )

    def close(self) -> None:
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()

    def __enter__(self) -> "KuboStore":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Asking --------------------------------------------------------------------------------------------

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            try:
                # Not connect(): it refuses every kubo since 0.8.
                client = self._library.Client(self.addr, session=True, timeout=self._timeout_s)
            except (self._library.exceptions.Error, ValueError) as error:
                raise LocalFault(
                    "bad-kubo-addr", f"{self.addr}: {error}", fix=f"a multiaddr like {DEFAULT_ADDR}"
                ) from None
            self._local.client = client
            with self._lock:
                self._clients.append(client)
        return client

    def _call(self, ask: Callable[[Any], Any]) -> Any:
        """What kubo answers, or a LocalFault as `_faults` has it."""
        with self._faults():
            return ask(self._client())

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """LocalFault `kubo-gone`, `kubo-slow`, or `kubo-refused` with kubo's own words."""
        try:
            yield
        except self._library.exceptions.ErrorResponse as error:
            raise LocalFault("kubo-refused", str(error)[:500], fix="see kubo's log") from None
        except self._library.exceptions.TimeoutError:
            raise LocalFault(
                "kubo-slow", f"kubo at {self.addr} said nothing for {self._timeout_s:g} s", fix="see its log"
            ) from None
        except self._library.exceptions.CommunicationError as error:
            raise LocalFault(
                "kubo-gone",
                f"no kubo answers at {self.addr} ({type(error).__name__})",
                fix="start it (ipfs daemon), or set kubo_addr of [content] to where its API is",
            ) from None
        except self._library.exceptions.Error as error:
            raise LocalFault(
                "kubo-refused", f"an answer of kubo: {error}"[:500], fix="see kubo's log"
            ) from None

    def _local_only(self, ask: Callable[[Any], Any]) -> Any:
        """As `_call`; None for a block that is not here."""
        try:
            return self._call(ask)
        except LocalFault as fault:
            if "not found" in fault.message or "could not find" in fault.message:
                return None
            raise

    def _same(self, cid: bytes, text: object) -> None:
        if _cid_of(text) != cid:
            raise LocalFault(
                "kubo-wrong-cid",
                f"kubo says {str(text)[:100]} of what is {cid_text(cid)}",
                fix="check kubo's version and its Import settings",
            )


def _unpin(client: Any, *, text: str, recursive: bool) -> Any:
    return client.pin.rm(text, recursive=recursive)


def _list_pins(client: Any, *, kind: str) -> Any:
    return client.pin.ls(type=kind, opts={"names": "true"})


def _cid_of(text: object) -> bytes | None:
    try:
        return parse_cid(str(text))
    except RemoteFault:
        return None


def _items(answer: Any) -> list[Any]:
    """An answer of one JSON document, or of a row of them."""
    return list(answer) if isinstance(answer, list | tuple) else [answer]
