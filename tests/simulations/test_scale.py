"""The scale model as a whole: what it reports, that it is deterministic, its plot, and real daemons beside it."""

import argparse
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from swarmd import cli
from swarmd.node.console.output import Output
from swarmd.protocol.faults import LocalFault
from swarmd.simulations.scale import compare, costs, main, plot, probes, report
from swarmd.simulations.scale.events import Spread
from swarmd.simulations.scale.model import Model, Scenario

COSTS = costs.load()


def run(*words: str, as_json: bool = True) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    main.add_arguments(parser)
    out = io.StringIO()
    output = Output(as_json=as_json, out=out)
    output.command = "sim scale"
    return main.main(parser.parse_args(words), output), out.getvalue()


def test_one_seed_one_report_byte_for_byte():
    """In one process, and in others whatever their hash seed."""
    words = ("--sizes", "100,1000,1500", "--goals", "4", "--seed", "7")
    (code, first), (_, second) = run(*words), run(*words)
    assert first == second
    done = subprocess.run(
        [sys.executable, "-m", "swarmd.cli", "--json", "sim", "scale", *words],
        env={**os.environ, "PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, first)
    assert run(*words[:-1], "8")[1] != first


def test_growth_of_the_hierarchy_and_of_one_flat_mesh_are_told_apart():
    """Small meshes make deep trees of few agents. The flat mesh sends everything to every host."""
    code, text = run("--sizes", "128,512,2048", "--mesh-hosts", "4", "--agents-per-host", "8", "--goals", "5")
    document = json.loads(text)
    assert [row["goals_done"] for row in document["sizes"]] == [5, 5, 5]
    assert [row["tiers"] for row in document["sizes"]] == [2, 3, 4]
    growth = document["growth"]
    assert growth["frames_per_need"]["at_most_log"] and growth["state_mb"]["at_most_log"]
    assert growth["flat_frames_per_need"]["better"] == "n"
    assert not growth["flat_frames_per_need"]["at_most_log"]
    assert growth["frames_per_need"]["exponent"] < 0.1 < 0.9 < growth["flat_frames_per_need"]["exponent"]
    assert (code == 0) == all(figure["held"] for figure in document["figures"])


def test_messages_add_up():
    outcome = Model(Scenario(1_500, goals=5), COSTS).run()
    row = report.row(outcome, COSTS)
    daemons = [daemon for mesh in outcome.tree.meshes for daemon in mesh.daemons]
    assert sum(daemon.frames_out for daemon in daemons) == sum(d.frames_in + d.duplicates for d in daemons)
    for mesh in outcome.tree.meshes:
        authored = sum(daemon.authored for daemon in mesh.daemons)
        assert sum(daemon.heard for daemon in mesh.daemons) == authored * (len(mesh.daemons) - 1)
        assert not any(daemon.unsealed for daemon in mesh.daemons)
    assert row["goals_done"] == 5 and row["backups"] == 0
    jobs = sum(
        pool.jobs for host in outcome.tree.hosts for role, pool in host.pools.items() if role != "judge"
    )
    assert jobs == outcome.tasks, "each task is somebody's work"


def test_more_load_waits_longer_and_too_much_is_said():
    at_once = Spread(0.0, 0.0)
    idle = Scenario(1_000, goals=40, manager=at_once, planner=at_once, worker=at_once, judge=at_once)
    light, heavy = (report.row(Model(replace(idle, load=load), COSTS).run(), COSTS) for load in (0.01, 0.2))
    assert heavy["hottest_cpu_share"] > 3 * light["hottest_cpu_share"]
    assert heavy["goal_p50_ms"] > 1.2 * light["goal_p50_ms"]
    # Flushes batch what comes closer together.
    assert heavy["frames_per_need"] < light["frames_per_need"]
    drowned = report.row(Model(Scenario(1_000, goals=60, load=2.0, patience_s=1.0), COSTS).run(), COSTS)
    assert drowned["goals_done"] < drowned["goals"]
    assert not report.figures([drowned], {})[0]["held"]


def test_slow_agents_are_the_latency():
    quick, slow = Spread(0.0, 0.0), Spread(1_500.0, 1_500.0)
    idle = Scenario(1_000, goals=5, manager=quick, planner=quick, worker=quick, judge=quick)
    bare = report.row(Model(idle, COSTS).run(), COSTS)
    worked = report.row(Model(replace(idle, worker=slow, planner=slow), COSTS).run(), COSTS)
    assert worked["goal_p50_ms"] == pytest.approx(bare["goal_p50_ms"] + 3_000, abs=200)
    assert not report.figures([worked], {})[0]["held"]


def test_the_text_says_what_the_document_says(tmp_path):
    picture = tmp_path / "scale.svg"
    code, text = run("--agents", "1500", "--goals", "3", "--plot", str(picture), as_json=False)
    document = json.loads(run("--agents", "1500", "--goals", "3")[1])
    assert [row["agents"] for row in document["sizes"]] == [100, 1_000, 1_500]
    for row in document["sizes"]:
        assert f"{row['goal_p95_ms']:g}" in text
    assert text.count("holds") + text.count("FAILS") == len(document["figures"]) == 3
    assert (code == 0) == ("FAILS" not in text)
    assert picture.read_text() == plot.svg(document)


def test_the_plot_is_svg_with_every_series():
    document = json.loads(run("--sizes", "100,1000", "--goals", "2")[1])
    root = ElementTree.fromstring(plot.svg(document))
    space = "{http://www.w3.org/2000/svg}"
    lines = root.findall(f"{space}polyline")
    assert len(lines) == 3 + 2 + 2 + 3
    for polyline in lines:
        for point in polyline.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= plot.WIDTH and 0 <= y <= plot.HEIGHT
    texts = {text.text for text in root.findall(f"{space}text")}
    assert {"100", "1,000", "messages per need", "one flat mesh, computed"} <= texts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--agents", "1"), "agents"),
        (("--sizes", "100,10"), "growing numbers"),
        (("--sizes", "many"), "not a list"),
        (("--goals", "0"), "a goal or more"),
        (("--load", "0"), "a load"),
        (("--service-ms", "-1"), "--service-ms"),
        (("--compare", "5,100"), "1 to 32"),
        (("--costs", "/nonexistent/costs.json"), "costs"),
        (("--agents", "100", "--only", "--goals", "1", "--plot", "x.svg"), "two sizes"),
        (("--sizes", "10,20", "--goals", "1", "--plot", "/nonexistent/x.svg"), "nonexistent"),
    ],
)
def test_wrong_arguments_are_the_callers_fault(words, says):
    with pytest.raises(LocalFault, match=says):
        run(*words)


