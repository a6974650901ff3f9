"""The local socket: answers, events, pushes; and P10 for what a broken or rude local client does."""

import logging
import os
import random
import resource
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cbor2
import pytest
import trio
import trio.testing
from swarmd.node.transport import local
from swarmd.node.transport.local import LocalServer
from swarmd.node.transport.local_async import connect_local
from swarmd.node.transport.local_client import LocalClient
from swarmd.node.transport.local_wire import FrameReader, encode_message
from swarmd.protocol.faults import LocalFault


async def raw(path: Path) -> trio.SocketStream:
    return await trio.open_unix_socket(str(path))


async def answer(stream: trio.SocketStream) -> dict[str, Any]:
    frames = FrameReader()
    while True:
        data = await stream.receive_some()
        assert data, "closed without an answer"
        for body in frames.feed(data):
            return cbor2.loads(body)


async def read_to_end(stream: trio.SocketStream) -> bytes:
    got = b""
    try:
        while data := await stream.receive_some():
            got += data
    except trio.BrokenResourceError:
        pass
    return got


def frame(message: object) -> bytes:
    body = cbor2.dumps(message)
    return len(body).to_bytes(4, "big") + body


async def alive(path: Path) -> None:
    async with connect_local(path) as client:
        assert await client.call("echo", {"n": 1}) == {"n": 1}


async def test_answers_events_and_pushes(serve):
    async with serve() as (path, _, _):
        pushed = []
        async with connect_local(path, on_message=pushed.append) as client:
            assert await client.call("echo", {"text": "żółw", "big": 2**200, "neg": -(2**90)}) == {
                "text": "żółw",
                "big": 2**200,
                "neg": -(2**90),
            }
            assert [item async for item in client.stream("count", {"to": 3})] == [0, 1, 2, 3]
            await client.call("push")
            assert [message["job"]["number"] for message in pushed] == [0, 1, 2]


async def test_many_calls_in_flight_answer_out_of_order(serve):
    async with serve() as (path, ops, _):
        async with connect_local(path) as client:
            client.post("wait")
            await ops.entered.wait()
            calls = [client.post("echo", {"n": n}) for n in range(500)]
            for n, call in enumerate(calls):
                await call.done.wait()
                assert call.result() == {"n": n}


async def test_a_quiet_call_is_answered_only_if_it_fails(serve):
    async with serve() as (path, _, _):
        async with await raw(path) as stream:
            quiet = {"v": 1, "op": "echo", "args": {"n": 1}, "quiet": True}
            await stream.send_all(frame({**quiet, "id": 1}) + frame({**quiet, "id": 2, "op": "refuse"}))
            told = await answer(stream)
            assert (told["id"], told["ok"], told["error"]["code"]) == (2, False, "no-way")
            await stream.send_all(frame({**quiet, "id": 3}) + frame({**quiet, "id": 4, "quiet": False}))
            assert (await answer(stream))["id"] == 4
        async with connect_local(path) as client:
            client.tell("echo", {"n": 1})
            client.tell("refuse")
            assert await client.call("echo", {"n": 2}) == {"n": 2}
            with pytest.raises(LocalFault, match="cannot be sent"):
                client.tell("echo", {"n": object()})


async def test_faults_reach_the_caller_and_bugs_stay_inside(serve, caplog):
    async with serve() as (path, _, _):
        async with connect_local(path) as client:
            with pytest.raises(LocalFault) as caught:
                await client.call("refuse")
            assert (caught.value.code, caught.value.message, caught.value.fix) == (
                "no-way",
                "cannot be done",
                "do not",
            )
            with pytest.raises(LocalFault, match="unknown-op"):
                await client.call("nonsense")
            with caplog.at_level(logging.CRITICAL), pytest.raises(LocalFault, match="internal"):
                await client.call("bug")
            with pytest.raises(LocalFault, match="not-cbor"):
                await client.call("unsendable")
            assert await client.call("echo", {"still": "here"}) == {"still": "here"}


