"""Groups of commands. A command's module is imported when the command is called, not before."""

from __future__ import annotations

import shutil
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, Final

import typer
from typer.core import TyperCommand, TyperGroup

from kafka_etl.terminal import is_narrow

_LEAST: Final = 30
_MOST: Final = 80
_PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,  # importing rich would delay the help
    "pretty_exceptions_enable": False,
}


def _help_of(command: Any, context: Any) -> str:
    """The help of a command, in the width of the terminal: click's own has 50 columns at least."""
    columns = max(_LEAST, min(shutil.get_terminal_size().columns, _MOST))
    formatter = context.make_formatter()
    formatter.width = columns - 2
    if is_narrow(columns):  # texts of options with long names go below them
        formatter.write_dl = partial(formatter.write_dl, col_max=columns // 4)
    command.format_help(context, formatter)
    return str(formatter.getvalue()).rstrip("\n")


class Command(TyperCommand):
    """A command whose help also fits a narrow terminal."""

    def get_help(self, ctx: Any) -> str:
        """The whole help."""
        return _help_of(self, ctx)


class Group(TyperGroup):
    """A group of commands, whose own options are flags.

    A flag that is not given is False, and not None, which typer would import pydantic to check.
    """

    def get_help(self, ctx: Any) -> str:
        """The whole help."""
        return _help_of(self, ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """All options, `--help` included."""
        flags: list[Any] = super().get_params(ctx)
        for flag in flags:
            flag.default = flag.default or False
        return flags


class Unloaded(TyperCommand):
    """A command, or a group of them, that is imported when it is called.

    Attributes:
        at: `module:attribute` of the command's function, or of the group; below `kafka_etl.cli`.
    """

    at: ClassVar[str]

    def load(self) -> Any:
        """The command itself."""
        module, _, attribute = self.at.partition(":")
        found = getattr(import_module(f"{__package__}.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(**_PLAIN)
            app.command(cls=Command)(found)
            found = app
        return typer.main.get_command(found)

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context of the command itself."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


def group(summary: str) -> typer.Typer:
    """A group without commands."""
    return typer.Typer(help=summary, cls=Group, no_args_is_help=True, **_PLAIN)


def add(app: typer.Typer, name: str, place: str, summary: str) -> None:
    """Add a command, or a group of them, whose module is not imported yet.

    Args:
        app: Group that gets it.
        name: Its name.
        place: `module:attribute` of the command's function, or of the group; below `kafka_etl.cli`.
        summary: A line for the help of `app`.
    """

    class Here(Unloaded):
        at = place

    app.command(name, cls=Here, short_help=summary)(_stands_for_another)


def _stands_for_another() -> None:
    """Never called."""
