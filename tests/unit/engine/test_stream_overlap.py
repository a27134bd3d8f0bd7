"""The next batch is run while the last one is committed: whatever comes of it, once each.

`overlap` says when the commit happens, at one end or the other of the time it may take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kafka_etl import Permanent, operator
from kafka_etl.contracts import Abandoned, Aborted, OutcomeUnknown, Unavailable
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.poison.breaker import Counted
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.errors import BreakerTripped, DeadLetterRefused, RecordFailed, SchemaMissing
from kafka_etl.testing import Answer, MemorySource
from tests.unit.engine.kit import Bench, Overlap, chain_of, json

pytestmark = pytest.mark.parametrize("overlap", ["at once", "late"])


def same(value: Any) -> Any:
    return value


def doing(deeds: dict[Any, Callable[[], Any]]) -> Callable[[Any], Any]:
    """An operator that does something, once each, when it sees certain values."""

    def op(value: Any) -> Any:
        deed = deeds.pop(value, None)
        if deed is not None:
            deed()
        return value

    return op


def raising(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


def decoding(deeds: dict[bytes, Callable[[], Any]]) -> Chain:
    """A codec that does something, once each, when it decodes certain bytes."""
    plain, op = json(), doing(deeds)
    codec = replace(plain, decode=lambda data: plain.decode(op(data)), table=None)
    return chain_of(same, value=codec)


def begun(bench: Bench) -> None:
    """Step until a commit is under way."""
    bench.step()
    assert bench.under_way


def test_a_full_batch_is_committed_while_the_next_is_run(overlap: Overlap) -> None:
    seen: list[tuple[int, bool]] = []

    def op(value: int) -> int:
        seen.append((value, bench.under_way))
        return value

    bench = Bench(op, batch=2, overlap=overlap)
    bench.put(*range(5))
    bench.finish()
    # Of the last batch, which is not full, nothing is run before all else is known to be durable.
    assert seen == [(0, False), (1, False), (2, True), (3, True), (4, False)]
    assert bench.outputs() == list(range(5))
    assert bench.commits() == [2, 2, 1]
    assert bench.count("commits") == 3
    assert bench.count("records_in") == 5


def test_the_next_one_begins_when_the_last_has_landed(overlap: Overlap) -> None:
    bench = Bench(same, batch=2, overlap=overlap)
    bench.put(*range(20))
    begin, counts = bench.sink.begin, []

    def watched(settlement: Any) -> Callable[[], None]:
        counts.append((len(bench.sink.commits), bench.count("commits")))
        return begin(settlement)

    bench.sink.begin = watched  # type: ignore[method-assign]
    bench.finish()
    assert counts == [(n, n) for n in range(10)]


@pytest.mark.parametrize("answer", [a for a in Answer if a is not Answer.COMMITTED])
@pytest.mark.parametrize("at", range(4))
def test_what_fails_is_read_again_with_all_that_came_after_it(
    overlap: Overlap, answer: Answer, at: int
) -> None:
    bench = Bench(same, batch=4, answers=[Answer.COMMITTED] * at + [answer], overlap=overlap)
    bench.put(*range(20))
    bench.finish()
    assert bench.outputs() == list(range(20))
    assert bench.offset() == 20
    assert bench.count("records_in") == (16 if answer is Answer.LOST_AFTER else 20)


@pytest.mark.parametrize("failed", [Aborted("no"), OutcomeUnknown("lost")])
def test_what_fails_in_being_begun_is_read_again(overlap: Overlap, failed: Exception) -> None:
    bench = Bench(same, batch=4, overlap=overlap)
    bench.put(*range(20))
    begin, calls = bench.sink.begin, iter(range(100))

    def failing(settlement: Any) -> Callable[[], None]:
        if next(calls) == 1:
            raise failed
        return begin(settlement)

    bench.sink.begin = failing  # type: ignore[method-assign]
    bench.finish()
    assert bench.outputs() == list(range(20))


def test_one_refused_record_becomes_a_dead_letter_and_no_other(overlap: Overlap) -> None:
    bench = Bench(same, batch=4, overlap=overlap)
    bench.put(*range(9), "bad", *range(9, 20))
    bench.sink.refuses = lambda value: value == b'"bad"'
    bench.finish()
    assert bench.letters() == [(b'"bad"', "Refused")]
    assert bench.outputs() == list(range(20))


def test_a_refused_dead_letter_pauses_with_nothing_lost(overlap: Overlap) -> None:
    def op(value: Any) -> Any:
        if value == "bad":
            raise Permanent("bad")
        return value

    bench = Bench(op, batch=1, overlap=overlap)
    bench.put("bad", 1, 2)
    bench.sink.refuses_letter = lambda _letter: True
    with pytest.raises(DeadLetterRefused):
        bench.finish()
    assert not bench.under_way
    bench.sink.refuses_letter = lambda _letter: False
    bench.finish()
    assert (bench.outputs(), bench.letters()) == ([1, 2], [(b'"bad"', "OperatorError")])


# What ends a batch while the one before it is under way


@pytest.mark.parametrize("answer", Answer)
def test_a_codec_that_is_kept_waiting(overlap: Overlap, answer: Answer) -> None:
    chain = decoding({b"%d" % n: raising(Unavailable("away")) for n in (0, 3, 6)})
    bench = Bench(chain=chain, batch=2, slice_size=1, answers=[answer], overlap=overlap)
    bench.put(*range(10))
    bench.finish()
    assert bench.troubles.count("away") == 3
    assert bench.outputs() == list(range(10))


@pytest.mark.parametrize("behind", [0, 1, 5, 7])
def test_what_stands_before_a_record_without_a_schema_is_settled(
    overlap: Overlap, behind: int
) -> None:
    """So that whoever goes on without that record leaves out no other."""

    plain = json()

    def decode(data: bytes) -> Any:
        if data != b"%d" % behind:
            return plain.decode(data)
        if len(bench.waits) < 12:
            raise Unavailable("no schema", of_record=True)
        raise SchemaMissing("no schema")

    chain = chain_of(same, value=replace(plain, decode=decode, table=None))
    bench = Bench(chain=chain, batch=8, overlap=overlap)
    bench.put(*range(10))
    with pytest.raises(SchemaMissing) as caught:
        bench.finish()
    at = f"the record at in[0]@{behind} names it"
    assert set(bench.troubles) == {f"no schema; {at}"}
    assert caught.value.what == f"no schema; {at}"
    assert f"offsets reset FILE --topic in:0 --to {behind + 1}" in caught.value.next_step
    assert bench.outputs() == list(range(behind))


@pytest.mark.parametrize("answer", Answer)
def test_a_codec_that_cannot_go_on_loses_nothing(overlap: Overlap, answer: Answer) -> None:
    chain = decoding({b"%d" % n: raising(SchemaMissing("no schema")) for n in (0, 3, 6)})
    bench = Bench(chain=chain, batch=2, slice_size=1, answers=[answer], overlap=overlap)
    bench.put(*range(10))
    ends = {bench.partitions[0]: 10}
    pauses = 0
    while not bench.source.finished(ends):
        try:
            bench.step()
        except SchemaMissing:
            pauses += 1
            assert not bench.under_way
            assert bench.source._next == {bench.partitions[0]: bench.offset()}
    overtaken = answer is not Answer.COMMITTED  # the one at 3, by what failed before it
    assert pauses == 3 - overtaken
    assert bench.outputs() == list(range(10))


@pytest.mark.parametrize("answer", Answer)
def test_the_breaker_trips(overlap: Overlap, answer: Answer) -> None:
    def op(value: int) -> int:
        if 4 <= value < 8:
            raise Permanent("bad")
        return value

    bench = Bench(op, batch=2, max_consecutive=3, answers=[answer, answer], overlap=overlap)
    bench.put(*range(12))
    with pytest.raises(BreakerTripped):
        bench.finish()
    assert not bench.under_way
    bench.breaker.let_pass()
    bench.finish()
    assert bench.outputs() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert [value for value, _ in bench.letters()] == [b"4", b"5", b"6", b"7"]


def bad_at_first(value: int) -> int:
    if value < 4:
        raise Permanent("bad")
    return value


def test_the_breaker_counts_nothing_twice(overlap: Overlap) -> None:
    """Not what was counted, but not yet given away, when the commit before it was."""
    answers = [Answer.COMMITTED, Answer.ABORTED]
    bench = Bench(bad_at_first, batch=2, max_consecutive=5, answers=answers, overlap=overlap)
    bench.put(*range(8))
    bench.finish()
    assert (bench.outputs(), len(bench.letters())) == ([4, 5, 6, 7], 4)


def test_the_breaker_forgets_what_the_next_source_reads_again(overlap: Overlap) -> None:
    bench = Bench(bad_at_first, batch=2, answers=[Answer.ABORTED], overlap=overlap)
    bench.put(*range(8))
    begun(bench)
    bench.engine.end()
    assert bench.breaker.counted == Counted()


@pytest.mark.parametrize("answer", Answer)
def test_a_record_fails_and_there_is_no_place_for_it(overlap: Overlap, answer: Answer) -> None:
    def op(value: int) -> int:
        if value == 5:
            raise Permanent("bad")
        return value

    bench = Bench(op, batch=2, dead_letters=False, answers=[answer], overlap=overlap)
    bench.put(*range(8))
    with pytest.raises(RecordFailed):
        bench.finish()
    assert not bench.under_way
    assert (bench.outputs(), bench.offset()) == ([0, 1, 2, 3, 4], 5)


@pytest.mark.parametrize("answer", Answer)
def test_the_worker_is_asked_to_stop(overlap: Overlap, answer: Answer) -> None:
    bench = Bench(
        doing({3: lambda: setattr(bench, "stop", True)}),
        batch=2,
        slice_size=1,
        answers=[answer],
        overlap=overlap,
    )
    bench.put(*range(8))
    try:
        bench.step()
        bench.step()
    except Abandoned:
        bench.engine.end()
    assert not bench.under_way
    bench.stop = False
    again(bench).finish()
    assert bench.outputs() == list(range(8))


def again(bench: Bench) -> Bench:
    """A new worker: it knows only what is durable."""
    bench.source.close()
    return Bench(same, batch=2, broker=bench.broker)


@pytest.mark.parametrize("answer", Answer)
def test_a_new_source_begins_where_the_last_one_got_to(overlap: Overlap, answer: Answer) -> None:
    bench = Bench(same, batch=2, answers=[answer], overlap=overlap)
    bench.put(*range(8))
    begun(bench)
    bench.source.reload = raising(AssertionError("it is of no use"))  # type: ignore[method-assign]
    bench.source.rewind = bench.source.reload  # type: ignore[method-assign]
    bench.engine.end()
    assert not bench.under_way
    again(bench).finish()
    assert bench.outputs() == list(range(8))


@pytest.mark.parametrize("answer", Answer)
def test_a_pipeline_that_is_paused_leaves_nothing_under_way(
    overlap: Overlap, answer: Answer
) -> None:
    bench = Bench(same, batch=2, answers=[answer], overlap=overlap)
    bench.put(*range(8))
    begun(bench)
    bench.engine.idle()
    assert not bench.under_way
    bench.finish()
    assert bench.outputs() == list(range(8))


# Partitions that come and go meanwhile


@pytest.mark.parametrize("answer", Answer)
@pytest.mark.parametrize("when", ["a2", "b2", "b3"])
def test_a_partition_leaves_that_is_under_way(overlap: Overlap, answer: Answer, when: str) -> None:
    """Whether that commit came in time or not, its next owner and we do each record once."""

    def leave() -> None:
        bench.now += 1
        bench.source.revoke(bench.partitions[1])

    op = doing({when: leave})
    bench = Bench(op, partitions=2, batch=4, slice_size=1, answers=[answer], overlap=overlap)
    for number, name in enumerate("ab"):
        bench.put(*(f"{name}{i}" for i in range(8)), partition=number)
    begun(bench) if answer is Answer.COMMITTED else bench.step()
    while bench.partitions[1] in bench.source.positions():
        bench.step()
    other = Bench(same, broker=bench.broker)
    other.read_from(MemorySource(bench.broker, bench.partitions[1:]))
    for _ in range(20):
        bench.step()
        other.step()
    assert sorted(bench.outputs()) == sorted(f"{name}{i}" for name in "ab" for i in range(8))
    assert [bench.offset(0), bench.offset(1)] == [8, 8]


@pytest.mark.parametrize("answer", Answer)
def test_what_cannot_be_told_apart_is_run_again_after_what_is_under_way(
    overlap: Overlap, answer: Answer
) -> None:
    """A partition leaves that outputs of the batch in hand were made from."""

    @operator(mixes=True)
    def op(given: list[Any]) -> list[Any]:
        bench.now += 1
        if "a2" in given and bench.partitions[1] in bench.source.positions():
            bench.source.revoke(bench.partitions[1])
            seen.append(bench.under_way)
        return [given]

    seen: list[bool] = []
    bench = Bench(op, partitions=2, batch=4, slice_size=2, answers=[answer], overlap=overlap)
    for number, name in enumerate("ab"):
        bench.put(*(f"{name}{i}" for i in range(8)), partition=number)
    bench.step()
    while bench.partitions[1] in bench.source.positions():
        bench.step()
    assert seen[0]
    assert not bench.under_way
    for _ in range(10):
        bench.step()
    done = [name for names in bench.outputs() for name in names]
    assert sorted(done) == sorted(set(done))
    assert [name for name in done if name[0] == "a"] == [f"a{i}" for i in range(8)]


@pytest.mark.parametrize("then", ["fine", "away"])
def test_a_partition_that_is_back_goes_on_where_its_last_owner_got_to(
    overlap: Overlap, then: str
) -> None:
    """It left and came back in one long wait: nobody looked before the commit landed."""
    partition = None

    def leave_and_return() -> None:
        bench.source.revoke(partition)
        bench.source.serve()
        if overlap == "at once":  # else the commit is refused, for its proof is void
            bench.broker.offsets[partition] = 4
            done.extend(["b2", "b3"])
        bench.source.assign(partition)
        bench.source.serve()
        bench.engine._membership.doubt()
        if then == "away":
            raise Unavailable("away")

    done: list[str] = []
    chain = decoding({b'"a2"': leave_and_return})
    bench = Bench(chain=chain, partitions=2, batch=4, slice_size=1, overlap=overlap)
    partition = bench.partitions[1]
    for number, name in enumerate("ab"):
        bench.put(*(f"{name}{i}" for i in range(6)), partition=number)
    begun(bench)
    bench.step()
    assert bench.source.positions()[partition].next == bench.offset(1)
    bench.finish()
    assert sorted([*bench.outputs(), *done]) == sorted(
        f"{name}{i}" for name in "ab" for i in range(6)
    )


def test_a_partition_that_was_back_before_is_tracked_as_any_other(overlap: Overlap) -> None:
    bench = Bench(same, batch=2, overlap=overlap)
    bench.put(*range(8))
    (partition,) = bench.partitions
    bench.source.revoke(partition)
    bench.source.assign(partition)
    for _ in range(3):
        bench.step()
    bench.engine._join()
    assert bench.source.positions()[partition].next == bench.offset() == 6


@pytest.mark.parametrize("answer", Answer)
def test_a_suspect_that_arrives_waits_for_what_is_under_way(
    overlap: Overlap, answer: Answer
) -> None:
    """Its note is a commit of its own."""
    bench = Bench(same, partitions=2, batch=4, answers=[answer], overlap=overlap)
    partition = bench.partitions[1]
    bench.source.revoke(partition)
    bench.source.serve()
    for number, name in enumerate("ab"):
        bench.put(*(f"{name}{i}" for i in range(12)), partition=number)
    bench.step()
    bench.condemned.suspects._evidence = Evidence({partition: (0, 4)}, None, "killed")
    bench.condemned.suspects._ranges = {partition: (0, 4)}
    bench.source.assign(partition)
    bench.finish()
    assert sorted(bench.outputs()) == sorted(f"{name}{i}" for name in "ab" for i in range(12))
    assert not bench.condemned