async def test_unknown_version_is_told_and_the_connection_lives(serve):
    async with serve() as (path, _, _):
        stream = await raw(path)
        async with stream:
            await stream.send_all(frame({"v": 2, "id": 1, "op": "echo", "args": {}}))
            assert (await answer(stream))["error"]["code"] == "unsupported-version"
            await stream.send_all(frame({"v": 1, "id": 2, "op": "echo", "args": {}}))
            assert await answer(stream) == {"id": 2, "ok": True, "result": {}}


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff" + b"GET / HTTP/1.1\r\n",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\xff",
        frame([1, 2]),
        frame({1: 2}),
        frame({"v": 1}),
        frame({"v": 1, "id": "x", "op": "echo"}),
        frame({"v": 1, "id": -1, "op": "echo"}),
        frame({"v": 1, "id": True, "op": "echo"}),
        frame({"v": 1, "id": 2**63, "op": "echo"}),
        frame({"v": 1, "id": 1, "op": 5}),
        frame({"v": 1, "id": 1, "op": "echo", "args": [1]}),
        frame({"v": 1, "id": 1, "op": "echo", "args": {b"k": 1}}),
        frame({"v": 1, "id": 1, "op": "echo", "args": {"a": cbor2.CBORTag(35, "(a+)+$")}}),
        frame({"v": 1, "id": 1, "op": "echo", "args": {"a": 2**300}}),
        b"\x00\x00\x00\x04\xd8\x1c\x81\xd8",
        b"\x00\x00\x00\x64" + b"\x81" * 99 + b"\x00",
        b"\x00\x00\x00\x03\xa0\xa0\xa0",
        b"\x00\x00\x00\x04\xbf\x61a\xff",
    ],
)
async def test_P10_garbage_gets_an_error_and_a_closed_connection(serve, data):
    async with serve() as (path, _, server):
        stream = await raw(path)
        async with stream:
            await stream.send_all(data)
            got = await read_to_end(stream)
            message = cbor2.loads(got[4:])
            assert message["id"] == 0 and message["error"]["code"] in ("bad-message", "message-too-big")
        await alive(path)


async def test_P10_random_bytes_never_end_the_server(serve):
    dice = random.Random(20260)
    good = frame({"v": 1, "id": 1, "op": "echo", "args": {"a": [1, "x", {"b": None}]}})
    async with serve() as (path, _, server):
        for _ in range(300):
            if dice.random() < 0.5:
                data = dice.randbytes(dice.randrange(1, 200))
            else:
                spoiled = bytearray(good * 2)
                for _ in range(dice.randrange(1, 4)):
                    spoiled[dice.randrange(len(spoiled))] = dice.randrange(256)
                data = bytes(spoiled[: dice.randrange(1, len(spoiled))])
            stream = await raw(path)
            async with stream:
                try:
                    await stream.send_all(data)
                    await stream.send_eof()
                except trio.BrokenResourceError:
                    pass
                await read_to_end(stream)
        await alive(path)


async def test_half_a_message_is_not_waited_for_ever(serve, monkeypatch):
    monkeypatch.setattr(local, "PARTIAL_TIMEOUT_S", 0.05)
    async with serve() as (path, _, _):
        stream = await raw(path)
        async with stream:
            await stream.send_all(frame({"v": 1, "id": 1, "op": "echo"})[:-2])
            assert cbor2.loads((await read_to_end(stream))[4:])["error"]["code"] == "half-message"


async def test_a_client_that_leaves_ends_its_calls(serve):
    async with serve() as (path, ops, _):
        async with connect_local(path) as client:
            client.post("wait")
            await ops.entered.wait()
        await ops.closed.wait()
        assert ops.cancelled == 1
        await alive(path)


async def test_a_client_that_does_not_read_is_cut_off(serve, monkeypatch, caplog):
    monkeypatch.setattr(local, "STALL_TIMEOUT_S", 0.2)
    async with serve() as (path, _, server):
        stream = await raw(path)
        async with stream:
            await stream.send_all(frame({"v": 1, "id": 1, "op": "flood", "args": {}}))
            with caplog.at_level(logging.CRITICAL):
                while server.connections:
                    await alive(path)  # others are served all the while
                    connection = next(iter(server._connections), None)
                    assert (
                        connection is None or connection._queued_bytes <= local.EMIT_WAIT_BYTES + 2 * 65_700
                    )
                    await trio.sleep(0.02)


async def test_pushes_to_a_client_that_does_not_read_are_bounded(serve, caplog):
    async with serve() as (path, _, server):
        stream = await raw(path)
        async with stream:
            await trio.testing.wait_all_tasks_blocked()
            (connection,) = server._connections
            with caplog.at_level(logging.CRITICAL):
                for _ in range(600):
                    connection.send({"job": b"x" * 100_000})
                    assert connection._queued_bytes <= local.MAX_QUEUED_BYTES + 100_100
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert connection.closed and not server.connections


async def test_too_many_calls_and_clients_are_told(serve, monkeypatch):
    monkeypatch.setattr(local, "MAX_CALLS_IN_FLIGHT", 2)
    monkeypatch.setattr(local, "MAX_CONNECTIONS", 1)
    async with serve() as (path, _, _):
        async with connect_local(path) as client:
            client.post("wait"), client.post("wait")
            with pytest.raises(LocalFault, match="busy"):
                await client.call("echo")
            async with connect_local(path) as second:
                with pytest.raises(LocalFault, match="too-many-clients"):
                    await second.call("echo")


