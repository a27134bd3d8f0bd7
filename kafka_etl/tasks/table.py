"""The table of transitions: what a word does to a task in each state. Pure functions, no I/O.

`apply` looks up (state, kind of word); what has no entry has no effect. All changes of one task are
made by the owner of its partition, one after the other, so no entry thinks of races.

What follows from a change, the owner reads off the two heads: a token that came is a start, a
`STOPPING` is a signal, a final state is an output, and a `due` is a timer. So a restart needs
nothing but the heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from msgspec.structs import replace

from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import (
    DELIVERED,
    PENDING,
    REFUSED,
    Attempt,
    Attempts,
    Destination,
    Due,
    Failure,
    Head,
    HistoryLine,
    Input,
    StopNote,
    Submitted,
)
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.states import FINAL, HELD, WAITING, State

OWNER: Final = "owner"
SOURCE: Final = "source"
SINK_FAILED: Final = "SinkFailed"


class Change(NamedTuple):
    """What a word does.

    Attributes:
        head: The task's new head; None: the task is forgotten.
        beside: The head of another task that the word makes: a rejected duplicate.
    """

    head: Head | None
    beside: Head | None = None


class Case(NamedTuple):
    """One word for one task."""

    head: Head
    word: Any
    at: Moment
    policy: Policy


W = TypeVar("W", bound=w.Word)
Transition = Callable[[Case], "Change | None"]


def apply(task: str, head: Head | None, word: w.Word, at: Moment, policy: Policy) -> Change | None:
    """Take a word for a task.

    Args:
        task: The task's id.
        head: The task's head; None: there is no such task.
        word: The word.
        at: When and where.
        policy: The rules of the pipeline.

    Returns:
        The change; None: the word has no effect.
    """
    if head is None:
        if not isinstance(word, w.Submit):
            return None
        return Change(_submitted(task, 1, word, at, policy))
    if word.word and word.word in head.words:
        return None
    transition = TABLE.get((head.state, type(word)))
    change = None if transition is None else transition(Case(head, word, at, policy))
    if change is None or change.head is None or not word.word:
        return change
    return change._replace(head=replace(change.head, words=head.with_word(word.word)))


# Submissions


def _submitted(task: str, generation: int, word: w.Submit, at: Moment, policy: Policy) -> Head:
    """The head of a new task, or of the new generation of one whose id is free."""
    head = Head(
        id=task,
        state=State.ENQUEUED,
        generation=generation,
        seq=at.offset,
        route=word.route,
        submit=Submitted(word.word, word.accepted_ms, word.by),
        origin=word.origin,
        input=Input(at.offset, word.size, preview=word.preview),
        trace=word.trace,
        expires_ms=policy.expires_ms(word),
        words=(word.word,) if word.word else (),
    )
    case, who = Case(head, word, at, policy), word.by or SOURCE
    if word.invalid is not None:
        return _final(case, replace(head, error=word.invalid), State.INVALID, who)
    if head.expires_ms and head.expires_ms <= at.now_ms:
        return _final(case, head, State.EXPIRED, OWNER, "it was too old when it came")
    return _told(head, head.state, at, who)


def _is_free(head: Head, at: Moment) -> bool:
    """Whether the id of a final task may be used anew."""
    return head.state in FINAL and head.forget_ms <= at.now_ms


def _duplicate(case: Case) -> Change:
    """A submission whose id is known: within the window the rule for duplicates decides."""
    head, word, at, policy = case
    reruns = policy.on_duplicate == "rerun" and head.state in {State.FAILED, State.STOPPED}
    if _is_free(head, at) or (reruns and word.invalid is None):
        return Change(_submitted(head.id, head.generation + 1, word, at, policy))
    noted = replace(head, duplicates=head.duplicates + 1)
    if policy.on_duplicate != "reject":
        return Change(noted)
    refused = replace(word, invalid=Failure("Duplicate", f"the task {head.id} is known already"))
    return Change(noted, _submitted(f"{head.id}~{word.word}", 1, refused, at, policy))


# Starts and ends of attempts


def _granted(case: Case) -> Change:
    word: w.Granted = case.word
    granted = replace(
        case.head,
        token=word.token,
        executor=word.executor,
        boot=word.boot,
        offer=word.offer,
        grant_number=word.grant_number,
        granted_ms=case.at.now_ms,
        started_ms=0,
        due=None,
    )
    return Change(_told(granted, State.DEQUEUED, case.at, OWNER, f"for {word.executor}"))


def _started(case: Case) -> Change:
    started = replace(case.head, started_ms=case.at.now_ms)
    if case.head.state is State.STOPPING:
        return Change(started)
    return Change(_told(started, State.RUNNING, case.at, case.head.executor))


def _returned(case: Case) -> Change:
    """The attempt has not begun: it does not count."""
    said = "given back"
    return Change(_told(_let_go(case.head), State.ENQUEUED, case.at, case.head.executor, said))


def _succeeded(case: Case) -> Change:
    stop = None if case.head.stop is None else replace(case.head.stop, too_late=True)
    head = replace(
        _with_attempt(case, "result"),
        result=case.word.preview,
        result_at=case.at.offset,
        stop=stop,
    )
    return Change(_final(case, head, State.SUCCEEDED, case.head.executor))


_UNCOUNTED: Final = Attempts()
_COUNTED: Final = Attempts(counted=1)
_INTERRUPTED: Final = Attempts(interruptions=1)
_JOINT: Final = Attempts(joint=1)
_ERRORS: Final[Mapping[str, str]] = {
    "timeout": "Timeout",
    "died": "WorkerCrashed",
    "interrupted": "Interrupted",
    "lease_lost": "Interrupted",
    "unavailable": "Unavailable",
    "stopped": "Stopped",
}


def _ended(case: Case) -> Change:
    word: w.Ended = case.word
    why, error = word.why, word.error or Failure(_ERRORS.get(word.why, word.why))
    match why:
        case "permanent":
            head = _with_attempt(case, why, error, _COUNTED)
            return Change(_final(case, head, State.FAILED, case.head.executor))
        case "interrupted" | "lease_lost":
            return _again(case, why, error, _INTERRUPTED, 0)
        case "unavailable":
            return _again(case, why, error, _UNCOUNTED, _delay(case, word.retry_after))
        case _:
            return _again(case, why, error, _COUNTED, _delay(case, word.retry_after))


def _silent(case: Case) -> Change:
    error = Failure("WorkerLost", f"nothing was heard of {case.head.executor} any more")
    return _again(case, "lost", error, _COUNTED, _delay(case, None))


def _executor_gone(case: Case) -> Change:
    """The executor is gone: alone this may be the task's own doing, else nobody knows whose."""
    if case.word.alone:
        return _silent(case)
    error = Failure("WorkerLost", f"{case.head.executor} is gone, with all that it held")
    if case.head.attempts.joint + 1 >= case.policy.max_joint:
        error = Failure(
            "WorkerCrashed",
            f"{error.message}, {case.policy.max_joint} times, and this task was not alone: nobody "
            "knows which of the tasks is at fault",
        )
    return _again(case, "lost", error, _JOINT, 0)