def test_the_command_line_has_it(tmp_path, capsys):
    """`swarmd sim scale` is this main: its document, its plot, its faults."""
    picture = tmp_path / "scale.svg"
    words = ["sim", "scale", "--json", "--sizes", "100,200", "--goals", "3", "--plot", str(picture)]
    assert cli.main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["agents"] for row in document["sizes"]] == [100, 200]
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert cli.main(["sim", "scale", "--json", "--agents", "1"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_only_one_size_has_no_growth():
    document = json.loads(run("--agents", "200", "--only", "--goals", "2", "--service-ms", "0")[1])
    assert [row["agents"] for row in document["sizes"]] == [200] and document["growth"] == {}
    assert document["assumptions"]["service_ms"]["worker"] == [0, 0]


def test_the_model_stands_beside_real_daemons():
    """Two real daemons do needs; the model of the same mesh spends about the CPU that they did."""
    (row,) = compare.compare(
        [2], COSTS, windows=(4,), real=lambda nodes, _, window: probes.bench_mesh(nodes, 40, window)
    )
    assert row["lost"] == 0
    assert row["ratio"]["envelopes_per_task"] == pytest.approx(1, abs=0.15)
    # Shared machines differ; an order of magnitude would be a broken model.
    assert 0.3 < row["ratio"]["cpu_ms_per_task"] < 3
    assert compare.typical_error([row], "cpu_ms_per_task") == pytest.approx(
        abs(row["ratio"]["cpu_ms_per_task"] - 1)
    )
    assert any(
        "2" in line for line in main.compared_text({"rows": [row], "median_error": {"cpu_ms_per_task": 0.1}})
    )


def test_a_probe_that_fails_says_why():
    with pytest.raises(LocalFault, match="no such thing"):
        probes.run(["-c", "import sys; sys.exit('no such thing')"])
    with pytest.raises(LocalFault, match="no end within"):
        probes.run(["-c", "import time; time.sleep(60)"], timeout_s=0.2)
