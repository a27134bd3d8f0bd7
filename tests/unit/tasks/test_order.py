"""`order: key`: tasks of one key run one after the other, whatever happens between them."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_etl.config.load import load
from kafka_etl.config.task_documents import notes_of, stream_documents
from kafka_etl.contracts import Aborted
from kafka_etl.engine.tasks.book import Book, HeadChange
from kafka_etl.engine.tasks.deliveries import Destinations, Outside
from kafka_etl.errors import TaskTopicsUnfit
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.kafka.tasks.topics import check_meta
from kafka_etl.record import Record
from kafka_etl.retry import Backoff
from kafka_etl.runtime.tasks.accept import submit
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Failure, Head, decode_head, encode_head
from kafka_etl.tasks.journal import Meta, decode_meta
from kafka_etl.tasks.log import Entry
from kafka_etl.tasks.placing import Order, partition_of, route_of
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.rows import Row, encode_rows
from kafka_etl.tasks.states import FINAL, HELD, OPEN, State
from kafka_etl.tasks.table import TABLE
from kafka_etl.testing.memory import StoredRecord
from tests.unit.tasks.test_owner import Bench

POLICY = Policy(max_attempts=2, backoff=Backoff(1, 1, 1, "none"), on_duplicate="rerun")


def bench(**more: Any) -> Bench:
    """An owner with slots enough, and two tasks of the key `a`, one of `b`."""
    of = Bench(more.pop("policy", POLICY), slots=9, **more)
    of.submit("a1", route="a")
    of.submit("a2", route="a")
    of.submit("b1", route="b")
    of.turn()
    return of


def done(of: Bench, task: str, *rows: Row) -> None:
    of.run(task, w.Result(token=of.head(task).token), encode_rows(list(rows)))


def fail(of: Bench, task: str) -> None:
    error = Failure("ValueError", "no")
    of.run(task, w.Ended(token=of.head(task).token, why="error", error=error))


def started(of: Bench) -> list[str]:
    return [grant.task for grant in of.grants]


# The owner


def test_tasks_of_a_key_run_one_after_the_other_and_those_of_another_beside_them() -> None:
    of = bench()
    assert started(of) == ["a1", "b1"]
    done(of, "a1")
    assert started(of) == ["a1", "b1", "a2"]


def test_tasks_without_a_key_wait_for_nobody() -> None:
    of = Bench(slots=9)
    for n in range(3):
        of.submit(f"t{n}")
    of.turn()
    assert started(of) == ["t0", "t1", "t2"]


def test_a_task_that_is_tried_again_holds_its_key() -> None:
    of = bench()
    fail(of, "a1")
    assert of.state("a1") is State.RETRYING
    assert started(of) == ["a1", "b1"]
    of.now += 1_000
    of.turn()
    assert started(of) == ["a1", "b1", "a1"]
    fail(of, "a1")
    assert of.state("a1") is State.FAILED
    assert started(of) == ["a1", "b1", "a1", "a2"]


def test_an_outcome_on_its_way_holds_the_key() -> None:
    of = bench(places=Destinations([], [Outside("mns", "out.mns")]))
    done(of, "a1", Row("out.mns", None, b"1", []))
    assert of.state("a1") is State.DELIVERING
    of.turn()
    assert started(of) == ["a1", "b1"]
    of.say("a1", w.Delivered(destination="mns", generation=1, delivery=1))
    of.turn()
    assert started(of) == ["a1", "b1", "a2"]


def test_a_stop_frees_the_key_when_the_attempt_is_over() -> None:
    of = bench()
    token = of.head("a1").token
    of.say("a1", w.Stop(word="s", by="me"))
    of.turn()
    assert (of.state("a1"), started(of)) == (State.STOPPING, ["a1", "b1"])
    of.run("a1", w.Ended(token=token, why="stopped"))
    assert started(of) == ["a1", "b1", "a2"]


def test_what_is_stopped_before_its_turn_is_passed_over() -> None:
    of = bench()
    of.submit("a3", route="a")
    of.say("a2", w.Stop(word="s", by="me"))
    of.turn()
    done(of, "a1")
    assert started(of) == ["a1", "b1", "a3"]


def test_what_somebody_begins_anew_waits_for_none_and_holds_none() -> None:
    of = bench()
    fail(of, "a1")
    of.now += 1_000
    of.turn()
    fail(of, "a1")
    of.submit("a3", route="a")
    of.say("a1", w.Retry(word="r", by="me", expect=1))
    of.turn()
    of.turn()
    assert started(of)[-2:] == ["a2", "a1"]
    assert of.head("a1").overtakes
    done(of, "a2")
    assert of.state("a1") in HELD
    assert started(of)[-1] == "a3"


def test_a_retry_before_the_time_of_the_next_attempt_stays_in_its_turn() -> None:
    of = bench()
    fail(of, "a1")
    of.say("a1", w.Retry(word="r", by="me", expect=1))
    of.turn()
    assert started(of) == ["a1", "b1", "a1"]
    assert not of.head("a1").overtakes


def test_a_record_that_reruns_a_task_takes_its_turn_behind_the_others() -> None:
    of = bench()
    fail(of, "a1")
    of.now += 1_000
    of.turn()
    fail(of, "a1")
    of.say("a1", w.Submit(word="again", route="a"), b"{}")
    of.turn()
    assert (of.state("a1"), of.head("a1").generation) == (State.ENQUEUED, 2)
    done(of, "a2")
    assert started(of)[-2:] == ["a2", "a1"]


def test_the_next_task_has_its_turn_when_the_end_of_the_last_one_is_durable() -> None:
    model = Model()
    model.act("a0", "submit")
    model.act("a1", "submit")
    assert model.grant()
    model.commit()
    model.act("a0", "result")
    assert model.book.next_waiting() is None
    model.abort()
    assert model.book.next_waiting() is None
    model.commit()
    waiting = model.book.next_waiting()
    assert waiting is not None
    assert waiting.id == "a1"


def test_a_turn_is_passed_on_without_a_tick() -> None:
    of = bench()
    of.say("a1", w.Result(token=of.head("a1").token), encode_rows([]))
    of.take_in()
    assert started(of) == ["a1", "b1", "a2"]


def test_a_turn_whose_commit_fails_is_passed_on_by_the_tick() -> None:
    def grants_nothing(entry: Entry) -> bool:
        heads = [decode_head(value) for _, key, value in entry.journal if key[:1] == b"t" and value]
        if any(head.state is State.DEQUEUED for head in heads):
            raise Aborted("the test wants it")
        return False

    of = bench()
    of.say("a1", w.Result(token=of.head("a1").token), encode_rows([]))
    of.log.refuses = grants_nothing
    of.take_in()
    assert (of.state("a1"), started(of)) == (State.SUCCEEDED, ["a1", "b1"])
    of.log.refuses = lambda _entry: False
    of.turn()
    assert started(of) == ["a1", "b1", "a2"]


def test_a_new_owner_keeps_the_order() -> None:
    of = bench()
    of.submit("a3", route="a")
    of.turn()
    done(of, "a1")
    fail(of, "a2")
    after = Bench(POLICY, slots=9, log=of.log)
    after.turn()
    assert "a3" not in started(after)
    after.now += 1_000
    after.turn()
    assert started(after) == ["a2"]
    done(after, "a2")
    assert started(after) == ["a2", "a3"]


@pytest.mark.parametrize("committed", [True, False])
def test_a_task_that_is_quarantined_frees_its_key(
    monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    def fails(_case: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    of = bench() if committed else Bench(slots=9)
    if not committed:
        of.submit("a1", route="a")
        of.submit("a2", route="a")
    state = State.DEQUEUED if committed else State.ENQUEUED
    monkeypatch.setattr("kafka_etl.tasks.table.TABLE", {**TABLE, (state, w.Stop): fails})
    of.say("a1", w.Stop(word="s", by="me"))
    of.turn()
    of.turn()
    assert started(of)[-1] == "a2"


def test_a_submission_in_the_partition_of_its_id_is_moved_to_that_of_its_key() -> None:
    of = Bench()
    of.log.partitions = 16
    home = next(f"k{n}" for n in range(99) if partition_of(f"k{n}", 16) == 0)
    other = next(f"k{n}" for n in range(99) if partition_of(f"k{n}", 16) == 7)
    of.submit("t1", route=home)
    of.submit("t2", route=other)
    of.turn()
    assert started(of) == ["t1"]
    assert [number for number, _ in of.log.moves] == [7]


# Keys


@pytest.mark.parametrize(("key", "route"), [(None, ""), (b"k", "k"), ("ключ".encode(), "ключ")])
def test_a_short_text_is_its_own_route_and_no_key_has_none(key: bytes | None, route: str) -> None:
    assert route_of(key) == route


@pytest.mark.parametrize("key", [b"", b"\xff\x00", b"a\nb", b"k" * 257, "\ufffd".encode()])
def test_any_other_key_has_its_digest_as_route(key: bytes) -> None:
    assert route_of(key) == f"sha256:{sha256(key).hexdigest()}"


def accepted(order: Order, key: bytes | None) -> tuple[w.Submit, int]:
    """What is made of a record with a key: the word, and its partition."""
    source = StoredRecord(b"{}", key, [("task-id", b"t1")], topic="uploads", partition=1, offset=4)
    made = submit(partitions=16, order=order)(Record.of(source, b"{}"))
    word = w.decode_word(made.headers)
    assert isinstance(word, w.Submit)
    return word, int(made.header("p") or b"")


def test_keys_decide_the_partitions_of_tasks_where_tasks_of_one_key_have_an_order() -> None:
    word, number = accepted("key", b"k")
    assert (word.route, number) == ("k", partition_of("k", 16))
    assert partition_of("k", 16) != partition_of("t1", 16)
    for order, key in (("key", None), ("none", b"k")):
        word, number = accepted(order, key)
        assert (word.route, number) == ("", partition_of("t1", 16))


FILE = """
name: shop
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads]}}
operator: "ops:work"
on_success: {use: kafka, with: {topic: done}}
on_failure: {topic: failed}
"""


@pytest.mark.parametrize("order", ["none", "key"])
def test_both_who_accepts_and_who_owns_know_of_the_order(tmp_path: Path, order: str) -> None:
    (tmp_path / "p.yaml").write_text(f"{FILE}order: {order}\n")
    (document,) = load([tmp_path / "p.yaml"], env=os.environ).documents
    accepting, owning, *_ = stream_documents(document, [])
    assert accepting.data["operators"][0]["with"]["order"] == order
    assert owning.data["source"]["with"]["order"] == order
    notes = notes_of(document)
    assert ("ids are taken within their key" in "".join(notes)) is (order == "key")


def settings(order: Order) -> TaskInboxSettings:
    return TaskInboxSettings(topics="shop.inbox", journal="shop.journal", order=order)


@pytest.mark.parametrize(("was", "wants"), [("none", "key"), ("key", "none")])
def test_an_order_is_for_life(was: Order, wants: Order) -> None:
    counts = {"shop.inbox": 16, "shop.journal": 16}
    meta = Meta(16, "", "", 0, was)
    check_meta(settings(was), counts, {}, meta)
    with pytest.raises(TaskTopicsUnfit, match=f"begun with `order: {was}`") as refused:
        check_meta(settings(wants), counts, {}, meta)
    assert f"Set `order: {was}`" in refused.value.next_step


def test_a_journal_of_before_has_no_order() -> None:
    assert decode_meta(b'{"partitions":2,"inbox":"i","journal":"j","created_ms":1}').order == "none"


# Whatever happens

IDS = ["a0", "a1", "a2", "b0"]
ACTS = ["submit", "invalid", "stop", "retry", "error", "result", "outside", "returned", "due"]
TURNS = ["grant", "commit", "abort", "abort_and_halve", "commit_a_part", "take_over"]
RULES = Policy(
    max_attempts=2,
    backoff=Backoff(0, 1, 0, "none"),
    on_duplicate="rerun",
    outside={State.FAILED: ("mns",)},
)


class Model:
    """A book whose words are remembered until they are committed, as an inbox does."""

    def __init__(self) -> None:
        self.book = Book(RULES)
        self.committed: dict[str, Head] = {}
        self.unread: list[tuple[str, w.Word, int]] = []
        self.offset = 0
        self.grants = 0

    def hear(self, task: str, word: w.Word) -> None:
        self.unread.append((task, word, self.offset))
        self.offset += 1
        self._read(*self.unread[-1])

    def _read(self, task: str, word: w.Word, offset: int) -> None:
        self.book.take(task, word, Moment(1, offset))

    def act(self, task: str, what: str) -> None:
        head = self.book.head(task)
        token = "" if head is None else head.token
        generation = 1 if head is None else head.generation
        new = w.Submit(word=f"w{self.offset}", route=task[0])
        words: dict[str, w.Word] = {
            "submit": new,
            "invalid": w.Submit(word=f"w{self.offset}", route=task[0], invalid=Failure("no")),
            "stop": w.Stop(),
            "retry": w.Retry(expect=generation),
            "error": w.Ended(token=token, why="error"),
            "result": w.Result(token=token),
            "outside": w.Result(token=token, outside=("mns",)),
            "returned": w.Returned(token=token),
        }
        if what == "due":
            self.book.tell_time(1)
        else:
            self.hear(task, words[what])

    def grant(self) -> bool:
        """Grant the task that waits longest, if any does; nobody before it may be open."""
        head = self.book.next_waiting()
        if head is None:
            return False
        if head.in_turn:
            assert [t for t in IDS if self._is_before(t, head)] == []
        self.grants += 1
        word = w.Granted(token=f"g{self.grants}", executor="ex", boot="b")
        assert self.book.take(head.id, word, Moment(1))
        return True

    def _is_before(self, task: str, head: Head) -> bool:
        heads = self.committed.get(task), self.book.head(task)
        return any(
            h is not None
            and h.in_turn
            and h.route == head.route
            and h.seq < head.seq
            and h.state in OPEN
            for h in heads
        )

    def commit(self) -> None:
        self._merge(self.book.changes())
        self.unread.clear()

    def _merge(self, changes: list[HeadChange]) -> None:
        for change in changes:
            assert change.after is not None
            self.committed[change.task] = change.after
            self.book.merge([change])

    def abort(self) -> None:
        self.book.drop()
        for word in self.unread:
            self._read(*word)

    def abort_and_halve(self) -> None:
        """What the engine does with words whose commit was refused."""
        self.book.drop()
        words, self.unread = self.unread, []
        half = len(words) // 2
        for part in (words[:half], words[half:]):
            self.unread = [*part]
            for word in part:
                self._read(*word)
            self.commit()

    def commit_a_part(self) -> None:
        """What the owner does, task by task, when a destination refuses one of them."""
        changes = self.book.changes()
        self._merge(changes[: len(changes) // 2])
        self.abort()

    def take_over(self) -> None:
        self.book = Book(RULES)
        for task, head in self.committed.items():
            self.book.restore(task, encode_head(head))
        self.book.begin(1)
        for word in self.unread:
            self._read(*word)

    def end_all(self) -> None:
        """Whatever is open comes to its end: nobody waits for ever."""
        for _ in range(20):
            self.book.tell_time(1)
            while self.grant():
                pass
            for task, head in [(t, self.book.head(t)) for t in IDS]:
                if head is not None and head.state in HELD:
                    self.hear(task, w.Result(token=head.token))
                elif head is not None and head.state is State.DELIVERING:
                    said = {"generation": head.generation, "delivery": head.delivery}
                    self.hear(task, w.Delivered(destination="mns", **said))
            self.commit()
            if all(head.state in FINAL for head in self.committed.values()):
                return
        assert {t: h.state for t, h in self.committed.items() if h.state not in FINAL} == {}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(IDS), st.just("submit") | st.sampled_from(ACTS)),
            st.tuples(st.just(""), st.sampled_from(TURNS)),
        ),
        max_size=60,
    )
)
@example([("a0", "submit"), ("a1", "submit"), ("", "grant"), ("a0", "result"), ("", "abort")])
@example([("a0", "submit"), ("a1", "submit"), ("a0", "stop")])
@example(
    [
        ("a0", "submit"),
        ("", "commit"),
        ("a1", "submit"),
        ("a0", "stop"),
        ("a0", "submit"),
        ("", "grant"),
    ]
)
@example(
    [
        ("a0", "submit"),
        ("a1", "submit"),
        ("a0", "retry"),
        ("a0", "stop"),
        ("a0", "submit"),
        ("", "abort_and_halve"),
    ]
)
def test_nobody_overtakes_and_nobody_waits_for_ever(acts: list[tuple[str, str]]) -> None:
    model = Model()
    for task, what in acts:
        if task:
            model.act(task, what)
        else:
            getattr(model, what)()
    model.commit()
    model.end_all()
