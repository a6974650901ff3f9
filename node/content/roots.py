"""What the node itself needs of its content, whether anybody pinned it or not."""

from collections.abc import Iterator

from swarmd.protocol.state import State


def roots_of_needs(state: State) -> Iterator[bytes]:
    """The inputs, schemas and results of every need that the state still has."""
    for need in state.needs.values():
        for name, run in need.runs.items():
            spec = need.spec(name)
            if spec is not None:
                yield from (bytes(each["cid"]) for each in spec.input.values() if "cid" in each)
                if "schema" in spec.verify:
                    yield bytes(spec.verify["schema"])
            if run.commit is not None:
                yield run.commit.result
            if run.final is not None:
                yield run.final.result
