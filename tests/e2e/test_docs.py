"""The documentation: the site builds, and what is made from code is up to date.

Code blocks are checked by tests/unit/test_page_blocks.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import pictures, reference_pages
from tests.kit.pages import ROOT, SITE

_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "dead letter" in (tmp_path / "searchindex.js").read_text()
    index = (tmp_path / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://[^"]+\.(?:js|css)', index), "needs a network"


@pytest.mark.parametrize("name", reference_pages.pages())
def test_what_the_code_tells_is_up_to_date(name: str) -> None:
    made = "python -m tests.kit.reference_pages"
    assert (ROOT / "docs/reference" / name).read_text() == reference_pages.pages()[name], made


@pytest.mark.parametrize("name", pictures.pictures())
def test_a_picture_is_as_it_was_drawn(name: str) -> None:
    made = "python -m tests.kit.pictures"
    assert (pictures.FOLDER / name).read_text() == pictures.pictures()[name], made


def test_each_picture_is_shown_and_told_in_words() -> None:
    shown = [found for page in SITE for found in _PICTURE.findall((ROOT / page).read_text())]
    assert {Path(file).name for _, file in shown} == set(pictures.pictures())
    assert all(len(words.split()) > 10 and "`" not in words for words, _ in shown)
    assert {file.name for file in pictures.FOLDER.iterdir()} == set(pictures.pictures())
