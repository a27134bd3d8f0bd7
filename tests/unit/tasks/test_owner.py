"""The owner with a log in memory and an executor that the test plays."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kafka_etl.contracts import Aborted, OutcomeUnknown, Refusal
from kafka_etl.engine.tasks import book as book_module
from kafka_etl.engine.tasks.archive import Archive, Archives
from kafka_etl.engine.tasks.book import Book
from kafka_etl.engine.tasks.deliveries import Destinations, Letters
from kafka_etl.engine.tasks.dividing import commit_divided
from kafka_etl.engine.tasks.executors import Executors, LocalKeeper
from kafka_etl.engine.tasks.offers import OwnOffers
from kafka_etl.engine.tasks.owner import OwnerSink
from kafka_etl.engine.tasks.takeover import TakeOver
from kafka_etl.errors import TaskHistoryLost, WordsUnreadable
from kafka_etl.invocation import Condition, Outputs, Settlement, Tenure
from kafka_etl.metrics import Counters
from kafka_etl.record import Offsets, Partition, SourceRecord, offset_of
from kafka_etl.retry import Backoff
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Attempts, Failure, Head, Input, StopNote, decode_head, encode_head
from kafka_etl.tasks.journal import head_key
from kafka_etl.tasks.keeping import (
    Attach,
    FromKeeper,
    FromOwner,
    Grant,
    Halt,
    Held,
    Holding,
    Offer,
    Said,
    Show,
)
from kafka_etl.tasks.log import Entry, FoundHead, JournalRecord, Ranges
from kafka_etl.tasks.open_note import OpenNote
from kafka_etl.tasks.placing import partition_of as home_of
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.rows import Row, encode_rows
from kafka_etl.tasks.states import FINAL, State
from kafka_etl.tasks.table import TABLE
from kafka_etl.testing import StoredRecord

P0 = Partition("shop.inbox", 0)
ON_CLUSTER = Destinations([Letters("", FINAL)])
POLICY = Policy(max_attempts=2, backoff=Backoff(1, 1, 1, "none"))


class Log:
    """Inbox and journal in memory."""

    def __init__(self) -> None:
        self.inbox: list[StoredRecord] = []
        self.records: list[tuple[bytes, bytes | None]] = []
        self.read: list[tuple[int, int]] = []
        self.rows: list[Row] = []
        self.letters: list[Any] = []
        self.deliveries: list[tuple[int, Row]] = []
        self.committed = 0
        self.fails = False
        self.partitions = 1
        self.moves: list[tuple[int, SourceRecord]] = []
        self.notes: dict[Partition, OpenNote] = {}
        self.refuses: Callable[[Entry], bool] = lambda _entry: False

    def open(self) -> None: ...

    def close(self) -> None: ...

    def commit(self, entry: Entry, offsets: Offsets, lease: object) -> Mapping[int, int]:
        assert lease is not None
        if self.fails:
            raise Aborted("the test wants it")
        if self.refuses(entry):
            raise Aborted("refused", refusal=Refusal("MSG_SIZE_TOO_LARGE", "too large"))
        self.records += [(key, value) for _, key, value in entry.journal]
        self.rows += entry.rows
        self.letters += [letter for _, letter in entry.letters]
        self.deliveries += entry.deliveries
        self.moves += entry.moves
        self.notes |= entry.notes
        self.committed = offsets[P0]
        return {0: len(self.records)}

    def partition(self, number: int) -> Partition:
        return Partition(P0.topic, number)

    identity = "cluster/journal"

    def inbox_ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return dict.fromkeys(partitions, len(self.inbox))

    def journal_ranges(self, partitions: Collection[Partition]) -> Ranges:
        return dict.fromkeys(partitions, (0, len(self.records)))

    def journal(self, ranges: Ranges) -> Iterator[JournalRecord]:
        for tp, (begin, end) in ranges.items():
            self.read.append((begin, end))
            yield from ((tp, key, value) for key, value in self.records[begin:end])

    @property
    def heads(self) -> dict[bytes, bytes]:
        """The journal as compaction leaves it."""
        last = dict(self.records)
        return {key: value for key, value in last.items() if value is not None}

    def inputs(self, partition: Partition, begin: int, end: int) -> Iterable[SourceRecord]:
        return self.inbox[begin:end]


def holding(slots: int, boot: str = "b1", **tokens: Held) -> Holding:
    return Holding("ex", boot, slots, tokens, {})


class Keeper:
    """The link to the keeper, which writes the keeper's words to the inbox of the test."""

    def __init__(self, log: Log, slots: int = 1) -> None:
        self._relay = Relay(log)
        self.slots = slots
        self.connected = True
        self.told: list[FromOwner] = []
        self.attached: list[int] = []
        self.says: list[FromKeeper] = [holding(slots)]

    def exchange(self) -> list[FromKeeper]:
        says, self.says = self.says, []
        for said in says:
            if isinstance(said, Said):
                self._relay.write(said)
        return [message for message in says if isinstance(message, Holding) or message.last]

    def send(self, message: FromOwner) -> None:
        if isinstance(message, Attach):
            self.attached.append(message.number)
        else:
            self.told.append(message)

    def close(self) -> None: ...


class Tail:
    """What other owners write."""

    def __init__(self) -> None:
        self.followed: dict[int, int] = {}
        self.heads: list[FoundHead] = []

    def follow(self, positions: Mapping[int, int]) -> None:
        self.followed = dict(positions)

    def changes(self) -> list[FoundHead]:
        heads, self.heads = self.heads, []
        return heads

    def close(self) -> None: ...


