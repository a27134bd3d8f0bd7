"""`kafka-etl init`: makes a project with a pipeline, an operator, tests, and CI."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

_TEMPLATES: Final = Path(__file__).with_name("templates")
_COMMON: Final = "common"
_HIDDEN: Final = ("gitignore", "github")
"""Names that begin with a dot in a project; among the templates they would act on themselves."""

_PACKAGES: Final = ("operator", "sink")
"""Templates whose plug-in is found once it is installed."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,60}")

Template = Literal["kafka", "postgres", "objects", "tasks", "operator", "sink"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or an empty folder.")],
    *,
    template: Annotated[Template, typer.Option(help="What to create.")] = "kafka",
) -> None:
    """Create a project: a pipeline, an operator with type hints, tests, README, and CI on GitHub.

    The name of the folder becomes the name of the pipeline, or of the package. The templates are:
    kafka, from topic to topic; postgres, into a table; objects, into Parquet files; tasks, long
    tasks; operator and sink, packages with a plug-in. No file is overwritten.

    Example: kafka-etl init shop --template postgres
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    if not _NAME.fullmatch(name) or _is_taken(name.replace("-", "_")):
        raise typer.BadParameter(
            f"`{folder}` makes no name of a pipeline: it should begin with a letter, and have "
            "letters, digits and `-`, and be no module of Python's",
            param_hint="DIR",
        )
    files = dict(_files(name, template))
    known = sorted(path for path in files if (folder / path).exists())
    if known:
        raise typer.BadParameter(
            f"{folder} has {', '.join(known)} already: nothing was written", param_hint="DIR"
        )
    for path, text in files.items():
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        except OSError as error:
            said = f"{folder / path} cannot be written: {error.strerror}"
            raise typer.BadParameter(said, param_hint="DIR") from error
        typer.echo(folder / path)
    at_once = "pip install -e ." if template in _PACKAGES else f"kafka-etl test {folder}"
    typer.echo(f"Next: cd {folder}, and see README.md; or at once: {at_once}", err=True)


def _is_taken(module: str) -> bool:
    return keyword.iskeyword(module) or module in sys.stdlib_module_names or module == "kafka_etl"


def _files(name: str, template: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of each file of a project of this name."""
    module = name.replace("-", "_")
    for root in (_TEMPLATES / template, _TEMPLATES / _COMMON):
        for path in sorted(root.rglob("*")):
            if not path.is_file() or "__pycache__" in path.parts:
                continue  # an installer may have compiled the templates
            first, *rest = path.relative_to(root).parts
            first = f".{first}" if first in _HIDDEN else first.replace("my_project", module)
            text = path.read_text(encoding="utf-8")
            yield (
                "/".join([first, *rest]),
                text.replace("my-project", name).replace("my_project", module),
            )
