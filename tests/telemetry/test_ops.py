"""What docs/ops ships: valid for the tools that read it, and about metrics that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from swarmd.node.telemetry.metrics import FAMILIES

WORD = re.compile(r"\bswarmd_[a-z0-9_]+")
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture
def ops(repo: Path) -> Path:
    return repo / "docs" / "ops"


def promtool(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return subprocess.run([found, *words], cwd=cwd, capture_output=True, text=True, timeout=60)


def expressions(dashboard: dict) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        yield variable.get("definition", "")


def unknown(text: str) -> set[str]:
    """Names of metrics in it that no daemon has."""
    found = set()
    for name in WORD.findall(text):
        bare = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)
        family = FAMILIES.get(name) or FAMILIES.get(bare)
        if family is None or (family.kind == "histogram") != (name != family.name):
            found.add(name)
    return found


def test_the_check_of_names_finds_what_is_wrong() -> None:
    assert unknown("rate(swarmd_turns_total[1m]) / swarmd_turn_duration_seconds_sum") == set()
    assert unknown("swarmd_turns + swarmd_turn_duration_seconds + swarmd_epoch_count") == {
        "swarmd_turns",
        "swarmd_turn_duration_seconds",
        "swarmd_epoch_count",
    }


def test_the_dashboard_shows_metrics_that_exist(ops: Path) -> None:
    dashboard = json.loads((ops / "grafana-dashboard.json").read_text())
    found = list(expressions(dashboard))
    assert len(found) > 20 and not unknown("\n".join(found))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels if panel["type"] != "row")
    # Nothing overlaps, nothing sticks out of Grafana's 24 columns.
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def test_labels_of_the_dashboard_and_the_alerts_exist(ops: Path) -> None:
    text = (ops / "alerts.yml").read_text() + "\n".join(
        expressions(json.loads((ops / "grafana-dashboard.json").read_text()))
    )
    for name, body in re.findall(r"(swarmd_[a-z0-9_]+)\{([^}]*)\}", text):
        bare = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)
        family = FAMILIES.get(name) or FAMILIES[bare]
        used = set(re.findall(r"([a-z_]+)\s*=", body.replace("=~", "=").replace("!=", "=")))
        assert used - {"job", "instance", "le"} <= set(family.labels), name


def test_the_dashboards_expressions_parse(ops: Path, tmp_path: Path) -> None:
    """As recording rules, since promtool takes those; Grafana's variables as it would fill them in."""
    dashboard = json.loads((ops / "grafana-dashboard.json").read_text())
    rules = []
    for index, expression in enumerate(each for each in expressions(dashboard) if "label_values" not in each):
        filled = expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
        assert "$" not in filled
        rules.append({"record": f"panel:{index}", "expr": filled} if filled else None)
    rules = [rule for rule in rules if rule]
    assert len(rules) > 20
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_alerts_are_valid_and_fire_when_they_should(ops: Path) -> None:
    assert not unknown((ops / "alerts.yml").read_text() + (ops / "alerts_test.yml").read_text())
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        checked = promtool(*words, cwd=ops)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    names = re.findall(r"- alert: (\w+)", (ops / "alerts.yml").read_text())
    tested = set(re.findall(r"alertname: (\w+)", (ops / "alerts_test.yml").read_text()))
    assert tested == set(names), "each alert has its test"


def test_the_configuration_for_prometheus_is_valid(ops: Path, tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(ops / name, tmp_path)
    (tmp_path / "swarmd.token").write_text("x")
    checked = promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
