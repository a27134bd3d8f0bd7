"""Runs a replay: a daemon with one pipeline, whose source is the claimed dead letters.

To release letters is a run, too, which settles them without replaying them: each kind of sink then
decides as usual which letters an earlier run has replayed.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from kafka_etl.cli.dlq.bulk import Letters, give_back, go_on, now_ms, tell
from kafka_etl.log import get_logger
from kafka_etl.terminal import WIPE, overwrite, overwrites

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.document import Document
    from kafka_etl.dead_letters.statuses import BulkAction
    from kafka_etl.dlq.replay import ReplayOrder
    from kafka_etl.runtime.daemon.daemon import Daemon, View

_FAILED_AGAIN: Final = 3
_INTERRUPTED: Final = 128 + signal.SIGINT
_LOG_EVERY: Final = 10.0


class ReplayProgress:
    """Shows how far a replay is: one overwritten line on a terminal, else a line every 10 s.

    Args:
        total: Number of records to replay.
        shown: Whether there is anything to see: a release takes a moment.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total = total
        self._is_shown = shown
        self._shown_at = time.monotonic()
        self.failed = 0

    def show(self, view: View) -> None:
        """Show a view; called by the daemon about once a second."""
        for name, status in view.pipelines.items():
            done, rate = status.count("records_in"), view.rates[name].records_in
            self.failed = int(status.count("dead_letters"))
            left = self._total - done
            eta = f", {left / rate:,.0f} s to go" if rate and left > 0 else ""
            trouble = f" ({status.trouble})" if status.trouble else ""
            line = (
                f"{done:,.0f} of {self._total:,} replayed, {rate:,.0f} rec/s{eta}, "
                f"{self.failed:,} failed again{trouble}"
            )
            self._put(line)

    def _put(self, line: str) -> None:
        if not self._is_shown:
            return
        if overwrites():
            overwrite(line)
        elif time.monotonic() - self._shown_at >= _LOG_EVERY:
            self._shown_at = time.monotonic()
            tell(line)

    def end(self) -> None:
        """Wipe the line from a terminal."""
        if self._is_shown and overwrites():
            sys.stderr.write(WIPE)


def run_replay(  # noqa: PLR0913, PLR0917 - the parts of a replay
    file: Path,
    overrides: dict[str, str],
    letters: Letters,
    order: ReplayOrder,
    action: BulkAction,
    state_dir: Path | None,
) -> int:
    """Replay or release the letters that an action has claimed, until the end or a signal.

    Earlier runs of the action end before their next commit.

    Returns:
        The exit status: 0: done. 3: done, and some have failed again. 1: the replay has failed; 2:
        its configuration is not valid. 128 plus a signal's number: stopped.
    """
    order = replace(order, action=action.id, run=secrets.token_hex(4))
    try:
        status, failed = _through_daemon(file, overrides, letters, order, action, state_dir)
    except KeyboardInterrupt:  # the daemon, which heeds signals itself, had not begun
        status, failed = _INTERRUPTED, 0
    return _sum_up(letters, action, order, failed, status)


def _through_daemon(  # noqa: PLR0913, PLR0917 - the parts of a replay
    file: Path,
    overrides: dict[str, str],
    letters: Letters,
    order: ReplayOrder,
    action: BulkAction,
    state_dir: Path | None,
) -> tuple[int, int]:
    """Run the daemon; return its exit status, and the number of records that failed again."""
    from kafka_etl.cli.daemon.run import read_pipelines
    from kafka_etl.dead_letters.statuses import ActionState, claims_of
    from kafka_etl.dlq.replay import replay_document

    ((document, spec),) = read_pipelines([file], overrides)
    claims = claims_of(letters.statuses.read(), action.id, letters.topic)
    sources = sorted({claim.record.topic for claim in claims})
    order = replace(order, sources=sources)
    progress = ReplayProgress(len(claims), shown=not order.release)
    daemon, folder = _daemon(
        replay_document(document, spec, order), order, action, state_dir, progress
    )
    change = letters.statuses.change()
    change.write(msgspec.structs.replace(action, state=ActionState.RUNNING, run=order.run))
    status = _run(daemon, progress)
    if status == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return status, progress.failed