def _again(case: Case, why: str, error: Failure, cost: Attempts, delay: int) -> Change:
    """Another attempt after `delay` milliseconds, or the end; `cost` is added to the counts."""
    head, policy = _with_attempt(case, why, error, cost), case.policy
    who = case.head.executor or OWNER
    said = f"{error.type}: {error.message}" if error.message else error.type
    spent = head.attempts
    # A loss says nothing about the beginning; of any other end the executor has told it.
    may_have_begun = case.head.started_ms or isinstance(case.word, w.Silent | w.ExecutorGone)
    if not policy.idempotent and may_have_begun:
        return Change(_final(case, head, State.FAILED, who, f"{said}; not idempotent"))
    if (
        spent.counted >= policy.max_attempts
        or spent.interruptions >= policy.max_interruptions
        or spent.joint >= policy.max_joint
    ):
        return Change(_final(case, head, State.FAILED, who, said))
    due = Due(case.at.now_ms + delay, delay)
    return Change(_told(replace(head, due=due), State.RETRYING, case.at, who, said))


def _delay(case: Case, wanted: float | None) -> int:
    """Milliseconds to wait before the next attempt."""
    if wanted is not None:
        return round(wanted * 1000)
    failures = case.head.attempts.counted + 1
    return round(case.policy.backoff.delay(failures, lambda: case.at.chance) * 1000)


