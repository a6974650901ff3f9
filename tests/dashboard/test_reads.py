"""What the pages read, asked as the pages ask it; and what of it is refused."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

STATIC = Path("node") / "dashboard" / "static"


def test_needs_are_paged_counted_and_filtered_by_the_daemon(mesh: Any) -> None:
    for number in range(3):
        mesh.post(f"page {number}", {"id": "t", "capability": "nobody.offers", "input": {}})
    first = mesh.get("needs", limit=2, q="PAGE").json()
    assert [row["title"] for row in first["needs"]] == ["page 2", "page 1"]
    assert first["total"] == 3 and first["searched"] == "live"
    rest = mesh.get("needs", limit=2, offset=2, q="page").json()
    assert [row["title"] for row in rest["needs"]] == ["page 0"]
    counts = mesh.ask("status")["needs"]
    active = mesh.get("needs", state="active").json()
    assert active["total"] == sum(counts.get(each, 0) for each in ("OPEN", "PROPOSED", "DECIDED", "RUNNING"))
    assert {row["state"] for row in active["needs"]} <= {"OPEN", "PROPOSED", "DECIDED", "RUNNING"}
    whole = mesh.get("needs", limit=200).json()
    assert whole["total"] == len(whole["needs"]) == sum(counts.values()) and whole["searched"] == "all"
    assert mesh.get("needs", owner=mesh.members[1].did).json()["needs"] == []


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("needs", {"state": "nonsense"}, 422),
        ("needs", {"limit": 201}, 422),
        ("needs", {"offset": -1}, 422),
        ("needs", {"q": "x" * 201}, 422),
        ("verdicts", {"before": "x"}, 422),
        ("analytics", {"hours": 0}, 422),
        ("needs/need-zzzzzzzz/graph", {}, 404),
        ("needs/need-zzzzzzzz/why", {}, 404),
        ("escrows/escrow-zzzzzz", {}, 404),
    ],
)
def test_what_cannot_be_answered_is_a_problem(mesh: Any, path: str, params: Any, status: int) -> None:
    answer = mesh.get(path, **params)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"code", "detail", "fix"} <= answer.json().keys()


def test_the_statement_of_an_account_adds_up(mesh: Any, done_need: str) -> None:
    lines = mesh.get("statement", limit=200).json()["lines"]
    of_need = {line["what"]: line for line in reversed(lines) if line["need"] == done_need}
    earned = [line["amount"] for line in lines if (line["need"], line["what"]) == (done_need, "earned")]
    assert of_need["locked"]["amount"] == "-0.5" and of_need["returned"]["amount"] == "0.46"
    assert earned == ["0.02", "0.02"]
    assert [line["at_ns"] for line in lines] == sorted((line["at_ns"] for line in lines), reverse=True)


def test_verdicts_come_in_pages_from_the_latest_on(mesh: Any) -> None:
    seen: list[str] = []
    before = None
    while True:
        page = mesh.get("verdicts", limit=5, **({} if before is None else {"before": before})).json()
        seen += [row["id"] for row in page["verdicts"]]
        before = page["next"]
        if before is None:
            break
    assert len(seen) == len(set(seen)) >= 10
    assert page["gates"].get("ingress-allow", 0) + page["gates"].get("preflight-allow", 0) > 0
    assert mesh.get("verdicts", denied=True).json()["verdicts"] == []


def test_the_mesh_has_everybody_with_what_is_known_of_them(mesh: Any) -> None:
    found = mesh.get("mesh").json()
    by_did = {node["did"]: node for node in found["nodes"]}
    alice, bob = (member.did for member in mesh.members)
    assert by_did[alice]["me"] and by_did[alice]["verifier"] and by_did[alice]["connected"] is None
    assert by_did[bob]["connected"]["did"] == bob and not by_did[bob]["verifier"]


def test_the_graph_has_all_tasks_after_their_parents(mesh: Any, done_need: str) -> None:
    tasks = mesh.get(f"needs/{done_need}/graph").json()["tasks"]
    assert [(task["task"], task["parents"], task["state"]) for task in tasks] == [
        ("first", [], "FINALIZED"),
        ("second", ["first"], "FINALIZED"),
    ]


def test_what_is_vendored_is_what_the_list_says(repo: Path) -> None:
    folder = repo / STATIC / "vendor"
    listed = dict(
        re.findall(r"^\| `([^`]+)` .*\| `([0-9a-f]{64})` \|$", (folder / "VENDOR.md").read_text(), re.M)
    )
    scripts = {path.name for path in folder.iterdir() if path.suffix not in (".md", ".txt")}
    assert scripts == listed.keys()
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_pages_have_nothing_inline_and_name_no_other_host(repo: Path) -> None:
    index = (repo / STATIC / "index.html").read_text()
    assert not re.search(r"<style|style=|<script>|\son\w+=|javascript:", index)
    for path in (repo / STATIC).rglob("*"):
        if path.suffix in (".js", ".css", ".html", ".svg") and "vendor" not in path.parts:
            if path.name == "app.js" and path.parent.name == "static":
                continue  # made of these files, and of what is vendored
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]{2,}/|@import|innerHTML|eval\(", text), path


LAYOUT = """
async () => {
  const { layout } = await import("/js/layout.js");
  const size = [{ width: 100, height: 40 }, { layer: 50, slot: 10 }];
  const plan = (pairs) => layout(Object.entries(pairs).map(([id, parents]) => ({ id, parents })), ...size);
  const places = (found) => Object.fromEntries([...found.nodes].map(([id, at]) => [id, [at.layer, at.x, at.y]]));
  const crossed = plan({ a: [], b: [], c: ["b"], d: ["a"] });
  const many = {};
  for (let at = 0; at < 400; at += 1) many["t" + at] = at ? ["t" + (at - 1)] : [];
  const wide = plan(many);
  return {
    chain: places(plan({ a: [], b: ["a"], c: ["b", "a"] })),
    skips: plan({ a: [], b: ["a"], c: ["b", "a"] }).edges.map((edge) => edge.points.length),
    straight: crossed.nodes.get("c").y === crossed.nodes.get("b").y && crossed.nodes.get("d").y === crossed.nodes.get("a").y,
    cycle: plan({ a: ["b"], b: ["a"], c: ["c", "gone"] }).nodes.size,
    wide: [wide.width, wide.height],
    empty: plan({}).nodes.size,
  };
}
"""


def test_plans_are_laid_out_in_layers_without_needless_crossings(anonymous: Any) -> None:
    anonymous.page.goto(anonymous.origin + "/favicon.svg")
    anonymous.page.goto(anonymous.origin + "/")
    found = anonymous.page.evaluate(LAYOUT)
    assert {name: at[0] for name, at in found["chain"].items()} == {"a": 0, "b": 1, "c": 2}
    assert found["chain"]["c"][1] == 300, "each layer is a box and a gap further"
    assert found["skips"] == [2, 2, 4], "an edge over a layer has a corner in it"
    assert found["straight"], "an order that crosses is turned around"
    assert found["cycle"] == 3 and found["empty"] == 0
    assert found["wide"] == [400 * 150 - 50, 40]