def _daemon(
    document: Document,
    order: ReplayOrder,
    action: BulkAction,
    state_dir: Path | None,
    progress: ReplayProgress,
) -> tuple[Daemon, Path]:
    """Make the daemon, and return its state folder, too.

    The action's id is the instance, so that the daemon of an earlier run is fenced off, and on the
    same host refused.

    Raises:
        InstanceInUse: An earlier run still runs on this host.
    """
    from kafka_etl.config.build import read_spec
    from kafka_etl.config.model import PipelineSpec
    from kafka_etl.config.report import config_error
    from kafka_etl.errors import InstanceInUse
    from kafka_etl.log import configure
    from kafka_etl.runtime.daemon.daemon import Daemon, DaemonOptions, Loaded
    from kafka_etl.runtime.daemon.state_folder import default_folder
    from kafka_etl.runtime.daemon.version import RunOptions
    from kafka_etl.runtime.messages import LogSettings

    spec = read_spec(document)
    if not isinstance(spec, PipelineSpec):
        raise config_error(spec)
    logs = LogSettings({"": "warning"})
    configure(logs.levels)
    loaded: Loaded = (document, spec)
    folder = state_dir or default_folder()
    instance = action.instance
    options = DaemonOptions(
        run=RunOptions(until_end=True, workers=1, logs=logs),
        state_folder=folder,
        instance=instance,
        reload=lambda _path: [loaded],
        reload_all=lambda: ([loaded], {}),
        look=progress.show,
    )
    try:
        return Daemon([loaded], options), folder / instance
    except InstanceInUse as running:
        raise InstanceInUse(
            f"replay {order.action} still runs on this host",
            "Wait for its end, or stop it with Ctrl-C or SIGTERM.",
        ) from running


def _run(daemon: Daemon, progress: ReplayProgress) -> int:
    """Run the daemon to its end, and tell its problem, if it has one."""
    daemon.begin()
    status = daemon.run()
    progress.show(daemon.view())
    progress.end()
    for pipeline in daemon.view().pipelines.values():
        if pipeline.problem is not None:
            get_logger("daemon").error(
                pipeline.problem.what, code=pipeline.problem.code, next=pipeline.problem.next_step
            )
    return status


def _sum_up(
    letters: Letters, action: BulkAction, order: ReplayOrder, failed: int, status: int
) -> int:
    """Close the account of an action, tell its outcome, and return the exit status."""
    from kafka_etl.dead_letters.statuses import ActionState, LetterStatus

    present = letters.statuses.read().actions[action.id]
    if present.run not in {action.run, order.run}:
        return status or 1  # another run has the letters, and closes the account
    change = letters.statuses.change()
    statuses = change.statuses
    left = len(statuses.claimed(action.id))
    replayed = sum(
        one.action == action.id and one.status is LetterStatus.REPLAYED
        for one in statuses.letters.values()
    )
    failed += statuses.actions[action.id].failed
    account = msgspec.structs.replace(
        statuses.actions[action.id],
        state=ActionState.STOPPED if left else ActionState.DONE,
        ended_ms=now_ms(),
        replayed=replayed,
        failed=failed,
    )
    change.write(account)
    tell(f"replay {action.id}: {replayed:,} of {action.count:,} replayed, {failed:,} failed again")
    if left:
        tell(
            f"{left:,} are left. Go on: {go_on(letters, action)}\n"
            f"Give them back: {give_back(letters, action)}"
        )
        return status or 1
    left_open = action.count - replayed
    if order.release:
        tell(f"{left_open:,} letters are open again")
        return status
    if left_open:
        tell(f"{left_open:,} were left open: see the warnings above")
    return status or (_FAILED_AGAIN if failed or left_open else 0)