def _with_attempt(
    case: Case, why: str, error: Failure | None = None, cost: Attempts = _UNCOUNTED
) -> Head:
    """The head without its token, and with the attempt that has ended."""
    head, so_far = case.head, case.head.attempts
    attempt = Attempt(
        number=so_far.total + 1,
        token=head.token,
        executor=head.executor,
        started_ms=_begin_of(case),
        ended_ms=case.at.now_ms,
        why=why,
        counted=cost.counted > 0,
        error=error,
    )
    attempts = Attempts(
        counted=so_far.counted + cost.counted,
        total=so_far.total + 1,
        interruptions=so_far.interruptions + cost.interruptions,
        joint=so_far.joint + cost.joint,
        last=so_far.with_ended(attempt),
    )
    return replace(_let_go(head), attempts=attempts, error=error)


def _begin_of(case: Case) -> int:
    """When the attempt began: its words may have come together, so its length tells; 0: never."""
    now, took = case.at.now_ms, getattr(case.word, "seconds", 0.0)
    if not (case.head.started_ms or took):
        return 0
    return min(case.head.started_ms or now, now - round(took * 1000))


def _let_go(head: Head) -> Head:
    """The head without its token; the executor that had it stays known."""
    return replace(head, token="", offer=0, grant_number=0, granted_ms=0, started_ms=0, ask="")


# Orders


def _expected(transition: Transition) -> Transition:
    """An order for another generation than the present one has no effect."""

    def guarded(case: Case) -> Change | None:
        return transition(case) if case.word.expect in {0, case.head.generation} else None

    return guarded


def _stop_waiting(case: Case) -> Change:
    head = replace(case.head, stop=_note_of(case), due=None)
    return Change(_final(case, head, State.STOPPED, case.word.by, case.word.reason))


def _stop_held(case: Case) -> Change:
    head = replace(case.head, stop=_note_of(case))
    return Change(_told(head, State.STOPPING, case.at, case.word.by, case.word.reason))


def _stop_harder(case: Case) -> Change | None:
    """A second order to stop changes something only if it wants to kill."""
    stop = case.head.stop
    if stop is None or stop.force or not case.word.force:
        return None
    head = replace(case.head, stop=replace(stop, force=True))
    return Change(_told(head, State.STOPPING, case.at, case.word.by, "at once"))


def _stop_too_late(case: Case) -> Change:
    said = "a stop that came too late"
    return Change(_told(case.head, case.head.state, case.at, case.word.by, said))


def _note_of(case: Case) -> StopNote:
    word: w.Stop = case.word
    return StopNote(case.at.now_ms, word.by, word.reason, word.force, word.quiet)


def _stopped(case: Case) -> Change:
    """The attempt has ended, however: it was told to stop."""
    error = getattr(case.word, "error", None) or Failure("Stopped")
    head = _with_attempt(case, "stopped", error)
    return Change(_final(case, head, State.STOPPED, case.head.executor))


def _stopped_unused(case: Case) -> Change:
    return Change(_final(case, _let_go(case.head), State.STOPPED, case.head.executor))


def _stopped_unconfirmed(case: Case) -> Change:
    """Nobody can confirm the end of the attempt any more."""
    stop = case.head.stop
    noted = None if stop is None else replace(stop, unconfirmed=True)
    return _stopped(case._replace(head=replace(case.head, stop=noted)))


def _retry(case: Case) -> Change | None:
    """A new generation of a task that has ended without success; or only its delivery."""
    if case.word.deliver:
        return _deliver_again(case)
    return _new_generation(case)


def _retry_success(case: Case) -> Change | None:
    return _new_generation(case) if case.word.again else None


def _retry_now(case: Case) -> Change:
    head = replace(_with_input(case), due=None)
    return Change(_told(head, State.ENQUEUED, case.at, case.word.by, _reason(case.word)))


def _new_generation(case: Case) -> Change:
    head = _with_input(case)
    fresh = replace(
        _unfinished(head),
        generation=head.generation + 1,
        overtakes=True,
        result="",
        result_at=-1,
        destinations=(),
        expires_ms=0,
        attempts=Attempts(total=head.attempts.total, last=head.attempts.last),
    )
    return Change(_told(fresh, State.ENQUEUED, case.at, case.word.by, _reason(case.word)))


def _with_input(case: Case) -> Head:
    """The head with the input that the word has brought along, if it has."""
    word: w.Retry = case.word
    if not word.input:
        return case.head
    return replace(case.head, input=Input(case.at.offset, word.size, preview=word.preview))


