"""A journal replayed gives the node's state again; in other orders, the mesh's (P2). Bundles hold no secrets."""

import io
import tarfile

import pytest
import zstandard
from swarmd.node.replay import capture, recorded, recording
from swarmd.node.setup import GENESIS_FILE, write_genesis
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Commanded, ManifestSeen

pytestmark = pytest.mark.property_id("P2")


@pytest.fixture
def home(bench, author, author_of, new_task):
    """A node that heard two others, some of it out of order and some of it void, and posted needs of its own."""
    write_genesis(bench.home / GENESIS_FILE, bench.genesis)
    bench.journal.set_meta("did", bench.runner.me.encode())
    for who in (author, author_of("eve")):
        manifest = who.manifest({"echo": 10_000})
        bench.runner.tell(lambda at_ns, m=manifest: ManifestSeen(m, at_ns))
        frames = []
        for _ in range(3):
            need = who.need()
            seq, _ = who.entry
            frames.append(who.batch(need)[0])
            note = {"ops": [{"op": "ANNOTATE", "task": "", "key": "note", "value": seq}]}
            frames.append(who.batch(who.envelope("UPDATE_PLAN", need.thread, note, (need.id,)))[0])
            frames.append(
                who.batch(
                    who.envelope("CLAIM", need.thread, {"task": "t1", "attempt": 0, "lease_s": 5}, (need.id,))
                )[0]
            )
            from swarmd.protocol.ledger.accounts import fund_entry

            who.entry = (seq + 1, fund_entry(who.did, seq, who.entry[1], need.thread, 50_000).hash)
        for frame in reversed(frames):
            bench.take(frame)
    for _ in range(2):
        args = {"title": "mine", "budget": 50_000, "deadline_s": 60, "tasks": [new_task("t1")], "inline": []}
        bench.runner.tell(lambda at_ns, a=args: Commanded("need.post", a, at_ns))
        bench.turn()
    return bench.home


def test_the_same_inputs_give_the_same_state(bench, home):
    state = bench.runner.state
    with recording(home) as taken:
        result = taken.replay()
    assert result.state_digest == state_digest(state).hex()
    assert result.mesh_digest == mesh_digest(state).hex()
    assert result.needs == 8
    assert len([need for need in state.needs.values() if need.void]) == 6


@pytest.mark.parametrize("seed", range(5))
def test_any_order_and_any_clock_give_the_same_mesh(bench, home, seed):
    with recording(home) as taken:
        result = taken.replay_shuffled(seed, skew_s=30.0)
    assert result.mesh_digest == mesh_digest(bench.runner.state).hex()


def test_a_running_node_is_not_disturbed(bench, home, author):
    with recording(home) as taken:
        taken.replay()
        assert bench.take(author.batch(author.need())[0]).stored == 1


def test_a_bundle_replays_and_holds_no_secret(bench, home, tmp_path):
    (home / "node.key").write_text("5ec4e7" * 8)
    bench.blocks.put_many([])
    bundle = tmp_path / "case.tar.zst"
    held = capture(home, bundle)
    assert recorded(bundle) == held
    packed = zstandard.ZstdDecompressor().stream_reader(bundle.read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert sorted(archive.getnames()) == ["genesis.json", "incident.json", "journal.db"]
    assert b"5ec4e7" not in packed
    with recording(bundle) as taken:
        assert taken.replay().state_digest == held["state_digest"]
        tables = {name for (name,) in taken.journal.db.execute("select name from sqlite_master")}
        for table in tables & {"blocks", "outbox"}:
            assert taken.journal.db.execute(f"select count(*) from {table}").fetchone() == (0,)


@pytest.mark.parametrize("content", [b"", b"not a bundle", zstandard.compress(b"not a tar" * 100)])
def test_what_is_no_bundle_is_refused(tmp_path, content):
    file = tmp_path / "x.tar.zst"
    file.write_bytes(content)
    with pytest.raises(LocalFault), recording(file):
        pass


def test_a_bundle_with_a_strange_path_is_refused(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("../journal.db")
        archive.addfile(info, io.BytesIO(b""))
    file = tmp_path / "x.tar.zst"
    file.write_bytes(zstandard.compress(packed.getvalue()))
    with pytest.raises(LocalFault, match="unexpected entry"), recording(file):
        pass


def test_a_home_without_a_journal_is_refused(tmp_path):
    with pytest.raises(LocalFault) as caught, recording(tmp_path):
        pass
    assert caught.value.code == "bad-recording"


def test_a_bundle_is_never_overwritten(home, tmp_path):
    file = tmp_path / "x.tar.zst"
    file.write_bytes(b"mine")
    with pytest.raises(LocalFault):
        capture(home, file)
    assert file.read_bytes() == b"mine"
