"""The parts of the scale model: queues, turns, gossip, topology, the life of a need, fits, constants."""

import json
from dataclasses import replace
from itertools import pairwise
from math import log
from random import Random

import pytest
from swarmd.protocol.faults import LocalFault
from swarmd.simulations.scale import calibrate, costs, fit
from swarmd.simulations.scale.bench import BenchModel
from swarmd.simulations.scale.costs import Costs
from swarmd.simulations.scale.daemon import FLUSH_WINDOW_NS, MAX_FLOOD_PEERS, Envelope, Host, Mesh, World
from swarmd.simulations.scale.events import MS_NS, S_NS, Cores, Delay, Events, Pool, Spread
from swarmd.simulations.scale.micro import Engines
from swarmd.simulations.scale.needs import Need, Task
from swarmd.simulations.scale.topology import grow, parts

FREE = Costs(**dict.fromkeys(Costs.__dataclass_fields__, 0.0))


def world_of(given: Costs = FREE, delay_ms: float = 10.0) -> World:
    events, random = Events(), Random(1)
    delay = Delay(Spread(delay_ms, delay_ms), random)
    return World(events, random, given, Delay(given.commit, random), lambda _one, _other: delay)


def mesh_of(count: int, world: World, cores: int = 1) -> Mesh:
    return Mesh("m", [Host(number, 0, Cores(world.events, cores)) for number in range(count)], world)