def _reason(word: w.Retry) -> str:
    said = "with another input" if word.input else ""
    return ": ".join(part for part in (said, word.reason) if part)


def _deliver_again(case: Case) -> Change | None:
    head = case.head
    if head.error is None or head.error.type != SINK_FAILED:
        return None
    refused = _refused(head, State.SUCCEEDED)
    if not refused:
        return None
    others = tuple(d for d in head.destinations if not d.on_cluster)
    again = replace(_unfinished(head), outcome=State.SUCCEEDED, destinations=others, overtakes=True)
    names = tuple(d.name for d in refused if not d.on_cluster)
    by, reason = case.word.by, case.word.reason
    if not names:
        return Change(_over(case, again, State.SUCCEEDED, by, reason))
    return Change(_delivering(case, again, names, by, reason))


def _unfinished(head: Head) -> Head:
    return replace(head, outcome=None, stop=None, error=None, finished_ms=0, forget_ms=0)


def _asked(case: Case) -> Change:
    """A question, with the word's id: who asks twice is answered twice."""
    return Change(replace(case.head, ask=f"{case.word.what} {case.word.word}"))


# The owner's own words


def _due(case: Case) -> Change:
    return Change(_told(replace(case.head, due=None), State.ENQUEUED, case.at, OWNER))


def _too_old(case: Case) -> Change:
    head = replace(case.head, due=None)
    return Change(_final(case, head, State.EXPIRED, OWNER, "it was not started in time"))


def _input_lost(case: Case) -> Change:
    error = Failure("InputGone", "the inbox has the input no more")
    head = replace(case.head, error=error)
    return Change(_final(case, head, State.FAILED, OWNER, error.message))


# Words of deliverers


def _delivered(case: Case) -> Change | None:
    return _answered(case, DELIVERED)


def _undeliverable(case: Case) -> Change | None:
    return _answered(case, REFUSED, case.word.why)


def _answered(case: Case, status: str, why: str = "") -> Change | None:
    """A destination has acknowledged or refused; the outcome waits for the last of them."""
    head, word = case.head, case.word
    if (word.generation, word.delivery) != (head.generation, head.delivery):
        return None
    waits = [(d.name, d.status) for d in head.destinations]
    if (word.destination, PENDING) not in waits:
        return None
    asked = head.destinations[waits.index((word.destination, PENDING))]
    answered = replace(asked, status=status, why=why)
    destinations = tuple(answered if d is asked else d for d in head.destinations)
    head = replace(head, destinations=destinations)
    if any(d.status == PENDING for d in destinations):
        return Change(head)
    return Change(_all_answered(case, head, asked.outcome))


def _all_answered(case: Case, head: Head, outcome: State) -> Head:
    """A result that a destination refuses fails the task; a notice of a failure does not."""
    refused = _refused(head, outcome)
    if not refused:
        return _over(case, head, outcome, OWNER, "delivered")
    said = "; ".join(f"{d.name}: {d.why}" for d in refused)
    if outcome is not State.SUCCEEDED:
        return _over(case, head, outcome, OWNER, f"refused by {said}")
    return _final(case, replace(head, error=Failure(SINK_FAILED, said)), State.FAILED, OWNER, said)


def _refused(head: Head, outcome: State) -> list[Destination]:
    """The destinations of this outcome that have refused it."""
    return [d for d in head.destinations if (d.status, d.outcome) == (REFUSED, outcome)]


def _history_over(case: Case) -> Change | None:
    """Only the id is still known, as long as it is taken."""
    head = case.head
    if head.is_stub:
        return None
    stub = Head(
        id=head.id,
        state=head.state,
        generation=head.generation,
        finished_ms=head.finished_ms,
        forget_ms=head.forget_ms,
        is_stub=True,
    )
    return Change(stub)


def _window_over(case: Case) -> Change | None:
    return Change(None) if _is_free(case.head, case.at) else None


def _forgotten(case: Case) -> Change:
    del case
    return Change(None)


# Ends


def _final(case: Case, head: Head, state: State, who: str, why: str = "") -> Head:
    """The task in this final state, or on its way to destinations outside of the cluster."""
    quiet = head.stop is not None and head.stop.quiet and state is not State.SUCCEEDED
    names = () if quiet else _outside(case, state)
    if names:
        return _delivering(case, replace(head, outcome=state), names, who, why)
    return _over(case, head, state, who, why)


