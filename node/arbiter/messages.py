"""The few messages of etcd's v3 API that we speak: field names and numbers of its rpc.proto and kv.proto (3.4).

etcd ships no Python package of them. Fields that we have no use for are left out; protobuf skips them when it reads.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_PACKAGE = "swarmd.etcd"
_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"int64": _F.TYPE_INT64, "bytes": _F.TYPE_BYTES, "bool": _F.TYPE_BOOL, "string": _F.TYPE_STRING}

# message -> field -> (number, type); a star: repeated; enums are numbers on the wire like int64.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "KeyValue": {
        "key": (1, "bytes"), "create_revision": (2, "int64"), "mod_revision": (3, "int64"), "version": (4, "int64"),
        "value": (5, "bytes"), "lease": (6, "int64"),
    },
    "ResponseHeader": {"cluster_id": (1, "int64"), "member_id": (2, "int64"), "revision": (3, "int64")},
    "RangeRequest": {"key": (1, "bytes"), "range_end": (2, "bytes"), "limit": (3, "int64"), "count_only": (9, "bool")},
    "RangeResponse": {"kvs": (2, "KeyValue*"), "more": (3, "bool"), "count": (4, "int64")},
    "PutRequest": {"key": (1, "bytes"), "value": (2, "bytes"), "lease": (3, "int64")},
    "RequestOp": {"request_range": (1, "RangeRequest"), "request_put": (2, "PutRequest")},
    "ResponseOp": {"response_range": (1, "RangeResponse")},
    "Compare": {
        "result": (1, "int64"), "target": (2, "int64"), "key": (3, "bytes"), "create_revision": (5, "int64"),
        "mod_revision": (6, "int64"),
    },
    "TxnRequest": {"compare": (1, "Compare*"), "success": (2, "RequestOp*"), "failure": (3, "RequestOp*")},
    "TxnResponse": {"header": (1, "ResponseHeader"), "succeeded": (2, "bool"), "responses": (3, "ResponseOp*")},
    "LeaseGrantRequest": {"TTL": (1, "int64"), "ID": (2, "int64")},
    "LeaseGrantResponse": {"ID": (2, "int64"), "TTL": (3, "int64"), "error": (4, "string")},
    "StatusRequest": {},
    "StatusResponse": {
        "header": (1, "ResponseHeader"), "version": (2, "string"), "dbSize": (3, "int64"), "leader": (4, "int64"),
    },
}  # fmt: skip
EQUAL = 0
CREATE, MOD = 1, 2
# In a oneof a number that is 0 is written too, or etcd would not know which of them was meant.
_CHOICES = {
    "Compare": ("create_revision", "mod_revision"),
    "RequestOp": ("request_range", "request_put"),
    "ResponseOp": ("response_range",),
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="swarmd/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        choices = _CHOICES.get(name, ())
        if choices:
            message.oneof_decl.add(name="choice")
        for field, (number, kind) in fields.items():
            made = message.field.add(name=field, number=number, label=_F.LABEL_OPTIONAL)
            if kind.endswith("*"):
                made.label = _F.LABEL_REPEATED
            if scalar := _SCALARS.get(kind):
                made.type = scalar
            else:
                made.type = _F.TYPE_MESSAGE
                made.type_name = f".{_PACKAGE}.{kind.rstrip('*')}"
            if field in choices:
                made.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASS = _classes()


def make(name: str, **fields: Any) -> Message:
    """A message; nested ones are given as messages."""
    made: Message = _CLASS[name](**fields)
    return made


def parser(name: str) -> Any:
    """bytes -> message; raises protobuf's DecodeError."""
    return _CLASS[name].FromString
