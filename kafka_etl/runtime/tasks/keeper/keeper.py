"""The keeper of a pipeline's attempts: a process between the owners and the runners.

The keeper has no Kafka client, runs no user code and has one thread, so that nothing but its
daemon's end ends it. Owners come and go; the attempts go on. The keeper dies with its daemon, and
kills its runners before.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from math import inf
from multiprocessing.connection import Connection
from select import select
from time import monotonic
from traceback import format_tb
from typing import Any, Final

from msgspec.structs import replace

from kafka_etl.invocation import ErrorInfo
from kafka_etl.log import configure, get_logger
from kafka_etl.runtime.child import adopt_orphans, task_of_child
from kafka_etl.runtime.messages import Beat, Died, KeeperTask, Listening, RunnerTask
from kafka_etl.runtime.tasks.exchange import (
    Begun,
    Failed,
    FromRunner,
    Made,
    NotReady,
    Reported,
    Run,
)
from kafka_etl.runtime.tasks.keeper import sayings
from kafka_etl.runtime.tasks.keeper.attempt import Attempt
from kafka_etl.runtime.tasks.keeper.attempt_log import Logs
from kafka_etl.runtime.tasks.keeper.control_groups import ControlGroups
from kafka_etl.runtime.tasks.keeper.crew import Crew, death_of
from kafka_etl.runtime.tasks.keeper.guard import Guard
from kafka_etl.runtime.tasks.keeper.leases import Leases
from kafka_etl.runtime.tasks.keeper.loop import Loop
from kafka_etl.runtime.tasks.keeper.offers import Offers
from kafka_etl.runtime.tasks.keeper.owners import Owner, Owners
from kafka_etl.runtime.tasks.keeper.runner_process import RunnerProcess
from kafka_etl.runtime.tasks.keeper.sayings import Executor, Load
from kafka_etl.runtime.tasks.keeper.spool import Spool
from kafka_etl.runtime.user_code import set_stdout_aside
from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.keeping import (
    Acknowledged,
    Attach,
    FromOwner,
    Grant,
    Halt,
    Held,
    Holding,
    Instant,
    Offer,
    Said,
    Show,
)
from kafka_etl.tasks.limits import MEMORY_LIMIT
from kafka_etl.tasks.words import Why
from kafka_etl.units import show_duration

_ALIVE_EVERY: Final = 5.0
_STARTED_WITHIN: Final = 0.05
"""Seconds that a word `started` waits: the result of a short attempt says the same."""
_LISTS: Final = 9
"""Lists of tokens that a keeper says in the time of a lease, at least."""
_LEASE_GRACE: Final = 2.0
"""Seconds that an attempt has to end, at most, once its lease is over."""
_TOGETHER: Final = 0.005
"""Least seconds between two times of speaking: each wakes an owner."""
_ACKNOWLEDGED_WITHIN: Final = 5.0
"""Seconds that a keeper which goes waits for acknowledgements of its last words."""
_FINISHED_WITHIN: Final = 30.0
"""Likewise where attempts may end: an owner that has died has time to come back."""
_log = get_logger("keeper")


class Keeper:
    """Gives grants to runners, and says what comes of them.

    Args:
        task: The task.
        connection: The connection to the daemon, whose end is the daemon's end.

    Attributes:
        boot: Id of this start.
    """

    def __init__(self, task: KeeperTask, connection: Connection[Any, Any]) -> None:
        self.boot: Final = uuid.uuid4().hex
        self._task = task
        self._executor = Executor(task.executor, self.boot)
        self._host = socket.gethostname()
        self._spool = Spool(task.spool)
        self._scratch = task.spool / "scratch" / self.boot
        self._loop = Loop()
        self._loop.follow_signals(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        self._loop.watch(connection.fileno(), self._daemon_is_gone)
        self._connection = connection
        runner = RunnerTask(
            task.document,
            task.executor,
            task.pool == "fresh",
            task.max_result,
            task.logs,
            task.sinks,
        )
        groups = ControlGroups.delegated(task.limits) if task.limits else None
        if task.limits and groups is None:
            _log.info(
                "limits are soft: there is no delegated cgroup, so what attempts use is looked at "
                "twice a second"
            )
        self._crew = Crew(self._loop, runner, task.slots, self, groups)
        self._guard = Guard(task.limits)
        self._leases = Leases(task.lost_after)
        self._offers = Offers()
        self._positions: dict[int, int] = {}
        self._grant_numbers: dict[int, int] = {}
        self._owners = Owners(self._loop, task.socket, self._hear, self._say_again)
        self._logs = Logs(task.log_limit, self._owners.log)
        self._waiting: OrderedDict[str, Grant] = OrderedDict()
        self._running: dict[str, Attempt] = {}
        self._runners: dict[str, RunnerProcess] = {}
        self._outbox: list[Said] = []
        self._says_at = 0.0
        self._begun: OrderedDict[str, float] = OrderedDict()
        self._was_attached = False
        self._alive_every = min(_ALIVE_EVERY, self._leases.length / _LISTS)
        self._alive_at = monotonic() + self._alive_every
        self._is_draining = False
        self._is_orphaned = False
        self._interrupt_at: float | None = None
        self._leaves_at: float | None = None
        for left in self._scratch.parent.glob("*"):  # by a keeper that was killed
            self._crew.remove(str(left))

    def run(self) -> None:
        """Keep attempts until the daemon says SIGTERM, or is gone."""
        while True:
            now = monotonic()
            self._crew.look(now)
            self._obey_signals(now)
            self._keep_time(now)
            self._start(now)
            self._logs.flush(now)
            self._spool.write()
            if self._says_at <= now:
                self._say_what_is_new()
            self._owners.flush()
            if self._is_draining and self._may_leave(now):
                break
            self._loop.turn(self._seconds_to_wait(now))
        self._say_what_is_new()
        self._logs.flush(monotonic(), at_once=True)
        self._owners.flush()
        if not self._is_orphaned:
            self._owners.take_leave()
        self._owners.close()
        self._spool.close()

    # From the owners

    def _hear(self, owner: Owner, message: FromOwner) -> None:
        match message:
            case Attach():
                self._attach(owner, message)
            case Grant():
                self._take(owner, message)
            case Offer():
                self._offer(owner, message)
            case Halt(token, force):
                self._halt(token, force=force)
            case Acknowledged("", _, _):
                self._leases.acknowledge(message)
                self._offers.acknowledge(message.partition, message.number)
            case Acknowledged(token, _, _):
                self._spool.acknowledge(token)
            case Show(token):
                if token in self._runners:
                    self._runners[token].show_stacks()

    def _attach(self, owner: Owner, message: Attach) -> None:
        """Tell an owner what there is: everything that it may have to relay, in good order."""
        self._say_what_is_new()
        self._owners.attach(owner, message)
        self._positions.update(message.partitions)
        for number in message.partitions:
            self._had(number, message.number)
        executor, slots = self._task.executor, self._task.slots
        owner.send(Holding(executor, self.boot, slots, self._held(), self._positions))
        words = self._spool.words()
        greeted = message.partitions if self._was_attached else range(self._task.partitions)
        words += [sayings.hello(self._executor, p) for p in greeted]
        for attempt in self._running.values():
            words += filter(None, (attempt.started, attempt.progress))
        words += self._alive(self._concerned() | message.partitions.keys())
        for said in words:
            if self._owners.of(said.partition) is owner:
                owner.send(said)
        self._was_attached = True

    def _offer(self, owner: Owner, offer: Offer) -> None:
        if not self._is_draining and self._offers.hear(owner, offer, Instant.now(), monotonic()):
            self._outbox += self._alive([offer.partition])

    def _take(self, owner: Owner, grant: Grant) -> None:
        token = grant.token
        self._positions[grant.partition] = grant.position
        self._had(grant.partition, grant.number)
        if token in self._waiting or token in self._running:
            return
        known = self._spool.get(token)
        if known is not None:
            self._outbox.append(known)
        elif self._is_draining:
            self._say_last(sayings.last(grant, sayings.returned(grant)))
        elif grant.offer:
            self._take_offered(owner, grant)
        else:
            self._waiting[token] = grant

    def _had(self, partition: int, number: int) -> None:
        """There is no grant up to this number any more that we have not had."""
        self._grant_numbers[partition] = max(number, self._grant_numbers.get(partition, 0))

    def _take_offered(self, owner: Owner, grant: Grant) -> None:
        """Take a grant of an owner elsewhere, while the offer stands and a slot is free."""
        since = self._offers.since(owner, grant)
        if since is None or len(self._running) + len(self._waiting) >= self._task.slots:
            self._say_last(sayings.last(grant, sayings.returned(grant)))
        else:  # its owner has heard of us after we made the offer: that is what the lease goes by
            self._waiting[grant.token] = replace(grant, granted=since)

    def _halt(self, token: str, *, force: bool) -> None:
        grant = self._waiting.pop(token, None)
        if grant is not None:
            self._say_last(sayings.last(grant, sayings.returned(grant)))
        elif token in self._running:
            self._signal(token, "stopped", force=force)

    def _say_again(self) -> None:
        """An owner is lost: others relay the last words that it may have had in hand."""
        self._outbox += self._spool.words()

    # Attempts

    def _start(self, now: float) -> None:
        """Give grants to idle runners, and see to it that there are runners."""
        while self._waiting and len(self._running) < self._task.slots:
            runner = self._crew.idle()
            if runner is None:
                break
            token, grant = self._waiting.popitem(last=False)
            if self._leases.is_over(grant.partition, grant.granted, Instant.now()):
                self._say_last(sayings.last(grant, sayings.returned(grant)))
                continue
            attempt = Attempt(grant, now, self._task.timeout)
            self._running[token], self._runners[token] = attempt, runner
            timeout = self._task.timeout
            deadline = None if timeout is None else time.time() + timeout
            run = Run(grant, deadline, self._folder_of(token))
            runner.give(attempt, run, self._logs.begin(grant, now))
        if not self._is_draining:
            self._crew.grow(len(self._waiting), now)
        self._crew.flush()

    def heard(self, runner: RunnerProcess, value: FromRunner) -> None:
        """A runner has sent a value that is about an attempt."""
        attempt = runner.attempt
        token: str = getattr(value, "token", "")
        if attempt is None or token != attempt.grant.token:
            return
        match value:
            case Begun():
                started = attempt.begins(time.time_ns() // 1_000_000, runner.pid, self._host)
                if self._task.idempotent:
                    self._begun[token] = monotonic() + _STARTED_WITHIN
                else:  # its owner is to know at once: it may never run again
                    self._outbox.append(started)
            case Reported(_, fraction, text):
                said = attempt.reports(fraction, text)
                if said is not None:
                    self._say_started(token, attempt)
                    self._outbox.append(said)
            case Made() | Failed():
                attempt.answers(value)
                if attempt.was_signalled:
                    runner.kill()
                elif self._crew.release(runner, is_alone=value.is_alone):
                    self._end(attempt, runner)
            case _:
                pass

    def died(self, runner: RunnerProcess) -> None:
        """A runner has died; what it has started may still live."""
        if runner.attempt is not None:
            runner.attempt.dies(death_of(runner), monotonic())

    def gone(self, runner: RunnerProcess) -> None:
        """A runner has died, and so has all that it has started."""
        if runner.attempt is not None:
            self._end(runner.attempt, runner)

    def failed_to_start(self, why: NotReady) -> None:
        """A runner could not open the operator: an attempt that waits fails for that reason."""
        if self._waiting:
            _, grant = self._waiting.popitem(last=False)
            self._say_last(sayings.last(grant, sayings.ended(grant, why.why, why.failure)))

    def _signal(
        self,
        token: str,
        why: Why,
        *,
        force: bool = False,
        failure: Failure | None = None,
        most_grace: float = inf,
    ) -> None:
        """End an attempt, for a reason that counts if there is no result yet."""
        attempt, runner = self._running[token], self._runners[token]
        grace = min(self._task.stop_grace, most_grace)
        if attempt.is_signalled(why, monotonic(), grace, failure) and not force:
            runner.signal_group(signal.SIGTERM)
        elif force:
            runner.kill()

    def _end(self, attempt: Attempt, runner: RunnerProcess) -> None:
        """Nothing of the attempt runs any more: say its last word."""
        token = attempt.grant.token
        del self._running[token], self._runners[token]
        runner.drain()
        self._logs.end(token)
        if self._is_draining:
            self._crew.dismiss_all(at_once=self._is_orphaned)
        self._crew.remove(self._folder_of(token))
        if not attempt.has_result:
            self._say_started(token, attempt)
        self._begun.pop(token, None)
        self._say_last(attempt.last_word(runner.errors.tail))

    def _folder_of(self, token: str) -> str:
        return f"{self._scratch}/{sha256(token.encode()).hexdigest()[:32]}"

    # Words

    def _say_started(self, token: str, attempt: Attempt) -> None:
        """Say that an attempt has begun, unless that was said."""
        if self._begun.pop(token, None) is not None and attempt.started is not None:
            self._outbox.append(attempt.started)

    def _say_last(self, said: Said) -> None:
        self._spool.add(said)
        self._outbox.append(said)

    def _say_what_is_new(self) -> None:
        """Give all words to the owners, once the last ones are in the spool."""
        self._spool.write()
        if self._outbox:
            self._says_at = monotonic() + _TOGETHER
        outbox, self._outbox = self._outbox, []
        for said in outbox:
            if not said.last or said.last in self._spool:
                self._owners.relay(said)
        self._owners.flush()

    def _alive(self, partitions: Iterable[int]) -> list[Said]:
        """What the keeper holds of these partitions, said behind all last words."""
        held: dict[int, list[str]] = {number: [] for number in partitions}
        tokens = self._held()
        for token, of in tokens.items():
            if of.partition in held:
                held[of.partition].append(token)
        now = Instant.now()
        said: list[Said] = []
        for partition, listed in held.items():
            load = Load(
                tuple(listed),
                len(tokens),
                self._is_draining,
                *self._offers.of(partition),
                self._grant_numbers.get(partition, 0),
            )
            number = self._leases.say(partition, now)
            self._offers.said(partition, number)
            said.append(sayings.alive(self._executor, partition, number, load))
        return said

    def _concerned(self) -> set[int]:
        """The partitions whose owners wait for what we say of ourselves."""
        return {of.partition for of in self._held().values()} | self._offers.partitions

    def _held(self) -> dict[str, Held]:
        """Token -> its task, of all attempts that are not forgotten."""
        held = {said.last: Held(said.partition, said.key) for said in self._spool.words()}
        grants = [*(attempt.grant for attempt in self._running.values()), *self._waiting.values()]
        held.update((grant.token, Held(grant.partition, grant.task, grant.age)) for grant in grants)
        return held

    # Time

    def _keep_time(self, now: float) -> None:
        for token, attempt in list(self._running.items()):
            if attempt.timeout_at is not None and now >= attempt.timeout_at:
                took = show_duration(self._task.timeout or 0.0)
                self._signal(
                    token, "timeout", failure=Failure("Timeout", f"it took longer than {took}")
                )
            if attempt.outlives(now):
                self._runners[token].kill()
            self._end_without_lease(token, attempt)
        while self._begun and now >= next(iter(self._begun.values())):
            token = next(iter(self._begun))
            self._say_started(token, self._running[token])
        if self._spool.sync_at is not None and now >= self._spool.sync_at:
            self._spool.sync()
        for token, failure in self._guard.look(now, self._runners):
            self._signal(token, "died", force=failure.type == MEMORY_LIMIT, failure=failure)
        if self._interrupt_at is not None and now >= self._interrupt_at:
            self._interrupt()
        if overdue := self._offers.overdue(now):
            self._outbox += self._alive(overdue)
        if now >= self._alive_at:
            self._alive_at = now + self._alive_every
            self._outbox += self._alive(self._concerned())
            self._beat()

    def _end_without_lease(self, token: str, attempt: Attempt) -> None:
        """End an attempt whose owner may soon give its task to another executor."""
        grant = attempt.grant
        if attempt.was_signalled or attempt.is_decided:
            return
        if self._leases.is_over(grant.partition, grant.granted, Instant.now()):
            took = show_duration(self._leases.length)
            failure = Failure("LeaseLost", f"nobody has heard of this executor for {took}")
            grace = min(_LEASE_GRACE, self._leases.length / _LISTS)
            self._signal(token, "lease_lost", failure=failure, most_grace=grace)

    def _beat(self) -> None:
        """Have the daemon know that we run; a daemon that reads nothing is not waited for."""
        _, writable, _ = select([], [self._connection], [], 0)
        if writable:
            with suppress(OSError):
                self._connection.send(Beat())

    def _seconds_to_wait(self, now: float) -> float:
        times = [self._alive_at, *islice(self._begun.values(), 1), *self._offers.ends]
        if self._outbox:
            times.append(self._says_at)
        for attempt in self._running.values():
            times += filter(None, (attempt.timeout_at, attempt.kill_at))
        times += filter(None, (self._spool.sync_at,))
        times += filter(None, (self._crew.next_look(waiting=bool(self._waiting)), self._leaves_at))
        times += filter(None, (self._logs.next_flush(now),))
        times += filter(None, (self._guard.next_look(self._runners), self._interrupt_at))
        return max(0.0, min(times) - now)

    # The end

    def _obey_signals(self, now: float) -> None:
        wanted = {signal.SIGTERM, signal.SIGINT} & self._loop.signals
        self._loop.signals.clear()
        if wanted and not self._is_draining:
            self._drain(now)
        if signal.SIGINT in wanted:  # two signals of one kind may arrive as one
            self._interrupt()

    def _drain(self, now: float) -> None:
        """Give back what has not begun; interrupt what runs, now or when its time is over."""
        self._is_draining = True
        self._interrupt_at = now + self._task.finish_within
        for grant in self._waiting.values():
            self._say_last(sayings.last(grant, sayings.returned(grant)))
        self._waiting.clear()
        self._offers.end_all()
        if self._is_orphaned or not self._task.finish_within:
            self._interrupt()
        self._crew.dismiss_all(at_once=self._is_orphaned)
        self._alive_at = now

    def _interrupt(self) -> None:
        """Interrupt what runs."""
        self._interrupt_at = None
        for token in list(self._running):
            self._signal(token, "interrupted", force=self._is_orphaned)

    def _daemon_is_gone(self) -> None:
        """Kill everything: the daemon never writes to the connection, so the daemon has ended."""
        self._loop.forget(self._connection.fileno())
        self._is_orphaned = True
        self._drain(monotonic())

    def _may_leave(self, now: float) -> bool:
        """Whether all attempts are over, and nobody is there who would still acknowledge."""
        if self._running or not self._crew.is_gone:
            return False
        if self._leaves_at is None:
            finishes = self._task.finish_within > 0
            self._leaves_at = now + (_FINISHED_WITHIN if finishes else _ACKNOWLEDGED_WITHIN)
        may_be_heard = self._owners.are_there or self._task.finish_within > 0
        is_heard = may_be_heard and not self._is_orphaned
        return not self._spool or not is_heard or now >= self._leaves_at


def main() -> None:
    """Keep attempts for the daemon."""
    task: KeeperTask
    task, connection = task_of_child(when_orphaned=signal.SIGTERM)
    adopt_orphans()
    set_stdout_aside()
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker="keeper")
    try:
        _keep(task, connection)
    except BaseException as error:  # noqa: BLE001 - the daemon gets one line and restarts us
        info = ErrorInfo.of(error)
        said = f"{info.type}: {info.message}"
        frames = "".join(format_tb(error.__traceback__))
        get_logger("keeper").error("died", error=said, traceback=frames)
        connection.send(Died(said))
        sys.exit(1)


def _keep(task: KeeperTask, connection: Connection[Any, Any]) -> None:
    keeper = Keeper(task, connection)
    connection.send(Listening(keeper.boot))
    keeper.run()


if __name__ == "__main__":
    main()
