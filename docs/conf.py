"""How Sphinx makes the site of these pages: `make docs`."""

from __future__ import annotations

import posixpath
import re
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

project = "kafka-etl"
author = "The kafka-etl authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = version_of("kafka-etl")

extensions = ["myst_parser"]
root_doc = "index"
html_theme = "furo"
html_title = f"kafka-etl {version}"
html_show_sphinx = html_copy_source = False

myst_heading_anchors = 3
suppress_warnings = [
    "misc.highlighting_failure",  # DuckDB's SQL is more than the highlighter's
]

# These pages are read in the repository, too. There they link to files beside this folder, which
# are pages of the site under other names; such a page has nothing of its own but the link.
_PAGES = {
    "DESIGN.md": "design.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "examples/README.md": "examples.md",
    "deploy/README.md": "deploy.md",
}
_FILES = {page: file for file, page in _PAGES.items()}
_ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\((?!http|#|mailto)([^)#\s]+)(#[^)\s]+)?\)")


def _read(_app: Sphinx, name: str, source: list[str]) -> None:
    """Take the text of a page from where it is, and lead its links to pages of the site."""
    page = f"{name}.md"
    file = _FILES.get(page)
    text = source[0] if file is None else (_ROOT / file).read_text()
    folder = posixpath.dirname(file or f"docs/{page}")

    def led(found: re.Match[str]) -> str:
        shown, link, anchor = found[1], found[2], found[3] or ""
        aim = posixpath.normpath(posixpath.join(folder, link))
        aim = aim.removeprefix("docs/") if aim.startswith("docs/") else _PAGES.get(aim, "")
        if not aim.endswith(".md"):
            return shown
        return f"[{shown}]({posixpath.relpath(aim, posixpath.dirname(page))}{anchor})"

    source[0] = _LINK.sub(led, text)


def setup(app: Sphinx) -> None:
    app.connect("source-read", _read)
