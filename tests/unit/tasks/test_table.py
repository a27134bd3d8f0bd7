"""Each cell of the table of transitions, as a row: state, word, state afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kafka_etl.retry import Backoff
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import (
    Attempts,
    Destination,
    Due,
    Failure,
    Head,
    Input,
    StopNote,
    Submitted,
)
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.states import FINAL, HELD, State
from kafka_etl.tasks.table import TABLE, Change, apply

S = State
NOW = 1_000_000
AT = Moment(NOW, offset=77)
POLICY = Policy(backoff=Backoff(1, 2, 60, "none"), window_ms=5_000, history_ms=2_000)
OUTSIDE = Policy(backoff=POLICY.backoff, outside={S.FAILED: ("letters",), S.STOPPED: ("letters",)})


def head_of(state: State, **more: Any) -> Head:
    """A task of generation 2 in a state, as far as that state tells."""
    head = Head(
        id="t",
        state=state,
        generation=2,
        seq=5,
        submit=Submitted("s", NOW - 100),
        input=Input(5, 10),
    )
    if state in HELD:
        head = replace(head, token="k", executor="ex", boot="b", granted_ms=NOW - 50)
    if state in {S.RUNNING, S.STOPPING}:
        head = replace(head, started_ms=NOW - 40)
    if state is S.STOPPING:
        head = replace(head, stop=StopNote(NOW - 10, "me"))
    if state is S.RETRYING:
        head = replace(head, due=Due(NOW + 10, 10))
    if state is S.DELIVERING:
        asked = (Destination("mns", "pending"),)
        head = replace(head, outcome=S.SUCCEEDED, delivery=1, destinations=asked)
    if state in FINAL:
        head = replace(head, finished_ms=NOW - 1, forget_ms=NOW + 1_000)
    return replace(head, **more)


WORDS: dict[str, w.Word] = {
    "submit": w.Submit(word="x", accepted_ms=NOW),
    "granted": w.Granted(token="n", executor="ex2", boot="b2"),
    "started": w.Started(token="k"),
    "returned": w.Returned(token="k"),
    "result": w.Result(token="k", preview="ok"),
    "error": w.Ended(token="k", why="error", error=Failure("E", "m")),
    "timeout": w.Ended(token="k", why="timeout"),
    "died": w.Ended(token="k", why="died"),
    "permanent": w.Ended(token="k", why="permanent"),
    "interrupted": w.Ended(token="k", why="interrupted"),
    "lease_lost": w.Ended(token="k", why="lease_lost"),
    "unavailable": w.Ended(token="k", why="unavailable"),
    "ended: stopped": w.Ended(token="k", why="stopped"),
    "silent": w.Silent(token="k"),
    "gone": w.ExecutorGone(token="k"),
    "gone alone": w.ExecutorGone(token="k", alone=True),
    "stop": w.Stop(word="x", by="me"),
    "retry": w.Retry(word="x", by="me", expect=2),
    "retry again": w.Retry(word="x", by="me", expect=2, again=True),
    "retry deliver": w.Retry(word="x", by="me", expect=2, deliver=True),
    "ask": w.Ask(word="x"),
    "input lost": w.InputLost(),
    "due": w.IsDue(),
    "too old": w.IsTooOld(),
    "result outside": w.Result(token="k", preview="ok", outside=("mns",)),
    "delivered": w.Delivered(destination="mns", generation=2, delivery=1),
    "undeliverable": w.Undeliverable(destination="mns", generation=2, delivery=1, why="403"),
    "history over": w.HistoryOver(),
    "window over": w.WindowOver(),
    "progress": w.Progress(token="k", fraction=0.5),
    "alive": w.Alive(executor="ex", boot="b"),
    "hello": w.Hello(executor="ex", boot="b"),
}
HAS_ATTEMPT = (S.DEQUEUED, S.RUNNING)
EXPECTED: dict[tuple[State, str], State] = {
    **{(state, "submit"): state for state in S},
    (S.ENQUEUED, "granted"): S.DEQUEUED,
    (S.ENQUEUED, "stop"): S.STOPPED,
    (S.ENQUEUED, "too old"): S.EXPIRED,
    (S.ENQUEUED, "input lost"): S.FAILED,
    (S.RETRYING, "stop"): S.STOPPED,
    (S.RETRYING, "too old"): S.EXPIRED,
    (S.RETRYING, "due"): S.ENQUEUED,
    **{(S.RETRYING, f"retry{how}"): S.ENQUEUED for how in ("", " again", " deliver")},
    (S.DEQUEUED, "started"): S.RUNNING,
    (S.DEQUEUED, "returned"): S.ENQUEUED,
    **{(state, "result"): S.SUCCEEDED for state in HELD},
    **{(state, "result outside"): S.DELIVERING for state in HELD},
    **{
        (state, word): S.RETRYING
        for state in HAS_ATTEMPT
        for word in (
            "error",
            "timeout",
            "died",
            "interrupted",
            "lease_lost",
            "unavailable",
            "ended: stopped",
            "silent",
            "gone",
            "gone alone",
        )
    },
    **{(state, "permanent"): S.FAILED for state in HAS_ATTEMPT},
    **{(state, "stop"): S.STOPPING for state in HAS_ATTEMPT},
    **{(state, "ask"): state for state in HELD},
    (S.STOPPING, "started"): S.STOPPING,
    (S.STOPPING, "returned"): S.STOPPED,
    **{
        (S.STOPPING, word): S.STOPPED
        for word in (
            "error",
            "timeout",
            "died",
            "permanent",
            "interrupted",
            "lease_lost",
            "unavailable",
            "ended: stopped",
            "silent",
            "gone",
            "gone alone",
        )
    },
    (S.DELIVERING, "delivered"): S.SUCCEEDED,
    (S.DELIVERING, "undeliverable"): S.FAILED,
    (S.DELIVERING, "stop"): S.DELIVERING,
    **{
        (state, f"retry{how}"): S.ENQUEUED
        for state in (S.FAILED, S.STOPPED, S.EXPIRED)
        for how in ("", " again")
    },
    (S.SUCCEEDED, "retry again"): S.ENQUEUED,
    **{(state, "history over"): state for state in FINAL},
}
"""(state, word) -> the state afterwards; what is not here has no effect."""


def taken(head: Head | None, word: w.Word, policy: Policy = POLICY, at: Moment = AT) -> Change:
    change = apply("t", head, word, at, policy)
    assert change is not None
    return change


def after(head: Head | None, word: w.Word, policy: Policy = POLICY, at: Moment = AT) -> Head:
    found = taken(head, word, policy, at).head
    assert found is not None
    return found


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("state", State)
def test_a_cell(state: State, word: str) -> None:
    change = apply("t", head_of(state), WORDS[word], AT, POLICY)
    expected = EXPECTED.get((state, word))
    if expected is None:
        assert change is None
        return
    assert change is not None
    assert change.head is not None
    assert change.head.state is expected
    if expected is not state:
        assert change.head.history[-1].to is expected
        assert change.head.history[-1].at_ms == NOW
    assert bool(change.head.token) == (expected in HELD)
    assert bool(change.head.finished_ms) == (expected in FINAL)
    assert bool(change.head.due) == (expected is S.RETRYING)


def test_the_rows_above_are_all_of_the_table() -> None:
    cells = {(state, type(WORDS[word])) for state, word in EXPECTED}
    # Only once the window is over; and what forgets at once.
    window = {(state, word) for state in FINAL for word in (w.WindowOver, w.OneTooMany)}
    harder = {(S.STOPPING, w.Stop)}  # only with `force`
    forgets = {(state, w.Forget) for state in FINAL}  # leaves no head
    assert cells | window | harder | forgets == set(TABLE)


@pytest.mark.parametrize("state", State)
def test_what_has_ended_is_forgotten_on_an_order(state: State) -> None:
    change = apply("t", head_of(state), w.Forget(word="x", by="me"), AT, POLICY)
    assert change == (Change(None) if state in FINAL else None)


# Tokens, words and generations


@pytest.mark.parametrize("state", sorted(HELD))
@pytest.mark.parametrize(
    "word", ["started", "returned", "result", "error", "silent", "gone", "progress"]
)
def test_another_token_has_no_effect(state: State, word: str) -> None:
    foreign = replace(WORDS[word], token="other")  # type: ignore[call-arg]
    assert apply("t", head_of(state), foreign, AT, POLICY) is None


@pytest.mark.parametrize("word", ["submit", "stop", "retry", "ask"])
def test_a_word_that_comes_twice_is_taken_once(word: str) -> None:
    for state in State:
        change = apply("t", head_of(state), WORDS[word], AT, POLICY)
        if change is not None and change.head is not None and "x" in change.head.words:
            assert apply("t", change.head, WORDS[word], AT, POLICY) is None


def test_the_last_sixteen_words_are_known() -> None:
    head = head_of(S.RUNNING)
    for n in range(20):
        head = after(head, w.Ask(word=str(n)))
    assert head.words == tuple(map(str, range(4, 20)))


@pytest.mark.parametrize("state", [S.ENQUEUED, S.RETRYING, S.RUNNING, S.STOPPING, S.DELIVERING])
def test_a_stop_for_another_generation_has_no_effect(state: State) -> None:
    assert apply("t", head_of(state), w.Stop(word="x", expect=1), AT, POLICY) is None


@pytest.mark.parametrize("state", [S.FAILED, S.STOPPED, S.EXPIRED, S.SUCCEEDED, S.RETRYING])
def test_a_retry_for_another_generation_has_no_effect(state: State) -> None:
    old = w.Retry(word="x", expect=1, again=True)
    assert apply("t", head_of(state), old, AT, POLICY) is None


def test_a_retry_is_a_new_generation_whose_attempts_count_anew() -> None:
    failed = head_of(S.FAILED, attempts=Attempts(counted=3, total=5), error=Failure("E"))
    head = after(failed, WORDS["retry"])
    assert (head.generation, head.state, head.error) == (3, S.ENQUEUED, None)
    assert (head.attempts.counted, head.attempts.total) == (0, 5)
    assert head.input == failed.input
    assert (head.finished_ms, head.forget_ms) == (0, 0)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        *((state, "retry") for state in (S.FAILED, S.STOPPED, S.EXPIRED, S.RETRYING)),
        (S.SUCCEEDED, "retry again"),
    ],
)
def test_a_retry_may_bring_another_input_along(state: State, word: str) -> None:
    other = replace(WORDS[word], input=True, size=3, preview="new", reason="typo")  # type: ignore[call-arg]
    head = after(head_of(state), other)
    assert head.input == Input(77, 3, preview="new")
    assert head.seq == 5
    assert head.history[-1].why == "with another input: typo"


@pytest.mark.parametrize("state", [S.RUNNING, S.ENQUEUED, S.SUCCEEDED, S.INVALID])
def test_a_retry_without_effect_leaves_the_input(state: State) -> None:
    other = w.Retry(word="x", expect=2, input=True)
    assert apply("t", head_of(state), other, AT, POLICY) is None


@pytest.mark.parametrize("state", sorted({S.FAILED, S.STOPPED, S.EXPIRED}))
def test_what_is_retried_waits_for_nobody_of_its_route(state: State) -> None:
    head = after(head_of(state, route="r"), WORDS["retry"])
    assert (head.route, head.overtakes, head.in_turn) == ("r", True, False)


def test_a_task_is_in_turn_from_its_submission_through_all_attempts() -> None:
    head = after(None, w.Submit(word="x", route="r"))
    for word in (
        w.Granted(token="k", executor="ex", boot="b"),
        w.Started(token="k"),
        w.Ended(token="k", why="error"),
        w.Retry(expect=1),
    ):
        assert head.in_turn
        head = after(head, word)
    assert (head.state, head.generation, head.in_turn) == (S.ENQUEUED, 1, True)
    assert not replace(head, route="").in_turn


def test_only_the_delivery_is_repeated_out_of_turn() -> None:
    failed = after(head_of(S.DELIVERING, route="r"), WORDS["undeliverable"])
    assert failed.in_turn
    assert not after(failed, WORDS["retry deliver"]).in_turn


# Submissions


def test_a_new_task() -> None:
    word = w.Submit(word="x", by="me@host", accepted_ms=NOW - 5, route="r", size=12, preview="{}")
    head = after(None, word)
    assert (head.id, head.state, head.generation, head.seq) == ("t", S.ENQUEUED, 1, 77)
    assert head.submit == Submitted("x", NOW - 5, "me@host")
    assert head.input == Input(77, 12, preview="{}")
    assert head.history[0].who == "me@host"


@pytest.mark.parametrize("word", [name for name in WORDS if name != "submit"])
def test_any_other_word_for_an_unknown_task_has_no_effect(word: str) -> None:
    assert apply("t", None, WORDS[word], AT, POLICY) is None


def test_an_invalid_submission_ends_at_once() -> None:
    head = after(None, w.Submit(word="x", invalid=Failure("DecodeError", "no JSON")))
    assert head.state is S.INVALID
    assert head.error == Failure("DecodeError", "no JSON")


def test_a_task_that_is_too_old_expires_when_it_comes() -> None:
    policy = Policy(max_age_ms=1_000)
    assert after(None, w.Submit(word="x", accepted_ms=NOW - 1_000), policy).state is S.EXPIRED
    fresh = after(None, w.Submit(word="x", accepted_ms=NOW - 999), policy)
    assert (fresh.state, fresh.expires_ms) == (S.ENQUEUED, NOW + 1)


@pytest.mark.parametrize("state", State)
def test_a_duplicate_is_dropped_and_counted(state: State) -> None:
    before = head_of(state)
    head = after(before, WORDS["submit"])
    assert head.duplicates == 1
    assert replace(head, duplicates=0, words=()) == before


@pytest.mark.parametrize("state", sorted(FINAL))
def test_behind_the_window_the_id_is_free(state: State) -> None:
    head = after(head_of(state, forget_ms=NOW), WORDS["submit"])
    assert (head.state, head.generation, head.seq) == (S.ENQUEUED, 3, 77)


@pytest.mark.parametrize("state", State)
def test_a_rejected_duplicate_is_a_task_of_its_own_that_is_invalid(state: State) -> None:
    change = taken(head_of(state), WORDS["submit"], Policy(on_duplicate="reject"))
    assert change.beside is not None
    assert (change.beside.id, change.beside.state) == ("t~x", S.INVALID)
    assert change.head is not None
    assert change.head.state is state


@pytest.mark.parametrize("state", State)
def test_only_what_failed_or_was_stopped_is_run_again_with_the_new_input(state: State) -> None:
    head = after(head_of(state), WORDS["submit"], Policy(on_duplicate="rerun"))
    if state in {S.FAILED, S.STOPPED}:
        assert (head.state, head.generation) == (S.ENQUEUED, 3)
        assert head.input is not None
        assert head.input.offset == 77
    else:
        assert head.state is state


# Attempts


def test_attempts_that_count_are_used_up() -> None:
    head = head_of(S.RUNNING, attempts=Attempts(counted=2, total=2))
    ended = after(head, WORDS["error"])
    assert (ended.state, ended.attempts.counted) == (S.FAILED, 3)
    assert ended.error == Failure("E", "m")
    last = ended.attempts.last[-1]
    assert (last.number, last.token, last.why, last.counted) == (3, "k", "error", True)


@pytest.mark.parametrize("word", ["interrupted", "lease_lost", "unavailable", "gone"])
def test_an_attempt_that_is_not_the_tasks_fault_does_not_count(word: str) -> None:
    head = head_of(S.RUNNING, attempts=Attempts(counted=2, total=2))
    ended = after(head, WORDS[word])
    assert (ended.state, ended.attempts.counted, ended.attempts.total) == (S.RETRYING, 2, 3)


@pytest.mark.parametrize(
    ("word", "so_far"),
    [("interrupted", Attempts(interruptions=9)), ("gone", Attempts(joint=9))],
)
def test_what_does_not_count_is_limited_too(word: str, so_far: Attempts) -> None:
    assert after(head_of(S.RUNNING, attempts=so_far), WORDS[word]).state is S.FAILED


def test_waits_grow_and_an_operator_may_choose_its_own() -> None:
    first = after(head_of(S.RUNNING), WORDS["error"])
    assert first.due == Due(NOW + 1_000, 1_000)
    second = after(head_of(S.RUNNING, attempts=Attempts(counted=1)), WORDS["error"])
    assert second.due == Due(NOW + 2_000, 2_000)
    chosen = w.Ended(token="k", why="unavailable", retry_after=7.5)
    assert after(head_of(S.RUNNING), chosen).due == Due(NOW + 7_500, 7_500)
    assert after(head_of(S.RUNNING), WORDS["interrupted"]).due == Due(NOW, 0)


@pytest.mark.parametrize("word", ["error", "silent", "gone", "interrupted", "died"])
def test_an_operator_that_is_not_idempotent_is_never_run_twice(word: str) -> None:
    policy = Policy(idempotent=False)
    assert after(head_of(S.RUNNING), WORDS[word], policy).state is S.FAILED
    is_known = word not in {"silent", "gone"}  # whether it had begun, which it had not
    known = S.RETRYING if is_known else S.FAILED
    assert after(head_of(S.DEQUEUED), WORDS[word], policy).state is known


def test_a_result_that_came_before_the_stop_wins() -> None:
    head = after(head_of(S.STOPPING), WORDS["result"])
    assert head.state is S.SUCCEEDED
    assert head.stop is not None
    assert head.stop.too_late


@pytest.mark.parametrize("word", ["silent", "gone"])
def test_a_stop_that_nobody_can_confirm_is_marked(word: str) -> None:
    head = after(head_of(S.STOPPING), WORDS[word])
    assert head.state is S.STOPPED
    assert head.stop is not None
    assert head.stop.unconfirmed


def test_a_second_stop_can_only_be_harder() -> None:
    stopping = head_of(S.STOPPING)
    assert apply("t", stopping, w.Stop(word="y"), AT, POLICY) is None
    head = after(stopping, w.Stop(word="y", force=True))
    assert head.stop is not None
    assert head.stop.force


# Delivery


def answer(destination: str, delivery: int = 1, why: str = "") -> w.OfDelivery:
    if why:
        return w.Undeliverable(destination=destination, generation=2, delivery=delivery, why=why)
    return w.Delivered(destination=destination, generation=2, delivery=delivery)


def test_outcomes_with_a_destination_outside_are_delivered_first() -> None:
    head = after(head_of(S.RUNNING), WORDS["result outside"], OUTSIDE)
    assert (head.state, head.outcome, head.finished_ms) == (S.DELIVERING, S.SUCCEEDED, 0)
    assert (head.result_at, head.delivery) == (77, 1)
    done = after(head, answer("mns"), OUTSIDE)
    assert (done.state, done.outcome) == (S.SUCCEEDED, None)
    assert done.destinations == (Destination("mns", "delivered"),)


def test_the_last_destination_that_answers_decides() -> None:
    result = w.Result(token="k", outside=("mns", "files"))
    head = after(head_of(S.RUNNING), result, OUTSIDE)
    refused = after(head, answer("mns", why="403"), OUTSIDE)
    assert refused.state is S.DELIVERING
    failed = after(refused, answer("files"), Policy())
    assert (failed.state, failed.error) == (S.FAILED, Failure("SinkFailed", "mns: 403"))
    again = after(failed, WORDS["retry deliver"])
    assert [(d.name, d.status) for d in again.destinations] == [
        ("files", "delivered"),
        ("mns", "pending"),
    ]


def test_a_refused_result_fails_the_task_and_can_be_delivered_again() -> None:
    head = after(head_of(S.DELIVERING), WORDS["undeliverable"])
    assert (head.state, head.error) == (S.FAILED, Failure("SinkFailed", "mns: 403"))
    again = after(head, WORDS["retry deliver"])
    assert (again.state, again.outcome, again.generation) == (S.DELIVERING, S.SUCCEEDED, 2)
    assert apply("t", again, answer("mns", 1), AT, POLICY) is None
    assert after(again, answer("mns", 2)).state is S.SUCCEEDED


def test_a_refused_result_is_a_failure_of_which_others_hear() -> None:
    head = after(head_of(S.DELIVERING), WORDS["undeliverable"], OUTSIDE)
    assert (head.state, head.outcome, head.delivery) == (S.DELIVERING, S.FAILED, 2)
    assert after(head, answer("letters", 2), OUTSIDE).state is S.FAILED


def test_a_refused_notice_of_a_failure_ends_in_no_loop() -> None:
    head = after(head_of(S.RUNNING), WORDS["permanent"], OUTSIDE)
    assert (head.state, head.outcome) == (S.DELIVERING, S.FAILED)
    head = after(head, answer("letters", why="404"), OUTSIDE)
    assert (head.state, head.error) == (S.FAILED, Failure("permanent"))
    assert head.destinations == (Destination("letters", "refused", "404", S.FAILED),)
    assert head.history[-1].why == "refused by letters: 404"


def test_an_answer_of_another_delivery_or_destination_has_no_effect() -> None:
    head = head_of(S.DELIVERING)
    for word in (answer("mns", 2), answer("files"), replace(answer("mns"), generation=1)):
        assert apply("t", head, word, AT, POLICY) is None


def test_a_quiet_stop_tells_no_destination() -> None:
    quiet = w.Stop(word="x", quiet=True)
    assert after(head_of(S.ENQUEUED), quiet, OUTSIDE).state is S.STOPPED
    assert after(head_of(S.ENQUEUED), WORDS["stop"], OUTSIDE).state is S.DELIVERING


# The end of history


def test_a_stub_knows_the_id_until_the_window_is_over() -> None:
    head = head_of(S.SUCCEEDED)
    stub = after(head, w.HistoryOver())
    assert stub.is_stub
    assert stub.input is None
    assert apply("t", stub, w.HistoryOver(), AT, POLICY) is None
    assert apply("t", stub, w.WindowOver(), AT, POLICY) is None
    assert after(stub, WORDS["submit"]).duplicates == 1
    later = Moment(head.forget_ms)
    assert taken(stub, w.WindowOver(), at=later).head is None
    fresh = after(stub, WORDS["submit"], at=later)
    assert (fresh.state, fresh.generation) == (S.ENQUEUED, 3)


# All paths


@given(st.lists(st.sampled_from(sorted(WORDS)), max_size=30), st.sampled_from([POLICY, OUTSIDE]))
def test_whatever_comes_a_task_is_consistent(names: list[str], policy: Policy) -> None:
    head = after(None, WORDS["submit"], policy)
    tokens = 0
    for name in names:
        word = WORDS[name]
        if isinstance(word, w.Granted):
            tokens += 1
            word = replace(word, token="k")
        change = apply("t", head, word, AT, policy)
        if change is None:
            continue
        assert change.head is not None
        head = change.head
        assert bool(head.token) == (head.state in HELD)
        assert bool(head.finished_ms) == (head.state in FINAL)
        assert bool(head.outcome) == (head.state is S.DELIVERING)
        assert head.attempts.counted <= policy.max_attempts
        assert head.attempts.total <= tokens
        assert len(head.history) <= 50
