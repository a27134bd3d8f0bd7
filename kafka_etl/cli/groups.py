"""Groups of commands. A command's module is imported when the command is called, not before."""

from __future__ import annotations

import shutil
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


_Context: Any = TyperGroup.context_class
_Formatter: Any = _Context.formatter_class


class Formatter(_Formatter):
    """The form of help, for narrow terminals too: click's own takes 50 columns at least."""

    def __init__(self, *_: Any, **_of_click: Any) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(width=max(_LEAST, min(columns, _MOST)) - 2)

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        """Write options with their texts: beside them, or below those that are long."""
        beside = self.width // 4 if is_narrow(self.width + 2) else col_max
        super().write_dl(rows, beside, col_spacing)


class Context(_Context):
    """The context of any command."""

    formatter_class = Formatter


class Group(TyperGroup):
    """A group of commands, whose own options are flags.

    A flag that is not given is False, and not None, which typer would import pydantic to check.
    """

    context_class = Context

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            command.context_class = Context
        return command

    def get_params(self, ctx: Any) -> list[Any]:
        """All options, `--help` included."""
        flags: list[Any] = super().get_params(ctx)
        for flag in flags:
            flag.default = flag.default or False
        return flags


class Unloaded(TyperCommand):
    """A command, or a group of them, that is imported when it is called.

    Attributes:
        at: `module:attribute` of the command's function, or of the group.
    """

    at: ClassVar[str]

    def load(self) -> Any:
        """The command itself."""
        module, _, attribute = self.at.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(**_PLAIN)
            app.command()(found)
            found = app
        command: Any = typer.main.get_command(found)
        command.context_class = Context
        return command

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
        place: `module:attribute` of the command's function, or of the group.
        summary: A line for the help of `app`.
    """

    class Here(Unloaded):
        at = place

    app.command(name, cls=Here, short_help=summary)(_stands_for_another)


def _stands_for_another() -> None:
    """Never called."""