def _outside(case: Case, state: State) -> tuple[str, ...]:
    """The destinations outside of the cluster: of a success, those that get rows."""
    if state is State.SUCCEEDED:
        return case.word.outside if isinstance(case.word, w.Result) else ()
    return case.policy.outside.get(state, ())


def _delivering(case: Case, head: Head, names: tuple[str, ...], who: str, why: str) -> Head:
    """The outcome on its way to these destinations."""
    outcome = head.outcome or State.SUCCEEDED
    others = tuple(d for d in head.destinations if d.name not in names)
    asked = tuple(Destination(name, PENDING, outcome=outcome) for name in names)
    head = replace(head, destinations=(*others, *asked), delivery=head.delivery + 1)
    return _told(head, State.DELIVERING, case.at, who, why)


def _over(case: Case, head: Head, state: State, who: str, why: str = "") -> Head:
    now, policy = case.at.now_ms, case.policy
    accepted = head.submit.at_ms if head.submit is not None else now
    forget = max(accepted + policy.window_ms, now + policy.history_ms)
    ended = replace(head, outcome=None, finished_ms=now, forget_ms=forget)
    return _told(ended, state, case.at, who, why)


def _told(head: Head, state: State, at: Moment, who: str, why: str = "") -> Head:
    """The task in this state, which is a line of its history."""
    history, before = head.with_line(HistoryLine(at.now_ms, state, who, why))
    return replace(head, state=state, history=history, before=before)


def _of_token(transition: Transition) -> Transition:
    """Words of another attempt than the present one have no effect."""

    def guarded(case: Case) -> Change | None:
        return transition(case) if case.word.token == case.head.token else None

    return guarded


_S = State
_WITH_ATTEMPT: Final = (_S.DEQUEUED, _S.RUNNING)
TABLE: Final[Mapping[tuple[State, type[w.Word]], Transition]] = {
    **{(state, w.Submit): _duplicate for state in State},
    (_S.ENQUEUED, w.Granted): _granted,
    **{(state, w.IsTooOld): _too_old for state in WAITING},
    **{(state, w.Stop): _expected(_stop_waiting) for state in WAITING},
    (_S.ENQUEUED, w.InputLost): _input_lost,
    (_S.RETRYING, w.IsDue): _due,
    (_S.RETRYING, w.Retry): _expected(_retry_now),
    (_S.DEQUEUED, w.Started): _of_token(_started),
    (_S.DEQUEUED, w.Returned): _of_token(_returned),
    **{(state, w.Ended): _of_token(_ended) for state in _WITH_ATTEMPT},
    **{(state, w.Silent): _of_token(_silent) for state in _WITH_ATTEMPT},
    **{(state, w.ExecutorGone): _of_token(_executor_gone) for state in _WITH_ATTEMPT},
    **{(state, w.Stop): _expected(_stop_held) for state in _WITH_ATTEMPT},
    **{(state, w.Ask): _asked for state in HELD},
    **{(state, w.Result): _of_token(_succeeded) for state in HELD},
    (_S.STOPPING, w.Started): _of_token(_started),
    (_S.STOPPING, w.Stop): _expected(_stop_harder),
    (_S.STOPPING, w.Ended): _of_token(_stopped),
    (_S.STOPPING, w.Returned): _of_token(_stopped_unused),
    (_S.STOPPING, w.Silent): _of_token(_stopped_unconfirmed),
    (_S.STOPPING, w.ExecutorGone): _of_token(_stopped_unconfirmed),
    (_S.DELIVERING, w.Delivered): _delivered,
    (_S.DELIVERING, w.Undeliverable): _undeliverable,
    (_S.DELIVERING, w.Stop): _expected(_stop_too_late),
    **{(state, w.Retry): _expected(_retry) for state in (_S.FAILED, _S.STOPPED, _S.EXPIRED)},
    (_S.SUCCEEDED, w.Retry): _expected(_retry_success),
    **{(state, w.HistoryOver): _history_over for state in FINAL},
    **{(state, w.WindowOver): _window_over for state in FINAL},
    **{(state, w.OneTooMany): _forgotten for state in FINAL},
    **{(state, w.Forget): _expected(_forgotten) for state in FINAL},
}
"""(state, kind of word) -> what the word does; what is missing here has no effect."""
