"""Command agents: real processes that work, crash, hang, babble, hoard and hide."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# In the environment of processes that must not outlive their job; unlike that of any other test run.
MARK = f"m{os.getpid()}-{time.time_ns()}"
ECHO = "import json,sys; json.dump(json.load(sys.stdin.buffer), sys.stdout)"


async def test_a_job_goes_in_as_json_and_its_answer_comes_back(hosting, command, job):
    async with hosting() as h:
        h.agents.registry.add(command(python=ECHO))
        result = await h.agents.run_job(job(text="zażółć 🎈\n\x00", n=2**70, purpose="verify"))
        assert result.error is None
        assert result.output == {
            "need": "need",
            "task": "task",
            "capability": "t.x",
            "input": {"text": "zażółć 🎈\n\x00", "n": 2**70},
            "purpose": "verify",
        }
        assert result.telemetry["wall_ms"] > 0 and result.telemetry["output_bytes"] > 50
        # The launcher is small, so an agent does not appear to have the daemon's memory.
        assert 1_000 < result.telemetry["max_rss_kb"] < 40_000


@pytest.mark.parametrize(
    ("shell", "code", "words"),
    [
        ("echo boom >&2; exit 3", "crashed", "exit status 3\nboom"),
        ("kill -SEGV $$", "crashed", "SIGSEGV"),
        ("kill -KILL $$", "out-of-memory", "SIGKILL"),
        ("cat >/dev/null", "bad-output", "no JSON value"),
        ("echo hello", "bad-output", "not one JSON value"),
        ("echo '{} {}'", "bad-output", "Extra data"),
        ("""echo '{"a":1,"a":2}'""", "bad-output", "duplicate key"),
        ("echo '[NaN]'", "bad-output", "NaN"),
        ("echo '1e999'", "bad-output", "double"),
        ("printf '\\377'", "bad-output", "UTF-8"),
        ("printf '[%.0s' $(seq 65); printf ']%.0s' $(seq 65)", "bad-output", "nested"),
        ("head -c 2000 /dev/zero", "output-too-big", "more than 1000 bytes"),
        ("echo '{}'; exit 1", "crashed", "exit status 1"),
    ],
)
async def test_what_goes_wrong_has_a_code_and_a_reason(hosting, command, job, shell, code, words):
    async with hosting() as h:
        h.agents.registry.add(command(shell, output_limit_bytes=1_000))
        result = await h.agents.run_job(job())
        assert (result.error, result.output) == (code, None)
        assert words in result.detail


async def test_a_hanging_agent_is_killed_at_its_time_limit(hosting, command, job):
    async with hosting() as h:
        h.agents.registry.add(command("trap '' TERM INT; sleep 60", timeout_s=0.3))
        started = time.monotonic()
        result = await h.agents.run_job(job())
        assert result.error == "timeout" and 300 <= result.telemetry["wall_ms"] < 3_000
        assert time.monotonic() - started < 3


async def test_a_gigabyte_of_output_is_stopped_early_and_not_kept(hosting, command, job, rss_kb):
    async with hosting() as h:
        h.agents.registry.add(command("yes | head -c 1G", output_limit_bytes=4 * 1_048_576))
        before = rss_kb()
        result = await h.agents.run_job(job())
        assert result.error == "output-too-big"
        assert result.telemetry["output_bytes"] < 5 * 1_048_576
        assert rss_kb() - before < 24_000


async def test_endless_stderr_is_drained_and_its_end_kept(hosting, command, job, rss_kb):
    async with hosting() as h:
        h.agents.registry.add(command("yes | head -c 200M >&2; echo the end >&2; echo 1", name="loud"))
        before = rss_kb()
        result = await h.agents.run_job(job())
        assert (result.error, result.output) == (None, 1)
        assert result.detail.endswith("the end") and len(result.detail) < 3_000
        assert len(h.agents.runner.last_stderr("loud")) == 65_536
        assert rss_kb() - before < 16_000


async def test_a_memory_bomb_meets_its_limit(hosting, command, job):
    async with hosting() as h:
        h.agents.registry.add(command(python="x = []\nwhile True: x.append(bytes(1 << 20))", memory_mb=96))
        result = await h.agents.run_job(job())
        assert result.error == "out-of-memory" and "96 MB" in result.detail
        assert result.telemetry["max_rss_kb"] < 100_000


@pytest.mark.parametrize("how", ["sleep 60 &", "setsid sleep 60 &", "(setsid sh -c 'sleep 60 & sleep 60' &)"])
@pytest.mark.parametrize("end", ["echo 1", "sleep 60"])
async def test_no_grandchild_outlives_its_job(hosting, command, job, how, end):
    async with hosting() as h:
        h.agents.registry.add(command(f"{how}\n{end}", timeout_s=0.4, env=(("SWARMD_TEST_MARK", MARK),)))
        result = await h.agents.run_job(job())
        assert result.error == (None if end == "echo 1" else "timeout")
        assert not marked()


def marked() -> list[int]:
    """Living processes that got our mark in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if f"SWARMD_TEST_MARK={MARK}".encode() in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
            except OSError:
                pass
    return found


