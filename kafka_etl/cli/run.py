"""`kafka-etl run`: runs the daemon."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.options import (
    DEFAULT_HTTP,
    Paths,
    Sets,
    parse_address,
    parse_sets,
    show_address,
)
from kafka_etl.errors import ConfigError

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.document import Document
    from kafka_etl.config.report import Finding
    from kafka_etl.runtime.daemon.daemon import Loaded

_LEVELS = ("debug", "info", "warning", "error")


def run(  # noqa: PLR0913 - one parameter per option
    paths: Paths,
    *,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop at the end offsets seen at the start.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Workers of each pipeline.")
    ] = None,
    instance: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: a name kept in the state folder.")
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where this daemon keeps its state.")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|off", help=f"Default: {DEFAULT_HTTP}; off with --until-end."
        ),
    ] = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
    fail_on_dead_letter: Annotated[
        bool,
        typer.Option("--fail-on-dead-letter", help="Exit with 3 if there were any dead letters."),
    ] = False,
    log_level: Annotated[
        list[str],
        typer.Option(metavar="[COMPONENT=]LEVEL", help=f"One of {', '.join(_LEVELS)}."),
    ] = [],  # noqa: B006
) -> None:
    """Run pipelines until SIGTERM or SIGINT, or until the end offsets with --until-end."""
    from kafka_etl.runtime.daemon.listener import listen

    # The address is bound first, so that a client of a starting daemon waits instead of failing.
    address = http or ("off" if until_end else DEFAULT_HTTP)
    listener = None if address == "off" else listen(*parse_address(address))

    from kafka_etl.cli.progress import Progress
    from kafka_etl.log import configure, get_logger
    from kafka_etl.runtime.daemon.control_socket import listen_in
    from kafka_etl.runtime.daemon.daemon import Daemon, DaemonOptions
    from kafka_etl.runtime.daemon.state_folder import default_folder
    from kafka_etl.runtime.daemon.version import RunOptions
    from kafka_etl.runtime.messages import LogSettings

    logs = LogSettings(_parse_levels(log_level))
    configure(logs.levels)
    overrides = parse_sets(sets)
    progress = Progress(until_end=until_end)
    loaded = read_pipelines(paths, overrides)
    endless = [spec.name for _, spec in loaded if spec.source.use == "task_inbox"]
    if until_end and endless:
        raise typer.BadParameter(
            f"{endless[0]} is of a file with `mode: task`, which has no end",
            param_hint="--until-end",
        )
    daemon = Daemon(
        loaded,
        DaemonOptions(
            run=RunOptions(until_end=until_end, workers=workers, logs=logs),
            state_folder=state_dir or default_folder(),
            instance=instance,
            reload=lambda path: read_pipelines([path], overrides),
            reload_all=lambda: read_what_is_good(paths, overrides),
            look=progress.show,
            fail_on_dead_letter=fail_on_dead_letter,
        ),
    )
    served = "off" if listener is None else show_address(listener)
    get_logger("daemon").info("begins", instance=daemon.view().instance, http=served)
    with contextlib.ExitStack() as stack:
        folder = (
            None if until_end else stack.enter_context(listen_in(state_dir or default_folder()))
        )
        daemon.begin()
        for taken in filter(None, (listener, folder)):
            from kafka_etl.runtime.daemon.http import HttpServer  # while the first processes start

            stack.enter_context(HttpServer(taken, daemon))
        status = daemon.run()
    progress.finish(daemon.view())
    raise typer.Exit(status)


def read_pipelines(paths: list[Path], overrides: dict[str, str]) -> list[Loaded]:
    """Read pipeline files, and check them without importing plug-ins.

    Raises:
        ConfigError: A file has findings; the error's text holds all of them.
    """
    from kafka_etl.config.report import config_error

    good, findings = _read(paths, overrides)
    if not findings:
        return good
    error = config_error(findings)
    if not good:
        raise error
    others = ", ".join(str(document.path) for document, _ in good)
    raise ConfigError(f"{error.what}\n\nNothing was started, {others} included.", error.next_step)


def read_operators(path: Path, overrides: dict[str, str]) -> Document:
    """Read the document that has the operators of a file: of a task pipeline that of its attempts.

    Raises:
        ConfigError: The file has findings; the error's text holds all of them.
    """
    from kafka_etl.config.load import load
    from kafka_etl.config.task_documents import attempt_document

    read_pipelines([path], overrides)
    (document,) = load([path], env=os.environ, overrides=overrides).documents
    return attempt_document(document)


def read_what_is_good(
    paths: list[Path], overrides: dict[str, str]
) -> tuple[list[Loaded], dict[Path, ConfigError]]:
    """Return the pipelines of the files without findings, and the errors of the other files.

    Called by the daemon on SIGHUP.
    """
    from kafka_etl.config.report import config_error

    good, findings = _read(paths, overrides)
    wrong = {finding.path for finding in findings}
    return good, {path: config_error([f for f in findings if f.path == path]) for path in wrong}


def _read(paths: list[Path], overrides: dict[str, str]) -> tuple[list[Loaded], list[Finding]]:
    from kafka_etl.config.build import read_spec, same_names
    from kafka_etl.config.load import load
    from kafka_etl.config.task_documents import stream_documents

    loaded = load(paths, env=os.environ, overrides=overrides)
    findings = loaded.findings
    read: list[Loaded] = []
    for document in loaded.documents:
        for part in stream_documents(document, findings):
            spec = read_spec(part)
            if isinstance(spec, list):
                findings += spec
            else:
                read.append((part, spec))
    findings += same_names(read)
    wrong = {finding.path for finding in findings}
    return [(document, spec) for document, spec in read if document.path not in wrong], findings


def _parse_levels(texts: list[str]) -> dict[str, str]:
    from kafka_etl.log import COMPONENTS

    levels = {"": "info"}
    for text in texts:
        component, _, level = text.rpartition("=")
        if level not in _LEVELS or (component and component not in COMPONENTS):
            raise typer.BadParameter(
                f"`{text}`: a level is {', '.join(_LEVELS)}; a component is "
                f"{', '.join(COMPONENTS)}",
                param_hint="--log-level",
            )
        levels[component] = level
    return levels
