"""NATS JetStream's work queue, etcd's compare-and-set, Python workers: the parts that a user would put together.

    driver: input -> key-value bucket; {id, ref} -> stream NEEDS (work queue, file storage), acknowledged by the server
    worker: takes it from the queue, reads the input by its reference, works; with a verifier the result goes to a second
            queue, whose worker runs it again and compares
    the last: records the result in etcd unless one is on record (compare-and-set), tells the driver, acknowledges

Under asyncio, as nats-py is: this is what its users run (docs/adr/0038-peers-in-environments-of-their-own.md).
"""

import asyncio
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from swarmd.node.arbiter.messages import CREATE, EQUAL, make, parser
from swarmd.node.bench.peers import driver
from swarmd.node.bench.peers.work import payload, work

WORK, VERIFY = "needs.work", "needs.verify"
DONE = "done"
_ACK_WAIT_S = 60.0
_PAGE = 500
_MOST_PENDING = 1_024


class Etcd:
    """Two calls of etcd's gRPC API, over grpc.aio."""

    def __init__(self, url: str) -> None:
        import grpc  # type: ignore[import-untyped]

        self._channel = grpc.aio.insecure_channel(url.removeprefix("http://"))
        self._txn = self._channel.unary_unary(
            "/etcdserverpb.KV/Txn", response_deserializer=parser("TxnResponse")
        )
        self._range = self._channel.unary_unary(
            "/etcdserverpb.KV/Range", response_deserializer=parser("RangeResponse")
        )

    async def record(self, key: bytes, value: bytes) -> None:
        """Put it unless something is there."""
        compare = make("Compare", result=EQUAL, target=CREATE, key=key, create_revision=0)
        put = make("RequestOp", request_put=make("PutRequest", key=key, value=value))
        await self._txn(make("TxnRequest", compare=[compare], success=[put]).SerializeToString())

    async def get(self, key: bytes) -> bytes | None:
        found = await self._range(make("RangeRequest", key=key).SerializeToString())
        return bytes(found.kvs[0].value) if found.kvs else None


def key_of(number: int) -> bytes:
    return b"/needs/%d" % number


class NatsDriver:
    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        import nats

        self._etcd = Etcd(self._settings["etcd"])
        self._nats = await nats.connect(self._settings["nats"])
        self._stream = self._nats.jetstream()
        self._inputs = await self._stream.key_value("inputs")

        async def heard(message: Any) -> None:
            said = json.loads(message.data)
            waiting = self._waiting.pop(said["id"], None)  # a message that came twice says it twice
            if waiting is not None:
                waiting.set_result(said["result"])

        await self._nats.subscribe(DONE, cb=heard)

    def run(self, numbers: Iterable[int], into: driver.Run) -> None:
        left = iter(numbers)

        async def post_some() -> None:
            for number in left:
                into.posted(number)
                ref = f"input-{number}"
                await self._inputs.put(ref, payload(number, self._settings["payload_bytes"]).encode())
                result = self._waiting[number] = self._loop.create_future()
                # A worker may be done before the server's acknowledgement is here.
                await self._stream.publish(WORK, json.dumps({"id": number, "ref": ref}).encode())
                into.done(number, await result)

        async def all_of_them() -> None:
            await asyncio.gather(*(post_some() for _ in range(self._settings["window"])))

        self._loop.run_until_complete(all_of_them())

    def stored(self, numbers: Iterable[int]) -> Mapping[int, Any]:
        async def read() -> dict[int, Any]:
            found = {number: await self._etcd.get(key_of(number)) for number in numbers}
            return {number: json.loads(value) for number, value in found.items() if value is not None}

        return self._loop.run_until_complete(read())


async def serve_queue(settings: Mapping[str, Any]) -> None:
    """A worker process: both queues, as many messages at a time as come."""
    import nats
    from nats.js.api import ConsumerConfig

    connection = await nats.connect(settings["nats"])
    stream = connection.jetstream()
    inputs = await stream.key_value("inputs")
    etcd = Etcd(settings["etcd"])
    under_way: set[asyncio.Task[None]] = set()

    async def finish(message: Any, number: int, result: Any) -> None:
        await etcd.record(key_of(number), json.dumps(result).encode())
        await connection.publish(DONE, json.dumps({"id": number, "result": result}).encode())
        await message.ack()

    async def do_work(message: Any) -> None:
        need = json.loads(message.data)
        entry = await inputs.get(need["ref"])
        result = work((entry.value or b"").decode())
        if settings["verified"]:
            await stream.publish(VERIFY, json.dumps({**need, "result": result}).encode())
            await message.ack()
        else:
            await finish(message, need["id"], result)

    async def do_verify(message: Any) -> None:
        need = json.loads(message.data)
        entry = await inputs.get(need["ref"])
        again = work((entry.value or b"").decode())
        await finish(message, need["id"], need["result"] if again == need["result"] else {"rejected": True})

    for subject, does in ((WORK, do_work), (VERIFY, do_verify)):
        name = subject.replace(".", "-")

        async def taken(message: Any, does: Any = does) -> None:
            task = asyncio.create_task(does(message))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

        # A push consumer with a queue group: nats-py's pull does more messages for each fetch.
        config = ConsumerConfig(ack_wait=_ACK_WAIT_S, max_ack_pending=_MOST_PENDING)
        await stream.subscribe(subject, queue=name, durable=name, cb=taken, manual_ack=True, config=config)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def make_stream(settings: Mapping[str, Any]) -> None:
    """The stream and the bucket, before anybody else comes."""
    import nats
    from nats.js.api import KeyValueConfig, RetentionPolicy, StorageType, StreamConfig

    connection = await nats.connect(settings["nats"])
    stream = connection.jetstream()
    await stream.add_stream(
        StreamConfig(
            "NEEDS", subjects=["needs.>"], retention=RetentionPolicy.WORK_QUEUE, storage=StorageType.FILE
        )
    )
    await stream.create_key_value(KeyValueConfig("inputs", storage=StorageType.FILE))
    await connection.close()
    print("ready", flush=True)


if __name__ == "__main__":
    ROLES = {"worker": serve_queue, "stream": make_stream}
    if len(sys.argv) == 3:
        asyncio.run(ROLES[sys.argv[2]](json.loads(sys.argv[1])))
    else:
        driver.serve(NatsDriver)