class Relay:
    """Writes words to the inbox of the test."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, said: Said) -> None:
        put(self._log, said.key, said.headers, said.value)


def put(log: Log, key: str, headers: Any, value: bytes | None = None) -> None:
    at = len(log.inbox)
    log.inbox.append(
        StoredRecord(value, key.encode(), headers, timestamp_ms=at, topic=P0.topic, offset=at)
    )


class Bench:
    """An owner, and what surrounds it."""

    ahead = False

    def __init__(
        self,
        policy: Policy = POLICY,
        slots: int = 1,
        log: Log | None = None,
        places: Destinations = ON_CLUSTER,
        folder: Path | None = None,
    ) -> None:
        self.log = log or Log()
        self.keeper = Keeper(self.log, slots)
        self.tail = Tail()
        self.now = 1_000_000
        self.counters = Counters()
        self.elsewhere: dict[int, OpenNote] = {}
        offers = OwnOffers(lambda: self.elsewhere, lambda: self.now / 1000)
        self.local = LocalKeeper(self.keeper, self.tail, offers, ahead=self.ahead)
        executors = Executors(self.local, Relay(self.log), 60.0, lambda: self.now / 1000)
        archives = Archives(folder, self.log.identity, lambda: self.now)
        self.owner = OwnerSink(
            self.log,
            TakeOver(self.log, archives, policy, 1, lambda: self.now),
            self.local,
            executors,
            policy,
            places,
            "me",
            "work",
            lambda: self.now,
            lambda: 1.0,
            self.counters,
        )
        self.owner.open()
        self.read = self.owner.standing({P0: 0})[P0]

    def say(self, task: str, word: w.Word, value: bytes | None = None) -> None:
        put(self.log, task, w.encode_word(word, value).headers, value)

    def submit(self, task: str, value: bytes = b"{}", **more: Any) -> None:
        put(
            self.log,
            task,
            w.encode_input(w.Submit(word=f"s-{task}", **more), value).headers,
            value,
        )

    def hears(self, task: str, word: w.Word, value: bytes | None = None, last: str = "") -> None:
        """The keeper says a word."""
        headers = w.encode_word(word, value).headers
        self.keeper.says.append(Said(0, task, value, headers, last))

    def turn(self, lease: object = "lease") -> None:
        """The owner takes in what is in the inbox, and does what is due."""
        self.take_in(lease)
        self.owner.tick(lambda: Tenure(lease), final=False)

    def take_in(self, lease: object = "lease") -> None:
        """The owner takes in what is in the inbox."""
        while True:
            records = self.log.inbox[self.read :]
            if not records:
                break
            progress = {P0: offset_of(records[-1]) + 1}
            self.owner.begin(Settlement(Outputs(), (), progress, lease, records=records))()
            self.read = progress[P0]

    def head(self, task: str) -> Head:
        return decode_head(self.log.heads[b"t" + task.encode()])

    def state(self, task: str) -> State:
        return self.head(task).state

    @property
    def grants(self) -> list[Grant]:
        return [message for message in self.keeper.told if isinstance(message, Grant)]

    def run(self, task: str, word: w.Word, value: bytes | None = None) -> None:
        """The attempt of a task starts, and says a last word."""
        token = self.head(task).token
        self.hears(task, w.Started(token=token))
        self.turn()
        self.hears(task, word, value, last=token)
        self.turn()
        self.turn()


def test_a_task_runs_and_its_rows_come_with_its_end() -> None:
    bench = Bench()
    bench.submit("t1", b'{"id": 1}')
    bench.turn()
    assert bench.state("t1") is State.DEQUEUED
    (grant,) = bench.grants
    assert (grant.task, grant.record.value, grant.attempt) == ("t1", b'{"id": 1}', 1)
    rows = [Row("", b"k", b"v", [])]
    bench.run("t1", w.Result(token=grant.token, preview="ok"), encode_rows(rows))
    assert bench.state("t1") is State.SUCCEEDED
    assert bench.log.rows == rows
    assert bench.log.committed == len(bench.log.inbox)


def test_one_slot_runs_one_task_after_the_other_in_their_order() -> None:
    bench = Bench()
    for n in range(3):
        bench.submit(f"t{n}")
    for n in range(3):
        bench.turn()
        assert [grant.task for grant in bench.grants] == [f"t{m}" for m in range(n + 1)]
        bench.run(f"t{n}", w.Result(token=bench.grants[-1].token), encode_rows([]))


class Ahead(Bench):
    """An owner whose keeper may hold grants that it cannot begin at once."""

    ahead = True


@pytest.mark.parametrize(("seconds", "granted"), [(0.05, 4), (0.5, 3), (1.5, 2)])
def test_a_slot_has_as_much_at_hand_as_it_soon_ends(seconds: float, granted: int) -> None:
    bench = Ahead()
    for n in range(6):
        bench.submit(f"t{n}")
    bench.turn()
    assert len(bench.grants) == 1, "nothing is known of attempts"
    done = w.Result(token=bench.grants[0].token, seconds=seconds)
    bench.run("t0", done, encode_rows([]))
    assert len(bench.grants) == granted


def test_a_keeper_that_gives_a_grant_back_gets_none_ahead() -> None:
    bench = Ahead()
    for n in range(6):
        bench.submit(f"t{n}")
    bench.turn()
    bench.run("t0", w.Result(token=bench.grants[0].token, seconds=0.5), encode_rows([]))
    assert [grant.task for grant in bench.grants] == ["t0", "t1", "t2"]
    bench.hears("t2", w.Returned(token=bench.grants[2].token))
    bench.turn()
    bench.turn()
    assert bench.state("t2") is State.ENQUEUED
    assert len(bench.grants) == 3


def test_an_error_is_tried_again_when_its_wait_is_over_and_then_a_letter() -> None:
    bench = Bench()
    bench.submit("t1", b"in")
    bench.turn()
    failure = Failure("ValueError", "no")
    bench.run("t1", w.Ended(token=bench.grants[-1].token, why="error", error=failure))
    assert bench.state("t1") is State.RETRYING
    bench.now += 999
    bench.turn()
    assert len(bench.grants) == 1
    bench.now += 1
    bench.turn()
    assert [grant.attempt for grant in bench.grants] == [1, 2]
    bench.run("t1", w.Ended(token=bench.grants[-1].token, why="error", error=failure))
    assert bench.state("t1") is State.FAILED
    (letter,) = bench.log.letters
    assert letter.failure.error.type == "ValueError"
    assert (letter.record.value(), letter.failure.operator) == (b"in", "work")
    assert len(letter.failure.attempts) == 2


def test_a_stop_halts_what_runs_and_drops_what_waits() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.submit("t2")
    bench.turn()
    for task in ("t1", "t2"):
        bench.say(task, w.Stop(word=f"stop-{task}", by="me"))
    bench.turn()
    assert (bench.state("t1"), bench.state("t2")) == (State.STOPPING, State.STOPPED)
    token = bench.grants[0].token
    assert Halt(token) in bench.keeper.told
    bench.run("t1", w.Ended(token=token, why="stopped"))
    assert bench.state("t1") is State.STOPPED
    assert [letter.failure.condition.value for letter in bench.log.letters] == ["Stopped"] * 2
    bench.turn()
    assert len(bench.grants) == 1


def test_a_duplicate_runs_once_also_after_a_take_over() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.submit("t1")
    bench.turn()
    bench.run("t1", w.Result(token=bench.grants[0].token), encode_rows([]))
    put(bench.log, "t1", w.encode_input(w.Submit(word="later"), b"{}").headers, b"{}")
    after = Bench(log=bench.log)
    assert after.read == len(bench.log.inbox) - 1
    after.turn()
    assert after.grants == []
    assert after.head("t1").duplicates == 1


def test_a_commit_that_fails_starts_nothing_and_is_done_again() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.log.fails = True
    with pytest.raises(Aborted):
        bench.turn()
    assert bench.grants == []
    assert bench.log.heads == {}
    bench.log.fails = False
    bench.turn()  # the engine reads the words once more
    assert len(bench.grants) == 1


def test_a_grant_whose_commit_fails_is_granted_again() -> None:
    bench = Bench()
    bench.keeper.slots, bench.keeper.says = 0, [holding(0)]
    bench.submit("t1")
    bench.turn()
    bench.keeper.says = [holding(1)]
    bench.log.fails = True
    with pytest.raises(Aborted):
        bench.turn()
    bench.log.fails = False
    bench.turn()
    assert [grant.task for grant in bench.grants] == ["t1"]


def test_a_partition_that_has_left_is_not_committed() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.owner.begin(
        Settlement(
            Outputs(),
            (),
            {P0: 1},
            "lease",
            records=bench.log.inbox,
            tenure=lambda: Tenure("lease", frozenset({P0})),
        )
    )()
    assert bench.log.heads == {}


def test_an_attempt_that_its_executor_does_not_list_is_lost() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    token = bench.grants[0].token
    bench.hears("t1", w.Started(token=token))
    bench.turn()
    had = bench.head("t1").grant_number
    bench.say("ex", w.Alive(executor="ex", boot="b1", tokens=(token,), grant_number=had))
    bench.say("ex", w.Alive(executor="ex", boot="b1", grant_number=had))
    bench.turn()
    assert bench.state("t1") is State.RUNNING
    bench.say("ex", w.Alive(executor="ex", boot="b1", grant_number=had))
    bench.turn()
    assert bench.state("t1") is State.RETRYING
    assert bench.head("t1").attempts.counted == 1


def test_a_paused_pipeline_begins_nothing() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.submit("t2")
    bench.turn()
    bench.local.released(bench.head("t1").token)  # a slot gets free
    bench.owner.tick(lambda: Tenure("lease"), final=False, paused=True)
    assert [grant.task for grant in bench.grants] == ["t1"]
    bench.turn()
    assert [grant.task for grant in bench.grants] == ["t1", "t2"]


def test_a_grant_that_never_arrived_does_not_count() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    first = bench.grants[0].token
    had = bench.head("t1").grant_number
    for _ in range(2):
        bench.say("ex", w.Alive(executor="ex", boot="b1", grant_number=had))
    bench.turn()
    assert bench.head("t1").attempts.total == 0
    assert bench.grants[-1].token != first


def test_lists_of_before_a_grant_arrived_prove_nothing_until_its_lease_is_over() -> None:
    """A commit that takes long leaves many of them in the inbox."""
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    first, had = bench.head("t1").token, bench.head("t1").grant_number
    for _ in range(5):
        bench.say("ex", w.Alive(executor="ex", boot="b1", grant_number=had - 1))
    bench.turn()
    assert bench.head("t1").token == first
    assert len(bench.grants) == 1
    bench.now += 61_000
    for _ in range(2):
        bench.say("ex", w.Alive(executor="ex", boot="b1", grant_number=had - 1))
    bench.turn()
    assert bench.head("t1").token != first


def test_an_attachment_is_no_proof_about_a_grant_that_is_being_committed() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    reserved = bench.local.grant(bench.head("t1"))
    bench.local.attach()
    bench.local.void()
    bench.local.attach()
    *_, meanwhile, after = bench.keeper.attached
    assert meanwhile < reserved.grant_number < after


def test_a_token_that_the_keeper_lists_too_long_takes_no_slot() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    token = bench.grants[0].token
    bench.run("t1", w.Result(token=token), encode_rows([]))
    bench.keeper.says.append(holding(1, **{token: Held(0, "t1")}))  # sent before it had heard
    bench.submit("t2")
    bench.turn()
    bench.turn()
    assert [grant.task for grant in bench.grants] == ["t1", "t2"]


def test_a_task_that_waits_too_long_expires_and_one_that_runs_does_not() -> None:
    bench = Bench(Policy(max_age_ms=5_000))
    bench.now = 1_000
    bench.submit("t1")
    bench.submit("t2")
    bench.turn()
    bench.now = 5_999
    bench.turn()
    assert (bench.state("t1"), bench.state("t2")) == (State.DEQUEUED, State.EXPIRED)
    assert bench.log.letters[0].failure.condition.value == "Expired"


def test_what_an_earlier_boot_held_has_ended() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    bench.hears("t1", w.Started(token=bench.grants[0].token))
    bench.turn()
    bench.keeper.says = [holding(1, "b2")]
    bench.say("ex", w.Hello(executor="ex", boot="b2"))
    bench.turn()
    assert bench.state("t1") is State.RETRYING


def test_a_grant_to_a_new_keeper_is_not_lost_before_the_first_word_of_the_keeper_is_read() -> None:
    bench = Bench()
    bench.say("ex", w.Hello(executor="ex", boot="b1"))
    bench.keeper.says = [holding(1, "b2")]
    bench.submit("t1")
    bench.turn()
    bench.turn()
    assert (bench.state("t1"), bench.head("t1").attempts.total) == (State.DEQUEUED, 0)
    bench.say("ex", w.Hello(executor="ex", boot="b2"))
    bench.turn()
    assert (bench.state("t1"), bench.head("t1").attempts.total) == (State.DEQUEUED, 0)


def test_silence_beyond_the_limit_is_a_loss() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    bench.now += 60_000
    bench.turn()
    assert bench.state("t1") is State.DEQUEUED
    bench.now += 60_001
    bench.turn()  # writes a probe
    bench.turn()
    assert bench.head("t1").attempts.total == 1


def test_an_inbox_that_cannot_be_read_makes_nobody_silent() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    bench.now += 120_000
    bench.owner.tick(lambda: Tenure("lease"), final=False)  # writes a probe, which is not read yet
    bench.now += 120_000
    bench.owner.tick(lambda: Tenure("lease"), final=False)
    assert bench.state("t1") is State.DEQUEUED
    # It was said before the probe, though it is read an hour later.
    token = bench.grants[0].token
    probe = bench.log.inbox.pop()
    bench.say("ex", w.Alive(executor="ex", boot="b1", tokens=(token,)))
    put(bench.log, "probe", probe.headers())
    bench.turn()
    bench.turn()
    assert bench.state("t1") is State.DEQUEUED


def test_an_executor_that_was_idle_for_an_hour_is_not_lost_with_its_next_grant() -> None:
    bench = Bench()
    bench.say("ex", w.Alive(executor="ex", boot="b1"))
    bench.turn()
    bench.now += 3_600_000
    bench.submit("t1")
    for _ in range(3):
        bench.turn()
    assert bench.state("t1") is State.DEQUEUED
    assert bench.head("t1").attempts.total == 0


def test_a_late_word_of_an_earlier_boot_ends_nothing() -> None:
    bench = Bench()
    bench.say("ex", w.Hello(executor="ex", boot="b0"))
    bench.say("ex", w.Hello(executor="ex", boot="b1"))
    bench.submit("t1")
    bench.turn()
    bench.say("ex", w.Alive(executor="ex", boot="b0"))
    bench.turn()
    assert bench.state("t1") is State.DEQUEUED


def test_an_executor_that_began_anew_while_its_partition_was_elsewhere_is_no_other() -> None:
    bench = Bench()
    bench.say("ex", w.Hello(executor="ex", boot="b0"))
    bench.turn()
    away = Bench(log=bench.log)  # the partition is there for a while, and so is a new keeper
    away.keeper.says = [holding(1, "b1")]
    away.say("ex", w.Hello(executor="ex", boot="b1"))
    away.submit("t1")
    away.turn()
    bench.keeper.says = [holding(1, "of this host")]
    bench.owner.tick(lambda: Tenure("lease", frozenset({P0})), final=False, leaving=[P0])
    bench.read = bench.owner.standing({P0: bench.log.committed})[P0]
    bench.turn()
    assert (bench.state("t1"), bench.head("t1").attempts.total) == (State.DEQUEUED, 0)


def found(head: Head, partition: int = 0) -> FoundHead:
    """A head in the journal of another owner."""
    return FoundHead(partition, head.id, encode_head(head), 100)


def with_task_elsewhere() -> tuple[Bench, Head]:
    """The attempt of a task runs here, and its partition has left."""
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    head = bench.head("t1")
    bench.owner.tick(lambda: Tenure("lease", frozenset({P0})), final=False)
    bench.owner.tick(lambda: Tenure("lease"), final=False)
    bench.keeper.told.clear()
    return bench, head


def test_an_attempt_of_a_partition_that_has_left_obeys_the_journal() -> None:
    bench, head = with_task_elsewhere()
    assert bench.tail.followed == {0: len(bench.log.records)}  # behind the commit of the grant
    bench.tail.heads = [found(head), found(replace(head, id="t2"))]
    bench.turn()
    assert bench.keeper.told == []
    before = replace(head, token="", history=head.history[:-1])
    bench.tail.heads = [found(before)]
    bench.turn()
    assert bench.keeper.told == []
    stopped = replace(head, state=State.STOPPING, stop=StopNote(1))
    bench.tail.heads = [found(stopped)]
    bench.turn()
    assert bench.keeper.told == [Halt(head.token)]


@pytest.mark.parametrize("token", ["", "another"])
def test_an_attempt_that_was_declared_lost_elsewhere_is_killed(token: str) -> None:
    bench, head = with_task_elsewhere()
    bench.tail.heads = [found(replace(head, token=token))]
    bench.turn()
    assert bench.keeper.told == [Halt(head.token, force=True)]


def test_an_attempt_of_another_owners_task_takes_its_slot_until_its_last_word() -> None:
    bench, head = with_task_elsewhere()
    bench.owner.standing({Partition("shop.inbox", 1): 0})
    keeper = bench.local
    assert keeper.free == 0
    bench.hears("t1", w.Result(token=head.token), encode_rows([]), last=head.token)
    bench.turn()
    assert keeper.free == 1
    bench.turn()
    assert bench.tail.followed == {}


def test_a_new_connection_repeats_stops_and_ends_what_no_head_names() -> None:
    bench = Bench(slots=2)
    bench.submit("t1")
    bench.turn()
    token = bench.grants[0].token
    bench.say("t1", w.Stop(word="s1"))
    bench.turn()
    bench.keeper.told.clear()
    held = {token: Held(0, "t1"), "old": Held(0, "t0"), "foreign": Held(3, "t9")}
    bench.keeper.says.append(holding(2, **held))
    bench.turn()
    assert bench.keeper.told == [Halt(token), Halt("old", force=True)]


def test_an_input_that_is_gone_fails_the_task() -> None:
    bench = Bench(slots=1)
    bench.keeper.says = [holding(0)]
    bench.submit("t1")
    bench.turn()
    log = bench.log
    log.inbox[0] = StoredRecord(None, b"x", [], topic=P0.topic, offset=-5)
    after = Bench(log=log)
    after.log.inputs = lambda *_: []  # type: ignore[method-assign]
    after.turn()
    assert after.head("t1").error == Failure("InputGone", "the inbox has the input no more")
    assert len(log.letters) == 1


def test_what_is_no_word_is_a_dead_letter_and_passed() -> None:
    bench = Bench()
    put(bench.log, "t1", [("k", b"nonsense")], b"raw")
    put(bench.log, "", w.encode_word(w.Stop(word="1")).headers)
    put(bench.log, "x" * 300, w.encode_word(w.Submit(word="2")).headers, b"{}")
    bench.submit("t2")
    bench.turn()
    assert bench.counters.snapshot()["words_bad", ""] == 3
    assert bench.state("t2") is State.DEQUEUED
    assert [letter.record.offset() for letter in bench.log.letters] == [0, 1, 2]
    assert {letter.failure.condition for letter in bench.log.letters} == {Condition.INVALID}
    assert "`nonsense` is no kind of word" in bench.log.letters[0].failure.error.message
    assert bench.log.committed == 4


def test_a_hundred_records_in_a_row_that_are_no_words_stop_the_pipeline() -> None:
    bench = Bench()
    for _ in range(99):
        put(bench.log, "t", [])
    bench.submit("t1")
    for _ in range(99):
        put(bench.log, "t", [])
    bench.turn()
    put(bench.log, "t", [])
    with pytest.raises(WordsUnreadable, match="100 records in a row"):
        bench.turn()
    assert bench.log.committed == 200  # the next run goes on behind them
    assert len(bench.log.letters) == 199


def test_a_word_at_which_the_table_fails_costs_its_task_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(slots=2)
    bench.submit("t1")
    bench.submit("t2")
    bench.turn()

    def fails(_case: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(
        "kafka_etl.tasks.table.TABLE", {**TABLE, (State.DEQUEUED, w.Stop): fails}, raising=True
    )
    bench.say("t1", w.Stop(word="1", by="me"))
    bench.run("t2", w.Result(token=bench.grants[1].token), encode_rows([]))
    bench.turn()
    monkeypatch.undo()
    (letter,) = bench.log.letters
    assert letter.failure.error.type == "InternalError"
    assert "a fault of ours" in letter.failure.error.message
    assert bench.state("t2") is State.SUCCEEDED
    after = Bench(log=bench.log)  # the quarantine outlives the owner
    with pytest.raises(msgspec.MsgspecError):
        after.head("t1")
    after.submit("t1")
    after.turn()
    assert after.grants == []


def test_a_broken_task_that_waits_takes_no_slot_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_case: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    bench = Bench()
    bench.keeper.says = [holding(0)]
    bench.submit("t1")
    bench.submit("t2")
    bench.turn()
    monkeypatch.setattr("kafka_etl.tasks.table.TABLE", {**TABLE, (State.ENQUEUED, w.Stop): fails})
    bench.keeper.says = [holding(1)]
    bench.say("t1", w.Stop(word="1", by="me"))
    bench.turn()
    bench.turn()
    assert [grant.task for grant in bench.grants] == ["t2"]


def test_an_unreadable_head_keeps_its_id_until_it_is_forgotten() -> None:
    bench = Bench()
    bench.log.records.append((head_key("t1"), b"{"))
    after = Bench(log=bench.log)
    for word in (w.Stop(word="1"), w.Retry(word="2", expect=1), w.Submit(word="3")):
        after.say("t1", word, b"{}")
    after.turn()
    assert after.log.heads[head_key("t1")] == b"{"
    after.say("t1", w.Forget(word="4", by="me"))
    after.submit("t1")
    after.turn()
    assert after.state("t1") is State.DEQUEUED


def test_what_was_read_and_left_no_mark_is_lost_history() -> None:
    bench = Bench()
    with pytest.raises(TaskHistoryLost, match="read up to offset 5"):
        bench.owner.standing({P0: 5})


def test_a_question_is_in_one_head_of_its_task() -> None:
    bench = Bench()
    bench.submit("t")
    bench.turn()
    bench.say("t", w.Ask(word="q"))
    bench.turn()
    assert bench.head("t").ask == "stack q"
    shown = [m for m in bench.keeper.told if isinstance(m, Show)]
    assert len(shown) == 1

    bench.say("t", w.Submit(word="s2"), b"{}")  # a duplicate, which is noted
    bench.turn()
    assert (bench.head("t").duplicates, bench.head("t").ask) == (1, "")

    bench.say("t", w.Ask(word="r"))
    bench.say("t", w.Submit(word="s3"), b"{}")  # in the same commit: the question is not lost
    bench.turn()
    assert (bench.head("t").duplicates, bench.head("t").ask) == (2, "stack r")
    assert len([m for m in bench.keeper.told if isinstance(m, Show)]) == 2


def test_progress_has_a_record_of_its_own() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    before = bench.head("t1")
    bench.say("t1", w.Progress(token=before.token, fraction=0.5, text="half"))
    bench.say("t1", w.Progress(token="other", fraction=0.9))
    bench.turn()
    assert bench.head("t1") == before
    assert b'"fraction":0.5' in bench.log.heads[b"pt1"]


@pytest.mark.parametrize("moves", [False, True])
def test_a_retry_with_another_input_runs_with_it_here_and_at_a_new_owner(*, moves: bool) -> None:
    bench = Bench(Policy(max_attempts=1))
    bench.submit("t1", b"bad")
    bench.turn()
    bench.run("t1", w.Ended(token=bench.head("t1").token, why="permanent"))
    retry = w.Retry(word="r", expect=1, input=True, preview="good")
    record = w.encode_input(retry, b"good", b"k", [("h", b"1")])
    put(bench.log, "t1", record.headers, record.value)
    if moves:
        bench.keeper.slots, bench.keeper.says = 0, [holding(0)]
    bench.turn()
    after = Bench(Policy(max_attempts=1), log=bench.log) if moves else bench
    after.turn()
    grant = after.grants[-1]
    assert (grant.record.value, grant.record.key, grant.record.headers) == (
        b"good",
        b"k",
        [("h", b"1")],
    )
    head = after.head("t1")
    assert head.input is not None
    assert (head.input.offset, head.input.size) == (len(bench.log.inbox) - 1, 4)
    assert head.generation == 2


def test_nothing_is_written_while_nothing_changes() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    journal: Mapping[bytes, bytes] = dict(bench.log.heads)
    for _ in range(5):
        bench.turn()
    assert bench.log.heads == journal


def die_together(bench: Bench, boot: int) -> None:
    """The keeper dies with all that it holds, and its successor says hello."""
    bench.keeper.says = [holding(bench.keeper.slots, f"b{boot}")]
    bench.say("ex", w.Hello(executor="ex", boot=f"b{boot}"))
    bench.turn()
    bench.turn()


def held(bench: Bench) -> list[str]:
    heads = [decode_head(value) for key, value in bench.log.heads.items() if key[:1] == b"t"]
    return [head.id for head in heads if head.token]


def test_suspects_run_in_ever_smaller_groups_and_a_death_alone_counts() -> None:
    bench = Bench(Policy(max_attempts=2, backoff=Backoff(0, 1, 0, "none")), slots=4)
    for task in ("t1", "t2", "t3", "t4"):
        bench.submit(task)
    bench.turn()
    die_together(bench, 2)
    assert held(bench) == ["t1", "t2", "t3", "t4"], "that may be chance"
    die_together(bench, 3)
    assert held(bench) == ["t1", "t2"]
    die_together(bench, 4)
    assert held(bench) == ["t1"]
    assert [bench.head(t).attempts.counted for t in ("t1", "t2")] == [0, 0]
    for boot in (5, 6):
        die_together(bench, boot)
    assert (bench.state("t1"), bench.head("t1").attempts.counted) == (State.FAILED, 2)
    assert held(bench) == ["t2"]
    bench.run("t2", w.Result(token=bench.head("t2").token), encode_rows([]))
    assert held(bench) == ["t3", "t4"], "they have died two times only"


@pytest.mark.parametrize(
    ("joint", "most"), [(0, 1024), (1, 1024), (2, 512), (3, 256), (5, 64), (6, 1), (9, 1)]
)
def test_so_many_suspects_run_beside_each_other(joint: int, most: int) -> None:
    head = Head(id="t", state=State.ENQUEUED, attempts=Attempts(joint=joint))
    assert head.most_suspects(1024) == most


def test_nobody_but_a_suspect_waits_for_a_suspect() -> None:
    bench = Bench(slots=3)
    for task in ("t1", "t2", "t3"):
        bench.submit(task)
    bench.turn()
    for boot in (2, 3):
        die_together(bench, boot)
    assert held(bench) == ["t1"]
    bench.submit("t4")
    bench.turn()
    assert held(bench) == ["t1", "t4"]


def test_a_suspect_that_runs_is_known_to_a_new_owner() -> None:
    bench = Bench(slots=2)
    for task in ("t1", "t2"):
        bench.submit(task)
    bench.turn()
    for boot in (2, 3):
        die_together(bench, boot)
    token = bench.head("t1").token
    assert held(bench) == ["t1"]

    after = Bench(log=bench.log, slots=2)
    after.keeper.says = [holding(2, "b3", **{token: Held(0, "t1")})]
    after.turn()
    after.turn()
    assert held(after) == ["t1"]
    after.run("t1", w.Result(token=token), encode_rows([]))
    assert held(after) == ["t2"]


def test_ten_deaths_together_end_a_task() -> None:
    bench = Bench(Policy(backoff=Backoff(0, 1, 0, "none"), max_joint=2), slots=2)
    for task in ("t1", "t2"):
        bench.submit(task)
    bench.turn()
    die_together(bench, 2)
    die_together(bench, 3)

    error = bench.head("t1").error
    assert error is not None
    assert (bench.state("t1"), error.type) == (State.FAILED, "WorkerCrashed")
    assert "was not alone" in error.message
    assert [letter.failure.condition.value for letter in bench.log.letters] == ["WorkerCrashed"] * 2


# Offers


def other(bench: Bench, slots: int, offer: int = 1, *tokens: str) -> None:
    """The keeper of another host says how many slots it offers."""
    word = w.Alive(executor="other", boot="o1", tokens=tokens, offer=offer, slots=slots)
    bench.say("other", word)
    bench.turn()


def at(bench: Bench, executor: str) -> list[str]:
    """The tasks whose token an executor holds."""
    heads = [decode_head(value) for key, value in bench.log.heads.items() if key[:1] == b"t"]
    return sorted(head.id for head in heads if head.token and head.executor == executor)


def offering(slots: int, tasks: int) -> Bench:
    """One slot here is taken, and another host offers some; so many tasks are there in all."""
    bench = Bench(slots=1)
    for n in range(tasks):
        bench.submit(f"t{n}")
    other(bench, slots)
    return bench


def test_what_waits_goes_to_slots_elsewhere_once_those_here_are_taken() -> None:
    bench = offering(2, 5)
    assert at(bench, "ex") == ["t0"]
    assert at(bench, "other") == ["t1", "t2"]
    assert [grant.task for grant in bench.grants] == ["t0"], "the other host reads the journal"
    assert bench.log.notes[P0].waiting == 2
    for task in ("t1", "t2"):
        bench.say(task, w.Started(token=bench.head(task).token))
    other(bench, 2, 1, bench.head("t1").token, bench.head("t2").token)
    assert at(bench, "other") == ["t1", "t2"]


def test_an_end_elsewhere_makes_room_for_the_next_task() -> None:
    bench = offering(1, 4)
    bench.say("t1", w.Result(token=bench.head("t1").token), encode_rows([]))
    bench.turn()
    bench.turn()
    assert bench.state("t1") is State.SUCCEEDED
    assert at(bench, "other") == ["t2"]
    assert at(bench, "ex") == ["t0"]


def test_without_tasks_that_wait_nothing_goes_elsewhere() -> None:
    assert at(offering(2, 1), "other") == []


def test_a_host_whose_keeper_begins_nothing_more_gives_all_away() -> None:
    bench = Bench(slots=1)
    bench.turn()
    bench.say("ex", w.Alive(executor="ex", boot="b1", draining=True))
    for n in range(3):
        bench.submit(f"t{n}")
    other(bench, 2)
    assert (at(bench, "ex"), at(bench, "other")) == ([], ["t0", "t1"])


def test_a_list_says_of_a_grant_under_an_earlier_offer_that_it_was_never_begun() -> None:
    bench = offering(2, 3)
    tokens = [bench.head(task).token for task in ("t1", "t2")]
    for _ in range(3):
        other(bench, 2, 1, tokens[0])  # the other grant may still be on its way
    assert at(bench, "other") == ["t1", "t2"]
    other(bench, 0, 2, tokens[0])
    assert at(bench, "other") == ["t1"]
    assert bench.state("t2") is State.ENQUEUED
    assert bench.head("t2").attempts.total == 0


def test_a_list_from_before_an_offer_says_nothing_of_its_grants() -> None:
    bench = offering(1, 2)
    for _ in range(3):
        other(bench, 0, 0)
    assert at(bench, "other") == ["t1"]


def test_a_stop_of_a_grant_that_was_never_begun_is_confirmed() -> None:
    bench = offering(1, 2)
    bench.say("t1", w.Stop(word="s1"))
    other(bench, 0, 2)
    bench.turn()
    stop = bench.head("t1").stop
    assert bench.state("t1") is State.STOPPED
    assert stop is not None
    assert not stop.unconfirmed


def test_who_gives_a_grant_back_gets_none_before_its_next_list() -> None:
    bench = offering(1, 3)
    bench.say("t1", w.Returned(token=bench.head("t1").token))
    bench.turn()
    assert at(bench, "other") == []
    other(bench, 1)
    assert at(bench, "other") == ["t1"]


def test_a_host_that_is_lost_loses_what_it_had_in_a_partition() -> None:
    bench = offering(1, 3)
    bench.say("t1", w.Started(token=bench.head("t1").token))
    bench.turn()
    for _ in range(2):
        bench.now += 61_000
        bench.say("ex", w.Alive(executor="ex", boot="b1", tokens=(bench.head("t0").token,)))
        bench.turn()
    assert bench.head("t1").attempts.last[-1].why == "lost"
    assert at(bench, "ex") == ["t0"]
    assert at(bench, "other") == [], "it has offered nothing for a minute"


def test_suspects_stay_here_and_others_go_elsewhere() -> None:
    bench = Bench(slots=2)
    for task in ("t1", "t2"):
        bench.submit(task)
    bench.turn()
    for boot in (2, 3):
        die_together(bench, boot)
    other(bench, 2)
    for task in ("t3", "t4"):
        bench.submit(task)
    bench.turn()
    bench.turn()
    assert (at(bench, "ex"), at(bench, "other")) == (["t1", "t3"], ["t4"])


def idle(slots: int = 2) -> Bench:
    """Nothing waits here, and three tasks wait in another partition: an offer was made."""
    bench = Bench(slots=slots)
    bench.turn()
    bench.elsewhere = {1: OpenNote(7, 5, 3, at=40)}
    assert [m for m in bench.keeper.told if isinstance(m, Offer)] == []
    bench.now += 2_000
    bench.turn()
    return bench


def offers(bench: Bench) -> list[Offer]:
    found = [message for message in bench.keeper.told if isinstance(message, Offer)]
    bench.keeper.told = [m for m in bench.keeper.told if not isinstance(m, Offer)]
    return found


def granted(task: str, boot: str = "b1", **more: Any) -> Head:
    """A head in another partition that grants an attempt to our keeper."""
    head = Head(
        id=task,
        state=State.DEQUEUED,
        input=Input(0, 2),
        token=f"k-{task}",
        executor="ex",
        boot=boot,
        offer=1,
    )
    return replace(head, **more)


def test_a_host_without_work_offers_its_slots_and_begins_what_is_granted() -> None:
    bench = idle()
    assert offers(bench) == [Offer(1, 2)]
    bench.submit("t1")  # stands for the record of the other partition
    bench.read = len(bench.log.inbox)
    bench.turn()
    assert bench.tail.followed == {1: 40}
    bench.tail.heads = [found(granted("t1"), 1), found(granted("t9", "b0"), 1)]
    bench.turn()
    (grant,) = bench.grants
    assert (grant.task, grant.partition, grant.offer, grant.position) == ("t1", 1, 1, 100)
    assert grant.record.value == b"{}"
    bench.tail.heads = [found(granted("t1", state=State.STOPPING, stop=StopNote(1)), 1)]
    bench.turn()
    assert bench.keeper.told[-1] == Halt("k-t1")


def test_work_of_its_own_ends_what_a_host_offers() -> None:
    bench = idle(slots=1)
    assert offers(bench) == [Offer(1, 1)]
    bench.submit("t1")
    bench.turn()
    assert [grant.task for grant in bench.grants] == ["t1"]
    assert offers(bench) == [Offer(1, 0)]
    bench.tail.heads = [found(granted("t2"), 1)]
    bench.turn()
    assert len(bench.grants) == 1


def test_an_input_that_cannot_be_read_ends_the_offer() -> None:
    bench = idle()
    offers(bench)
    bench.tail.heads = [found(granted("t1"), 1)]
    bench.turn()
    assert bench.grants == []
    assert offers(bench) == [Offer(1, 0)]


def test_a_paused_host_offers_nothing() -> None:
    bench = idle()
    offers(bench)
    bench.owner.tick(lambda: Tenure("lease"), final=False, paused=True)
    assert offers(bench) == [Offer(1, 0)]


def test_a_keeper_that_drains_offers_nothing() -> None:
    bench = idle()
    offers(bench)
    bench.say("ex", w.Alive(executor="ex", boot="b1", draining=True))
    bench.turn()
    assert offers(bench) == [Offer(1, 0)]


# Archives


def finish(bench: Bench, *tasks: str) -> None:
    for task in tasks:
        bench.submit(task)
        bench.turn()
        bench.run(task, w.Result(token=bench.grants[-1].token), encode_rows([]))


def submit_again(bench: Bench, task: str) -> None:
    put(bench.log, task, w.encode_input(w.Submit(word=f"again-{task}"), b"{}").headers, b"{}")


def test_a_new_owner_reads_only_what_the_archive_does_not_know(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path)
    finish(bench, "t1", "t2")
    bench.now += 30_000
    bench.turn()  # saves
    saved = len(bench.log.records)
    finish(bench, "t3")
    bench.submit("t4")
    bench.turn()
    bench.owner.close()

    bench.log.read.clear()
    after = Bench(log=bench.log, folder=tmp_path)
    assert bench.log.read == [(saved, len(bench.log.records))]
    for task in ("t1", "t3", "t4"):
        submit_again(after, task)
    after.turn()
    assert {grant.task for grant in after.grants} <= {"t4"}
    assert [after.head(task).duplicates for task in ("t1", "t2", "t3", "t4")] == [1, 0, 1, 1]


def test_an_archive_claims_nothing_that_another_owner_has_written(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path / "a")
    finish(bench, "t1")
    known = len(bench.log.records)
    other = Bench(log=bench.log, folder=tmp_path / "b")
    finish(other, "t2")
    bench.now += 30_000
    bench.owner.tick(lambda: Tenure("lease"), final=False)  # saves, and does not know of the other
    bench.owner.close()

    bench.log.read.clear()
    Bench(log=bench.log, folder=tmp_path / "a")
    assert bench.log.read == [(known, len(bench.log.records))]


def test_a_task_that_is_retried_leaves_the_archive_and_comes_back(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path)
    finish(bench, "t1")
    bench.say("t1", w.Retry(word="again", expect=1, again=True))
    bench.now += 30_000
    bench.turn()
    bench.owner.close()
    after = Bench(log=bench.log, folder=tmp_path)
    assert (after.state("t1"), after.head("t1").generation) == (State.DEQUEUED, 2)
    after.run("t1", w.Result(token=after.head("t1").token), encode_rows([]))
    assert after.state("t1") is State.SUCCEEDED
    assert len(after.log.rows) == 0


def test_beyond_the_most_the_oldest_that_has_succeeded_is_forgotten() -> None:
    bench = Bench(dataclasses.replace(POLICY, history_max=2))
    bench.submit("bad")
    bench.turn()
    bench.run("bad", w.Ended(token=bench.grants[0].token, why="permanent"))
    for task in ("t1", "t2", "t3"):
        bench.now += 1_000
        finish(bench, task)
    for _ in range(3):
        bench.now += 1_000
        bench.turn()
    assert sorted(key for key in bench.log.heads if key[:1] == b"t") == [b"tbad", b"tt3"]
    finish(bench, "t1")
    assert bench.head("t1").generation == 1


def test_as_many_are_forgotten_as_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_AT_ONCE", 1)
    bench = Bench(dataclasses.replace(POLICY, history_max=2))
    for n in range(30):
        finish(bench, f"t{n}")
        finish(bench, f"u{n}")
        bench.now += 1_000
        bench.turn()
    left = [key for key in bench.log.heads if key[:1] == b"t"]
    assert len(left) <= 6


def test_a_task_that_has_ended_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_FEW_TIMERS", 5)
    book = Book(Policy(max_age_ms=86_400_000))
    for n in range(50):
        book.take(f"t{n}", w.Submit(word="", accepted_ms=n), Moment(n, n))
        if n != 7:
            book.take(f"t{n}", w.Stop(expect=0), Moment(n, n))
        book.merge(book.changes())
        book.forget_old(n)
    assert len(book._timers) <= 20  # pyright: ignore[reportPrivateUsage] - memory
    book.tell_time(7 + 86_400_000)
    assert [(c.task, c.after and c.after.state) for c in book.changes()] == [("t7", State.EXPIRED)]


def test_the_wait_of_an_earlier_failure_does_not_cut_the_next_one_short() -> None:
    bench = Bench(Policy(max_attempts=9, backoff=Backoff(60, 1, 60, "none")))
    bench.submit("t1")
    bench.turn()
    error = Failure("ValueError", "no")
    bench.run("t1", w.Ended(token=bench.head("t1").token, why="error", error=error))
    bench.now += 30_000
    bench.say("t1", w.Retry(word="r", expect=0))
    bench.turn()
    bench.run("t1", w.Ended(token=bench.head("t1").token, why="error", error=error))
    bench.now += 59_000
    bench.turn()
    assert bench.state("t1") is State.RETRYING
    bench.now += 1_000
    bench.turn()
    assert bench.state("t1") is State.DEQUEUED


def test_what_is_past_its_history_is_a_stub_and_then_forgotten() -> None:
    bench = Bench(dataclasses.replace(POLICY, history_ms=10_000, window_ms=1_040_000))
    finish(bench, "t1")
    accepted = bench.head("t1").forget_ms
    bench.now += 10_000
    bench.turn()
    assert bench.head("t1").is_stub
    submit_again(bench, "t1")
    bench.turn()
    assert bench.head("t1").duplicates == 1
    bench.now = accepted
    bench.turn()
    bench.now += 1_000
    bench.turn()
    assert b"tt1" not in bench.log.heads


def test_an_archive_that_breaks_is_made_anew_by_the_next_take_over(tmp_path: Path) -> None:
    bench = Bench(folder=tmp_path)
    finish(bench, "t1")
    bench.owner.close()

    class Damaged(Archives):
        def open(self, number: int, begin: int, end: int) -> Archive:
            made = super().open(number, begin, end)
            made.close()  # whatever is asked of it fails
            return made

    damaged = Damaged(tmp_path, bench.log.identity, lambda: bench.now)
    take_over = TakeOver(bench.log, damaged, POLICY, 1, lambda: bench.now)
    with pytest.raises(OutcomeUnknown, match="an archive of tasks cannot be used"):
        take_over.take({P0: 0})
    assert list(tmp_path.glob("*.sqlite*")) == []
    after = Bench(log=bench.log, folder=tmp_path)
    submit_again(after, "t1")
    after.turn()
    assert after.head("t1").duplicates == 1


def test_an_archive_that_breaks_later_quarantines_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(folder=tmp_path)
    finish(bench, "t1")

    def broken(_archive: Archive, _task: str) -> bytes | None:
        raise sqlite3.OperationalError("disk I/O error")

    submit_again(bench, "t2")
    with monkeypatch.context() as patched:
        patched.setattr(Archive, "get", broken)
        with pytest.raises(OutcomeUnknown, match="disk I/O error"):
            bench.turn()
    bench.owner.open()
    bench.read = bench.owner.standing({P0: 0})[P0]
    submit_again(bench, "t1")
    bench.turn()
    assert bench.head("t1").duplicates == 1
    assert bench.state("t2") is State.DEQUEUED


# Refusals


def ended(bench: Bench, count: int) -> None:
    """Have so many tasks run, whose results come in one commit."""
    for n in range(count):
        bench.submit(f"t{n}")
    bench.turn()
    for n in range(count):
        token = bench.head(f"t{n}").token
        bench.say(f"t{n}", w.Result(token=token), encode_rows([Row("", b"", b"%d" % n, [])]))
    bench.turn()


def test_a_refused_result_costs_no_look_at_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Head] = []

    def encode(head: Head) -> bytes:
        encoded.append(head)
        return encode_head(head)

    bench = Bench(slots=60)
    for n in range(60):
        bench.submit(f"t{n}")
    bench.turn()
    for grant in bench.grants:
        bench.say(grant.task, w.Result(token=grant.token), encode_rows([Row("", b"k", b"v", [])]))
    bench.log.refuses = lambda entry: bool(entry.rows)
    monkeypatch.setattr(book_module, "encode_head", encode)
    bench.take_in()
    assert {bench.state(f"t{n}") for n in range(60)} == {State.FAILED}
    assert len(encoded) <= 60 * 3


def test_a_refused_result_fails_its_task_and_no_other() -> None:
    bench = Bench(slots=7)
    bench.log.refuses = lambda entry: any(row.value == b"3" for row in entry.rows)
    ended(bench, 7)
    head = bench.head("t3")
    assert head.state is State.FAILED
    assert head.error == Failure("SinkFailed", "MSG_SIZE_TOO_LARGE: too large")
    assert [line.to for line in head.history if line.to in FINAL] == [State.FAILED]
    (letter,) = bench.log.letters
    assert letter.failure.condition is Condition.REFUSED
    assert {bench.state(f"t{n}") for n in range(7) if n != 3} == {State.SUCCEEDED}
    assert sorted(row.value or b"" for row in bench.log.rows) == [
        b"0",
        b"1",
        b"2",
        b"4",
        b"5",
        b"6",
    ]
    assert bench.log.committed == len(bench.log.inbox)
    assert bench.counters.snapshot()["tasks_undelivered", "MSG_SIZE_TOO_LARGE"] == 1
    bench.submit("after")
    bench.turn()
    assert bench.state("after") is State.DEQUEUED


def test_a_failure_that_nobody_takes_ends_all_the_same() -> None:
    bench = Bench(slots=3)
    bench.log.refuses = lambda entry: bool(entry.rows or entry.letters)
    ended(bench, 3)
    put(bench.log, "t", [("k", b"no word")])
    bench.turn()
    for n in range(3):
        head = bench.head(f"t{n}")
        assert (head.state, len(head.destinations)) == (State.FAILED, 2)
    assert bench.counters.snapshot()["tasks_undelivered", "MSG_SIZE_TOO_LARGE"] == 2 * 3
    assert (bench.log.rows, bench.log.letters) == ([], [])
    assert bench.log.committed == len(bench.log.inbox)


def test_a_refusal_halves_down_to_the_parts_that_are_refused_alone() -> None:
    committed: list[int] = []
    refused: list[int] = []

    def commit(some: Sequence[int]) -> None:
        if {2, 5} & set(some):
            raise Aborted("no", refusal=Refusal("X", "no"))
        committed.extend(some)

    commit_divided(range(8), commit, lambda one, _: refused.append(one))
    assert (refused, committed) == ([2, 5], [0, 1, 3, 4, 6, 7])


def test_a_result_without_rows_is_no_word() -> None:
    bench = Bench()
    bench.submit("t1")
    bench.turn()
    bench.say("t1", w.Result(token=bench.head("t1").token), b"junk")
    bench.turn()
    assert bench.state("t1") is State.DEQUEUED
    assert "a result without rows" in bench.log.letters[0].failure.error.message


def test_a_submission_in_the_wrong_partition_moves_to_its_own() -> None:
    bench = Bench()
    bench.log.partitions = 2
    here = next(t for t in ("a", "b", "c", "d") if home_of(t, 2) == 0)
    there = next(t for t in ("a", "b", "c", "d") if home_of(t, 2) == 1)
    bench.submit(here)
    bench.submit(there, b"input")
    bench.turn()
    assert bench.state(here) is State.DEQUEUED
    assert head_key(there) not in bench.log.heads
    ((number, word),) = bench.log.moves
    assert (number, word.key(), word.value()) == (1, there.encode(), b"input")
    bench.turn()
    assert len(bench.log.moves) == 1
