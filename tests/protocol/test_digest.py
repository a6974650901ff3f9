"""Digests that are kept up are those that are made anew, whatever happened to the state in between."""

from swarmd.protocol.digest import Digests, mesh_digest, state_digest
from swarmd.protocol.engine import step
from swarmd.protocol.state import State


def test_what_is_kept_is_what_is_made_anew(mesh_of, make_task):
    mesh = mesh_of(["ann", "bob", "cid", "dan"], seed=5)
    mesh.judge = lambda node, job: (mesh.random.choice(["accept", "accept", "reject"]), 50, "says so")
    mesh.answer = lambda node, job: None if mesh.random.random() < 0.2 else {"n": mesh.random.randrange(2)}
    kept = {name: Digests() for name in mesh.nodes}
    looked = 0

    def look():
        nonlocal looked
        for name, node in mesh.nodes.items():
            fresh = Digests()
            assert kept[name].mesh(node.state) == fresh.mesh(node.state) == mesh_digest(node.state)
            assert kept[name].state(node.state) == fresh.state(node.state) == state_digest(node.state)
            looked += 1

    plain = mesh.feed

    def feed(node, given):
        plain(node, given)
        if mesh.random.random() < 0.2:
            look()

    mesh.feed = feed
    for number in range(6):
        name = ["ann", "bob", "cid"][number % 3]
        mesh.post(name, [make_task("a"), make_task("b", after=("a",))], 100_000, deadline_s=60)
    mesh.run()
    for _ in range(140):
        mesh.tick(1)
        mesh.run()
    look()
    states = {need.state() for node in mesh.nodes.values() for need in node.state.needs.values()}
    assert looked > 100 and "FINALIZED" in states and len(states) > 1


def test_another_state_under_the_same_names_is_another(mesh_of, make_task):
    mesh = mesh_of(["ann", "bob"], seed=1)
    mesh.post("ann", [make_task("a")], 100_000)
    mesh.run()
    node, digests = mesh.nodes["ann"], Digests()
    done = digests.state(node.state)
    # As after a rollback: rebuilt from some of its inputs only.
    again = State(mesh.genesis, node.did)
    for given in node.journal[:4]:
        step(again, given)
    assert digests.state(again) == state_digest(again) != done
    assert digests.state(State(mesh.genesis, node.did)) == state_digest(State(mesh.genesis, node.did))
    assert digests.state(node.state) == done


def test_what_is_kept_holds_over_the_ends_of_epochs(rooms, make_task):
    mesh, room = rooms(seed=3)
    kept = {name: Digests() for name in mesh.nodes}

    def look():
        for name, node in mesh.nodes.items():
            assert kept[name].state(node.state) == state_digest(node.state)
            assert kept[name].mesh(node.state) == mesh_digest(node.state)

    epochs = set()
    for number in range(3):
        mesh.post("ann", [make_task("t1")], 30_000)
        mesh.post("bob", [make_task("t1", capability="rare")], 30_000)  # stays open
        look()
        for _ in range(25 * number):
            mesh.deliver()
        look()
        room.settle()
        look()
        room.end_epoch()
        look()
        epochs.add(mesh.nodes["ann"].state.epoch)
    assert epochs == {1, 2, 3}
