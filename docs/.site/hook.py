"""For MkDocs: adds the reference, which is made of the code, and puts what mkdocs.yml does not name into the menu."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from swarmd.cli import build_parser
from swarmd.node.console.reference import pages

ROOT = Path(__file__).resolve().parents[2]


def _named(nav: object) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    if isinstance(nav, dict):
        nav = list(nav.values())
    return set().union(*map(_named, nav)) if isinstance(nav, list) else set()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    docs = Path(config.docs_dir)
    named = _named(config.nav)
    rest = sorted(path.name for path in docs.glob("*.md") if path.name not in named)
    records = sorted(f"adr/{path.name}" for path in (docs / "adr").glob("*.md"))
    config.nav = [*config.nav, {"Rooms": rest}, {"Decisions": records}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in pages(build_parser(), ROOT).items():
        files.append(File.generated(config, name, content=text))
    # The README is the entrance; its links are from the root of the tree.
    readme = (
        (ROOT / "README.md")
        .read_text("utf-8")
        .replace("](docs/)", "](architecture.md)")
        .replace("](docs/", "](")
    )
    files.append(File.generated(config, "index.md", content=readme))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a folder, which a forge shows as a list, has no page of its own here."""
    return markdown.replace("](adr/)", "](adr/0000-template.md)")