class Listener:
    """Remembers who heard what, when."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.heard: list[tuple[int, str, int]] = []

    def hear(self, daemon, envelope) -> None:
        self.heard.append((daemon.index, envelope.kind, self.events.now_ns))


def test_jobs_wait_for_a_core_in_their_order():
    events = Events()
    cores = Cores(events, 2)
    begun = []

    def job(name):
        def run():
            begun.append((name, events.now_ns))
            return 10

        return run

    for name in "abcde":
        cores.submit(job(name))
    events.run(S_NS, lambda: False)
    assert begun == [("a", 0), ("b", 0), ("c", 10), ("d", 10), ("e", 20)]
    assert cores.busy_ns == 50
    cores.submit(job("f"))
    assert begun[-1] == ("f", 20), "one core was free already"


def test_agents_of_a_pool_do_one_job_at_a_time():
    events = Events()
    pool = Pool(events, 1)
    done = []
    for took in (5, 7):
        pool.work(took, lambda: done.append(events.now_ns))
    events.run(S_NS, lambda: False)
    assert (done, pool.busy_ns, pool.jobs) == ([5, 12], 12, 2)


def test_a_spread_has_its_median_and_its_99th_percentile():
    delay = Spread(10.0, 80.0).delay(Random(1))
    drawn = sorted(delay.draw_ns() for _ in range(40_000))
    assert drawn[20_000] == pytest.approx(10 * MS_NS, rel=0.05)
    assert drawn[39_600] == pytest.approx(80 * MS_NS, rel=0.15)


def test_a_flush_window_batches_what_is_said_meanwhile():
    world = world_of()
    mesh = mesh_of(3, world)
    author, listener = mesh.daemons[0], Listener(world.events)

    def say(kind):
        everybody = frozenset(mesh.daemons)
        return lambda: author.say(Envelope(kind, listener, author, everybody, world.events.now_ns))

    for number, at_ns in enumerate((0, 1_000_000, 2_000_000, 9_000_000)):
        world.events.at(at_ns, author.tell, say(f"k{number}"))
    world.events.run(S_NS, lambda: False)
    arrivals = [(kind, at) for index, kind, at in listener.heard if index == 1]
    late = FLUSH_WINDOW_NS + 10 * MS_NS
    assert arrivals == [("k0", 10 * MS_NS), ("k1", late), ("k2", late), ("k3", 19 * MS_NS)]
    assert author.flushes == 3 and author.frames_out == 6
    assert mesh.daemons[2].frames_in == 3 and mesh.daemons[2].heard == 4


def test_a_turn_costs_what_its_frames_and_envelopes_cost():
    given = replace(FREE, turn_us=100.0, frame_in_us=10.0, verify_us=5.0, parse_us=3.0, gate_us=2.0)
    world = world_of(given)
    mesh = mesh_of(2, world)
    listener = Listener(world.events)

    def say():
        for kind in "ab":
            mesh.daemons[0].say(Envelope(kind, listener, mesh.daemons[0], frozenset(), 0))

    mesh.daemons[0].tell(say)
    world.events.run(S_NS, lambda: False)
    assert mesh.daemons[1].host.cores.busy_ns == 1_000 * (100 + 10 + 5 + 2 * (3 + 2))


@pytest.mark.parametrize("count", [5, MAX_FLOOD_PEERS + 1, 40])
def test_a_frame_reaches_everybody_once(count):
    """Straight while they are few; relayed with duplicates where they are many."""
    world = world_of()
    mesh = mesh_of(count, world)
    listener = Listener(world.events)
    for daemon in mesh.daemons[:3]:
        envelope = Envelope("k", listener, daemon, frozenset(mesh.daemons), 0)
        daemon.tell(lambda daemon=daemon, envelope=envelope: daemon.say(envelope))
    world.events.run(S_NS, lambda: False)
    heard = [index for index, _, _ in listener.heard]
    assert sorted(heard) == sorted(list(range(count)) * 3)
    assert mesh.relayed == (count > MAX_FLOOD_PEERS + 1)
    duplicates = sum(daemon.duplicates for daemon in mesh.daemons)
    assert (duplicates > 0) == mesh.relayed
    assert sum(daemon.frames_out for daemon in mesh.daemons) == 3 * (count - 1) + duplicates


# Needs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 10, 17])
def test_a_need_says_as_much_as_with_real_engines(count):
    """The model's life of a need is that of the engine: as many envelopes, of the same kinds' number."""
    engines = Engines(count)
    engines.need(0)
    (real,) = engines.states[0].needs.values()
    assert real.state() == "FINALIZED"
    result = BenchModel(count, 1, 1, FREE).run()
    assert result["counts"].authored == len(real.seen) + 1, "and the annotation with the anchor"
    assert result["counts"].heard == result["counts"].authored * (count - 1)


def test_a_need_takes_its_hops_and_the_agents_time():
    """NEED, the decision, the result and its verdict each cross the mesh once; nothing else takes time here."""
    world = world_of(delay_ms=10.0)
    mesh = mesh_of(5, world)

    def agent(daemon, answer):
        world.events.at(world.events.now_ns + 50 * MS_NS, daemon.tell, lambda: answer(50))

    ended = []
    taken = set()
    for _ in range(40):
        world.random.shuffle(mesh.daemons)
        need = Need(mesh, mesh.daemons[0], [Task(mesh.daemons[1], agent, agent)], ended.append)
        roles = {need.owner, need.plan.members[0], need.tasks[0].worker, need.tasks[0].judges.members[0]}
        if len(roles) < 4:
            continue
        began_ns = world.events.now_ns
        need.owner.tell(need.post)
        world.events.run(began_ns + 10 * S_NS, lambda: False)
        taken.add(need.finalized_ns - need.posted_ns)
        assert ended[-1] is need and need.backups == 0
    # FINALIZE is signed when the judge writes it; the owner hears it 10 ms later.
    assert taken == {3 * 10 * MS_NS + 2 * 50 * MS_NS}


def test_silence_calls_the_backups():
    """A slow disk makes others do what was due: more is said, the need still ends."""
    slow = replace(FREE, commit_p50_ms=600.0, commit_p99_ms=600.0)
    quick, late = BenchModel(10, 5, 1, FREE).run(), BenchModel(10, 5, 1, slow).run()
    assert late["counts"].authored > quick["counts"].authored
    assert late["finalize_p50_ms"] > 600


# Topology ------------------------------------------------------------------------------------------------


def test_parts_are_even():
    assert parts(157, 16) == [16] * 7 + [15] * 3
    assert parts(2, 16) == [2]


@pytest.mark.parametrize(("count", "tiers"), [(1, 2), (16, 2), (157, 2), (300, 3), (1_563, 3)])
def test_meshes_stay_small_and_tiers_few(count, tiers):
    world = world_of()
    tree = grow(world, lambda index, region: Host(index, region, Cores(world.events, 1)), count, 16)
    assert (len(tree.hosts), tree.tiers) == (count, tiers)
    assert max(len(mesh.daemons) for mesh in tree.meshes) <= 17
    # Each host is in one swarm, and in a mesh more for each tier that it leads.
    assert sum(len(swarm.mesh.daemons) for swarm in tree.swarms) == count
    assert max(len(host.daemons) for host in tree.hosts) <= tiers + 1
    reached, todo = [], [tree.root]
    while todo:
        unit = todo.pop()
        reached += [] if unit.children else [unit]
        todo += [below for _, below in unit.children]
        assert all(
            daemon.mesh is unit.mesh and daemon.host is below.lead.host for daemon, below in unit.children
        )
    assert {id(unit) for unit in reached} == {id(swarm) for swarm in tree.swarms}


# Fits ----------------------------------------------------------------------------------------------------

SIZES = [100, 1_000, 10_000, 100_000]


def test_a_logarithm_and_a_line_are_told_apart():
    slow = fit.growth(SIZES, [3 + 2 * log(n) for n in SIZES])
    assert (slow.better, slow.at_most_log) == ("log n", True)
    assert slow.against_log.r2 == pytest.approx(1) and slow.against_n.r2 < 0.8
    fast = fit.growth(SIZES, [5.0 + n / 100 for n in SIZES])
    assert (fast.better, fast.at_most_log) == ("n", False)
    assert fast.against_n.r2 == pytest.approx(1) and fast.against_n.slope == pytest.approx(0.01)
    assert not fit.growth(SIZES, [n**0.3 for n in SIZES]).at_most_log
    assert fit.growth(SIZES, [7.0, 9.0, 9.0, 9.0]).at_most_log
    assert fit.growth(SIZES, [4.0] * 4).against_log.r2 == 1.0
    with pytest.raises(ValueError, match="three or more"):
        fit.growth([100, 10, 1], [1, 2, 3])


def test_unknowns_of_least_squares_stay_non_negative():
    rows = [[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]]
    assert calibrate.non_negative(rows, [8.0, 7.0, 21.0]) == pytest.approx([2.0, 3.0])
    assert calibrate.non_negative(rows, [-1.0, 1.0, -2.0]) == [0.0, 0.0]
    with pytest.raises(ZeroDivisionError):
        fit.solve([[1.0, 2.0], [2.0, 4.0]], [1.0, 2.0])


def test_the_fit_finds_the_costs_that_made_the_figures():
    given = costs.load()
    true = replace(given, turn_us=700.0, glue_us=40.0, post_us=500.0, job_us=500.0)
    meshes = []
    for nodes, window in ((1, 1), (1, 32), (2, 1), (2, 16), (4, 4), (4, 32)):
        said = BenchModel(nodes, 60, window, true).run()
        meshes.append(
            {"nodes": nodes, "tasks": 60, "window": window, "cpu_ms_per_task": said["cpu_ms_per_task"]}
        )
    found = calibrate.fitted(replace(given, turn_us=0.0, glue_us=0.0, post_us=0.0, job_us=0.0), meshes)
    assert found.turn_us == pytest.approx(700, rel=0.1)
    assert found.glue_us == pytest.approx(40, abs=15)
    assert found.post_us == pytest.approx(500, rel=0.25)


# Constants -----------------------------------------------------------------------------------------------


def test_every_constant_says_how_it_was_found():
    document = costs.read()
    assert document["costs"].keys() == calibrate.ORIGIN.keys() == Costs.__dataclass_fields__.keys()
    assert all(entry["is"] and entry["how"] for entry in document["costs"].values())
    assert max(mesh["nodes"] for mesh in document["meshes"]) < 5, (
        "what the model is held against is not fitted on"
    )
    sizes = [mesh["nodes"] for mesh in document["meshes"]]
    assert all(one <= other for one, other in pairwise(sizes)) and document["machine"]["cpus"] >= 1
    # The document is what its own fit gives.
    zero = {name: float(entry["value"]) for name, entry in document["costs"].items()}
    again = calibrate.document(zero, document["meshes"], document["machine"])
    for name in ("turn_us", "glue_us", "post_us"):
        assert again["costs"][name]["value"] == pytest.approx(
            document["costs"][name]["value"], rel=0.05, abs=3
        )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["costs"].pop("turn_us"),
        lambda d: d["costs"].update(nonsense=d["costs"]["turn_us"]),
        lambda d: d["costs"]["turn_us"].update(value=-1),
        lambda d: d["costs"]["turn_us"].update(value=True),
        lambda d: d["costs"]["turn_us"].update(source="guessed"),
        lambda d: d["costs"]["turn_us"].update(how=""),
        lambda d: d.pop("costs"),
    ],
)
def test_bad_constants_are_refused(tmp_path, spoil):
    document = costs.read()
    spoil(document)
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(document))
    with pytest.raises(LocalFault, match=r"costs\.json"):
        costs.load(path)
