"""Calls, results, events and custom errors of a contract, encoded by its ABI. Imports eth_abi: worker thread only."""

from collections.abc import Mapping, Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from swarmd.contracts import Artifact


def checksum(address: bytes) -> str:
    """The EIP-55 text of a 20-byte address."""
    return str(to_checksum_address(address))


def _type_of(field: Mapping[str, Any]) -> str:
    """The canonical type: a struct is the tuple of its fields."""
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type_of, field['components']))}){kind.removeprefix('tuple')}"


class ContractCodec:
    """The ABI of one contract, indexed by name and by selector. No overloads: our contracts have none."""

    def __init__(self, artifact: Artifact) -> None:
        self._constructor: list[str] = []
        self._inputs: dict[str, list[str]] = {}
        self._outputs: dict[str, list[str]] = {}
        self._selectors: dict[str, bytes] = {}
        self._errors: dict[bytes, tuple[str, list[str]]] = {}
        self._names: dict[bytes, str] = {}
        self._topics: dict[str, bytes] = {}
        self._events: dict[str, Sequence[Mapping[str, Any]]] = {}
        for item in artifact.abi:
            kind, name = item["type"], item.get("name", "")
            types = [_type_of(field) for field in item.get("inputs", ())]
            if kind == "constructor":
                self._constructor = types
                continue
            digest = keccak(text=f"{name}({','.join(types)})")
            if kind == "function":
                self._inputs[name] = types
                self._outputs[name] = [_type_of(field) for field in item["outputs"]]
                self._selectors[name] = digest[:4]
            elif kind == "error":
                self._errors[digest[:4]] = (name, types)
            elif kind == "event":
                self._topics[name] = digest
                self._events[name] = item["inputs"]
                self._names[digest] = name

    def encode_constructor(self, *arguments: object) -> bytes:
        """What follows the creation code in a deployment."""
        return encode(self._constructor, arguments)

    def encode_call(self, name: str, *arguments: object) -> bytes:
        return self._selectors[name] + encode(self._inputs[name], arguments)

    def decode_result(self, name: str, data: bytes) -> tuple[Any, ...]:
        return tuple(decode(self._outputs[name], data))

    def decode_error(self, data: bytes) -> tuple[str, tuple[Any, ...]]:
        """Name and arguments of a custom error; ("", ()) for anything else."""
        name, types = self._errors.get(data[:4], ("", []))
        return name, tuple(decode(types, data[4:])) if name else ()

    def event_of(self, topics: Sequence[bytes]) -> str:
        """The name of the event with this first topic, "" if the contract has none such."""
        return self._names.get(topics[0], "") if topics else ""

    def topic(self, name: str) -> bytes:
        """The first topic of the event `name`."""
        return self._topics[name]

    def decode_event(self, name: str, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """The event's fields by name. `topics` and `data` are those of a log whose first topic is the event's."""
        fields = self._events[name]
        indexed = [field for field in fields if field["indexed"]]
        plain = [field for field in fields if not field["indexed"]]
        values = {
            field["name"]: decode([field["type"]], topic)[0]
            for field, topic in zip(indexed, topics[1:], strict=True)
        }
        in_data = decode([field["type"] for field in plain], data)
        return values | {field["name"]: value for field, value in zip(plain, in_data, strict=True)}
