"""Who shares a mesh with whom: swarms of hosts, their managers, and the super-orchestrator above them.

Every swarm is a mesh of its own of at most `mesh_hosts` hosts, led by a manager on one of them. The managers'
hosts are in a second mesh, with the super-orchestrator's. Where that would be too large, managers are grouped, and
the leads of the groups are in the mesh above: a tree of meshes of bounded size, so as many tiers as the logarithm
of the hosts asks for. The daemons of one host share its core.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from swarmd.simulations.scale.daemon import Daemon, Host, Mesh, World

REGIONS = 3


@dataclass(slots=True, eq=False)
class Unit:
    """A mesh of the tree. `lead` posts needs into it; `children` are the units below, with their leads' daemons
    in this mesh; a swarm has none."""

    mesh: Mesh
    lead: Daemon
    children: list[tuple[Daemon, "Unit"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tree:
    root: Unit
    swarms: list[Unit]
    meshes: list[Mesh]
    hosts: list[Host]
    tiers: int


def parts(count: int, size: int) -> list[int]:
    """`count` things in as few groups of at most `size` as will do, as even as can be: the groups' sizes."""
    groups = -(-count // size)
    return [count // groups + (number < count % groups) for number in range(groups)]


def grow(world: World, host: Callable[[int, int], Host], count: int, mesh_hosts: int) -> Tree:
    """The tree over `count` hosts, each made by `host(index, region)`."""
    hosts: list[Host] = []
    meshes: list[Mesh] = []

    def mesh(name: str, members: Sequence[Host]) -> Mesh:
        made = Mesh(name, list(dict.fromkeys(members)), world)
        meshes.append(made)
        return made

    def daemon_of(host: Host, mesh: Mesh) -> Daemon:
        return next(daemon for daemon in host.daemons if daemon.mesh is mesh)

    swarms: list[Unit] = []
    for number, size in enumerate(parts(count, mesh_hosts)):
        members = [host(len(hosts) + i, number % REGIONS) for i in range(size)]
        hosts += members
        made = mesh(f"swarm-{number}", members)
        swarms.append(Unit(made, made.daemons[0]))
    level, tiers = swarms, 2
    while len(level) > mesh_hosts:
        above, start = [], 0
        for number, size in enumerate(parts(len(level), _fan_out(len(level), mesh_hosts))):
            below = level[start : start + size]
            start += size
            made = mesh(f"tier-{tiers}-{number}", [unit.lead.host for unit in below])
            children = [(daemon_of(unit.lead.host, made), unit) for unit in below]
            above.append(Unit(made, children[0][0], children))
        level, tiers = above, tiers + 1
    chief = swarms[0].mesh.daemons[-1].host
    made = mesh("root", [chief, *(unit.lead.host for unit in level)])
    children = [(daemon_of(unit.lead.host, made), unit) for unit in level]
    root = Unit(made, daemon_of(chief, made), children)
    return Tree(root, swarms, meshes, hosts, tiers)


def _fan_out(count: int, most: int) -> int:
    """The smallest group size that needs no more tiers than groups of `most`: an even tree has no hot mesh."""
    tiers, reach = 1, most
    while reach < count:
        tiers, reach = tiers + 1, reach * most
    size = 2
    while size**tiers < count:
        size += 1
    return size