async def test_a_large_message_passes_and_a_larger_one_is_refused(serve):
    async with serve() as (path, _, _):
        async with connect_local(path) as client:
            big = b"x" * (15 * 1_048_576)
            assert await client.call("echo", {"data": big}) == {"data": big}
            with pytest.raises(LocalFault, match="message-too-big"):
                await client.call("echo", {"data": big * 2})


async def test_twenty_clients_at_once(serve):
    async def one(path: Path, number: int) -> None:
        async with connect_local(path) as client:
            for n in range(50):
                assert await client.call("echo", {"n": n, "of": number}) == {"n": n, "of": number}

    async with serve() as (path, _, _):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, path, number)


async def test_the_socket_is_private_and_goes_with_the_server(serve):
    async with serve() as (path, _, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_second_daemon_is_refused_and_a_stale_socket_replaced(serve):
    async with serve() as (path, _, _):
        with pytest.raises(LocalFault, match="already-running"):
            await LocalServer(path, lambda call: None).run()
        await alive(path)
    # A socket that a killed process left.
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert path.exists()
    async with serve(path):
        await alive(path)


async def test_a_foreign_listener_or_file_is_left_alone(serve, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "a.sock"))
        other.listen()
        with pytest.raises(LocalFault, match="already-running"):
            await LocalServer(folder / "a.sock", lambda call: None).run()
    (folder / "b.sock").write_text("mine")
    with pytest.raises(LocalFault, match="socket-path-taken"):
        await LocalServer(folder / "b.sock", lambda call: None).run()
    assert (folder / "b.sock").read_text() == "mine"
    folder.chmod(0o755)
    with pytest.raises(LocalFault, match="open to other users"):
        await LocalServer(folder / "c.sock", lambda call: None).run()


@pytest.mark.skipif(sys.platform != "linux", reason="reached through /proc")
async def test_a_path_longer_than_the_system_allows(serve, tmp_path):
    path = tmp_path / ("d" * 100) / ("e" * 100) / "swarmd.sock"
    path.parent.parent.mkdir()
    async with serve(path):
        await alive(path)
        with await trio.to_thread.run_sync(LocalClient, path) as client:
            assert await trio.to_thread.run_sync(client.call, "echo", {"a": 1}) == {"a": 1}
    with pytest.raises(LocalFault, match="daemon-not-running"):
        LocalClient(path)


async def test_the_synchronous_client(serve):
    def talk(path: Path) -> None:
        with LocalClient(path, timeout_s=5) as client:
            assert client.call("echo", {"a": 1}) == {"a": 1}
            assert list(client.stream("count", {"to": 2})) == [0, 1, 2]
            with pytest.raises(LocalFault) as caught:
                client.call("refuse")
            assert caught.value.fix == "do not"
            events = client.stream("count", {"to": 5})
            assert next(events) == 0
            events.close()  # the rest of an abandoned stream is skipped
            assert client.call("echo", {"b": 2}) == {"b": 2}
        with LocalClient(path, timeout_s=0.05) as client, pytest.raises(LocalFault, match="daemon-timeout"):
            client.call("wait")

    async with serve() as (path, _, _):
        await trio.to_thread.run_sync(talk, path)


def test_no_daemon_is_a_clear_fault_with_the_fix(tmp_path):
    with pytest.raises(LocalFault) as caught:
        LocalClient(tmp_path / "none.sock")
    assert caught.value.code == "daemon-not-running" and "swarmd up" in caught.value.fix


def test_a_server_that_dies_or_babbles_is_a_fault(tmp_path):
    def serve_once(listener: socket.socket, reply: bytes) -> None:
        client, _ = listener.accept()
        client.recv(65_536)
        client.sendall(reply)
        client.close()

    for number, (reply, words) in enumerate(
        [
            (b"", "closed"),
            (b"HTTP/1.1 400", "protocol"),
            (encode_message({"id": 1, "ok": True})[:-1], "closed"),
        ]
    ):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / f"{number}.sock"))
            listener.listen()
            server = threading.Thread(target=serve_once, args=(listener, reply))
            server.start()
            with LocalClient(tmp_path / f"{number}.sock", timeout_s=5) as client:
                with pytest.raises(LocalFault, match=f"daemon-gone.*{words}"):
                    client.call("echo")
            server.join()


def test_the_cli_client_loads_nothing_slow():
    code = "import sys, swarmd.node.transport.local_client; print(sorted({'trio','libp2p','web3','asyncio'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert run.stdout.strip() == "[]"


async def test_the_daemon_survives_file_descriptors_running_out(serve, caplog):
    async with serve() as (path, _, server):
        stream = socket.socket(socket.AF_UNIX)
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, hard))
        try:
            stream.connect(str(path))
            while "cannot accept" not in caplog.text:  # noqa: ASYNC110
                await trio.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            stream.close()
            os.close(lowest_free)
        await alive(path)
