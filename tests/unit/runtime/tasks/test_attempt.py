"""Who was first: the result or the signal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafka_etl.runtime.tasks.exchange import Failed, Made
from kafka_etl.runtime.tasks.keeper.attempt import Attempt
from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.keeping import Grant, Instant, TaskRecord
from kafka_etl.tasks.words import Ended, Result, Word, decode_word

GRANT = Grant(
    "t", "task", 3, 2, 1, TaskRecord("in", 0, 0, -1, None, b"", []), (1, 2), 0, Instant(0, 0)
)
MADE = Made("t", b"rows", "preview", 0.5, is_alone=True)
FAILED = Failed("t", "error", Failure("OSError", "disk"), 7.0, 0.5, is_alone=True)
DEATH = Failure("WorkerCrashed", exit_status=-9)


def begun() -> Attempt:
    return Attempt(GRANT, now=100.0, timeout=60.0)


def last(attempt: Attempt) -> Word:
    return decode_word(attempt.last_word("said").headers)


def signal(attempt: Attempt) -> bool:
    return attempt.is_signalled("stopped", 110.0, 5.0)


def test_a_result_that_comes_before_the_signal_counts() -> None:
    attempt = begun()
    attempt.answers(MADE)

    assert not signal(attempt)
    assert not attempt.was_signalled
    said = attempt.last_word("")
    assert (said.partition, said.key, said.value, said.last) == (3, "task", b"rows", "t")
    assert isinstance(last(attempt), Result)


def answers_late(attempt: Attempt) -> None:
    attempt.answers(MADE)


def fails_late(attempt: Attempt) -> None:
    attempt.answers(FAILED)


def dies_of_it(attempt: Attempt) -> None:
    attempt.dies(DEATH, 111.0)


def is_late_as_well(attempt: Attempt) -> None:
    assert not attempt.is_signalled("timeout", 111.0, 1.0)


@pytest.mark.parametrize("then", [answers_late, fails_late, dies_of_it, is_late_as_well])
def test_after_a_signal_nothing_counts_but_the_signal(then: Callable[[Attempt], object]) -> None:
    attempt = begun()
    assert signal(attempt)
    then(attempt)

    word = last(attempt)

    assert isinstance(word, Ended)
    assert (word.why, word.error, word.seconds) == ("stopped", None, 10.0)
    assert attempt.kill_at == 115.0
    assert attempt.timeout_at is None


def test_a_failure_says_what_the_operator_wants() -> None:
    attempt = begun()
    attempt.answers(FAILED)
    attempt.dies(DEATH, 101.0)

    word = last(attempt)

    assert isinstance(word, Ended)
    assert (word.why, word.retry_after) == ("error", 7.0)
    assert word.error == Failure("OSError", "disk")


def test_a_death_and_a_timeout_have_the_standard_error() -> None:
    dead, late = begun(), begun()
    dead.dies(DEATH, 101.0)
    late.is_signalled("timeout", 160.0, 5.0, Failure("Timeout", "late"))

    for attempt, failure in ((dead, DEATH), (late, Failure("Timeout", "late"))):
        word = last(attempt)
        assert isinstance(word, Ended)
        assert word.error is not None
        assert (word.error.type, word.error.stderr) == (failure.type, "said")


def test_progress_is_numbered_and_ends_with_the_decision() -> None:
    attempt = begun()
    words = [attempt.reports(0.1, "a"), attempt.reports(0.2, "b")]
    attempt.answers(MADE)

    assert attempt.reports(0.3, "c") is None
    assert attempt.progress == words[1]
    ids = [decode_word(said.headers).word for said in words if said is not None]
    assert ids == ["t.progress-1", "t.progress-2"]


def test_words_about_one_event_have_one_id() -> None:
    first, second = begun(), begun()

    assert first.begins(1, 2, "host") == second.begins(1, 2, "host")
    signal(first)
    second.answers(MADE)
    assert last(first).word == last(second).word == "t.last"


def test_what_survives_is_killed_again_a_second_later_and_not_all_the_time() -> None:
    attempt = begun()
    assert not attempt.outlives(1_000.0)
    signal(attempt)
    killed = [now for now in (114.9, 115.0, 115.001, 115.9, 116.0) if attempt.outlives(now)]
    assert killed == [115.0, 116.0]
    assert attempt.was_signalled