async def test_a_cancelled_job_kills_its_agent_and_leaves_nothing(hosting, command, job):
    async with hosting() as h:
        h.agents.registry.add(command("echo x > file; sleep 60", env=(("SWARMD_TEST_MARK", MARK),)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(h.agents.run_job, job())
            with trio.fail_after(5):
                while not list(h.scratch.glob("*/file")):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert not marked()
        assert not list(h.scratch.iterdir())


async def test_the_environment_is_clean_and_the_folder_private(hosting, command, job, monkeypatch):
    monkeypatch.setenv("SWARMD_KEY_PASSPHRASE", "secret")
    show = """
import json, os, resource, stat
with open("left.txt", "w") as f: f.write("x")
os.mkdir("locked"); open("locked/f", "w").close(); os.chmod("locked", 0)
status = open("/proc/self/status").read()
json.dump({
    "env": dict(os.environ), "cwd": os.getcwd(), "mode": stat.S_IMODE(os.stat(".").st_mode),
    "fds": os.listdir("/proc/self/fd"), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "as": resource.getrlimit(resource.RLIMIT_AS), "nnp": "NoNewPrivs:\\t1" in status,
    "sid": os.getsid(0) == os.getpid(),
}, open(1, "w"))
"""
    async with hosting() as h:
        h.agents.registry.add(command(python=show, env=(("API_KEY", "k"),), memory_mb=200))
        found = (await h.agents.run_job(job())).output
        env = found["env"]
        assert env.pop("API_KEY") == "k" and env["HOME"] == env["TMPDIR"] == found["cwd"]
        assert set(env) - {"LC_CTYPE"} == {"PATH", "HOME", "TMPDIR", "LANG", "SWARMD_JOB"}
        assert Path(found["cwd"]).parent == h.scratch and found["mode"] == 0o700
        assert len(found["fds"]) <= 5  # 0, 1, 2, the listing itself and nothing of the daemon's
        assert found["core"] == [0, 0] and found["as"] == [200 * 1_048_576] * 2
        assert found["nnp"] and found["sid"]
        assert not list(h.scratch.iterdir())


async def test_a_huge_input_and_an_agent_that_does_not_read_it(hosting, command, job):
    async with hosting() as h:
        count = "import json,sys; print(len(json.load(sys.stdin.buffer)['input']['text']))"
        h.agents.registry.add(command(python=count, cap="t.len"))
        h.agents.registry.add(command("echo 5", cap="t.deaf"))
        text = "ż" * 3_000_000
        assert (await h.agents.run_job(job("t.len", text=text))).output == 3_000_000
        assert (await h.agents.run_job(job("t.deaf", text=text))).output == 5


async def test_a_program_that_vanished_cannot_be_started_and_rests(hosting, command, job, tmp_path):
    program = tmp_path / "gone"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    async with hosting() as h:
        changes = []
        h.agents.on_change.append(lambda: changes.append([c.name for c in h.agents.capabilities()]))
        record = command("x")
        h.agents.registry.add(type(record)("gone", "command", record.capabilities, (str(program),)))
        program.unlink()
        result = await h.agents.run_job(job())
        assert result.error == "spawn-failed" and "No such file" in result.detail
        assert (await h.agents.run_job(job())).error == "no-agent"
        assert changes == [["t.x"], []]


async def test_a_bad_job_is_told(hosting, command, job):
    async with hosting() as h:
        h.agents.registry.add(command("echo 1"))
        assert (await h.agents.run_job(job(x=float("nan")))).error == "bad-input"
        assert (await h.agents.run_job(job(x=b"bytes"))).error == "bad-input"


async def test_a_full_disk_is_told(hosting, command, job):
    async with hosting() as h:
        h.agents.registry.add(command("echo 1"))
        h.scratch.rmdir()
        result = await h.agents.run_job(job())
        assert result.error == "spawn-failed" and "folder" in result.detail


async def test_a_killed_launcher_is_replaced(hosting, command, job, caplog):
    async with hosting() as h:
        h.agents.registry.add(command("echo $PPID; sleep $0", cap="t.ppid"))
        h.agents.registry.add(command("sleep 60", cap="t.sleep", env=(("SWARMD_TEST_MARK", MARK),)))
        h.agents.registry.add(command("cat >/dev/null; echo $PPID", cap="t.who"))
        launcher = (await h.agents.run_job(job("t.who"))).output
        results = []
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                results.append(await h.agents.run_job(job("t.sleep")))

            nursery.start_soon(run)
            with trio.fail_after(5):
                while not marked():  # noqa: ASYNC110
                    await trio.sleep(0.01)
            os.kill(launcher, 9)
        assert results[0].error == "out-of-memory"  # SIGKILL from nobody we know
        with trio.fail_after(10):
            while marked():  # noqa: ASYNC110
                await trio.sleep(0.01)
            while (again := await h.agents.run_job(job("t.who"))).error is not None:
                h.agents._commands["a3"].available = True
                h.agents._refresh()
                await trio.sleep(0.05)
        assert again.output != launcher
        assert not marked()


def test_agents_die_with_a_killed_daemon(tmp_path):
    """kill -9 of the daemon: no agent is left, not even one that left its session."""
    code = """
import trio, sys
from pathlib import Path
from swarmd.node.agents.launcher import Launcher, Limits
async def main():
    launcher = Launcher()
    async with trio.open_nursery() as nursery:
        await nursery.start(launcher.run)
        launcher.start(["/bin/sh", "-c", "setsid sleep 60 & sleep 60"], env={"SWARMD_TEST_MARK": sys.argv[1]},
                       cwd=Path("/"), limits=Limits())
        await trio.sleep(0.3)
        print("up", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", code, MARK], stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout is not None and daemon.stdout.readline() == b"up\n"
            assert len(marked()) >= 2
        finally:
            daemon.kill()
    deadline = time.monotonic() + 5
    while marked() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not marked()


async def test_the_scratch_folder_is_emptied_at_the_start(hosting, command, job, tmp_path):
    left = tmp_path / "scratch" / "old"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    async with hosting() as h:
        assert not list(h.scratch.iterdir())
        assert stat.S_ISDIR(h.scratch.stat().st_mode)


async def test_unicode_output_survives(hosting, command, job):
    async with hosting() as h:
        text = json.dumps({"ключ": "значение 🎈", "\u0000": "\u2028"}, ensure_ascii=False)
        h.agents.registry.add(command(python=f"import sys; sys.stdout.buffer.write({text.encode()!r})"))
        assert (await h.agents.run_job(job())).output == {"ключ": "значение 🎈", "\u0000": "\u2028"}
