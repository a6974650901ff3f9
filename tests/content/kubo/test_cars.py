"""CAR files and whole trees, to kubo and back."""

from io import BytesIO
from pathlib import Path
from typing import Any

from swarmd.node.content.adding import Adder
from swarmd.node.content.car import import_car, write_car
from swarmd.node.content.extract import write_tree
from swarmd.node.content.repo import ContentRepo
from swarmd.protocol.cids import cid_text, parse_cid


def plant(folder: Path) -> Path:
    (folder / "many").mkdir(parents=True)
    for number in range(6_000):  # sharded, two levels of it
        (folder / "many" / f"a rather long name {number:06d}").write_bytes(b"%d" % (number % 50))
    (folder / "big").write_bytes(bytes(i * i >> 3 & 255 for i in range(700_000)))
    (folder / "link").symlink_to("big")
    return folder


async def test_a_tree_is_the_same_to_kubo_and_travels_by_car(kubo: Any, tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree")
    with ContentRepo(tmp_path / "ours") as ours, ContentRepo(tmp_path / "back") as back:
        root = Adder(ours.put_group).add(tree).cid
        only = await kubo.call("add", "-Q", "-r", "-n", "--cid-version=1", "--raw-leaves", str(tree))
        assert only.decode().strip() == cid_text(root)
        car = BytesIO()
        write_car([root], car, ours.get)
        (tmp_path / "ours.car").write_bytes(car.getvalue())
        taken = await kubo.call("dag", "import", str(tmp_path / "ours.car"))
        assert cid_text(root) in taken.decode()
        assert await kubo.call("cat", f"{cid_text(root)}/big") == (tree / "big").read_bytes()
        exported = await kubo.call("dag", "export", cid_text(root))
        roots, _ = import_car(BytesIO(exported), back.put_many)
        assert list(roots) == [root] == [parse_cid(only.decode().strip())]
        back.pin(root)
        write_tree(root, tmp_path / "copy", back.get)
        assert (tmp_path / "copy" / "many" / "a rather long name 005999").read_bytes() == b"49"
        assert Adder(ours.put_group).add(tmp_path / "copy").cid == root
