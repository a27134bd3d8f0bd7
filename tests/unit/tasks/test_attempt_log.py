"""What of an attempt's prints goes out, when, and what is left out."""

from __future__ import annotations

from kafka_etl.runtime.tasks.keeper.attempt_log import AttemptLog, Logs
from kafka_etl.tasks.keeping import Grant, Instant, Logged, TaskRecord

KIB = 1024
LIMIT = 64 * KIB


def grant(name: str = "k") -> Grant:
    record = TaskRecord("in", 0, 0, -1, None, b"", [])
    return Grant(name, "a", 0, 1, 1, record, (1, 1), 0, Instant(0.0, 0.0))


def attempt_log(limit: int = LIMIT) -> AttemptLog:
    return AttemptLog(grant(), limit, 0.0, lambda: 1_000)


def taken(log: AttemptLog, now: float = 0.0) -> list[Logged]:
    """All pieces that may go out at this time."""
    found: list[Logged] = []
    while (piece := log.next_piece(now)) is not None:
        found.append(piece)
        log.went_out()
    return found


def text(pieces: list[Logged]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def test_prints_go_out_in_their_order_with_their_streams() -> None:
    log = attempt_log()
    log.write("out", b"one\n")
    log.write("out", b"two\n")
    log.write("err", b"oh\n")
    log.write("out", b"three\n")

    assert [(p.stream, p.data, p.seq) for p in taken(log)] == [
        ("out", b"one\ntwo\n", 0),
        ("err", b"oh\n", 1),
        ("out", b"three\n", 2),
    ]


def test_the_first_half_goes_out_live_and_the_last_half_at_the_end_with_a_gap_between() -> None:
    log = attempt_log()
    for n in range(100_000):
        log.write("out", b"line %06d\n" % n)
    live = [piece for second in range(1000) for piece in taken(log, float(second))]
    log.end()
    rest = taken(log, 1000.0)

    assert 30 * KIB < len(text(live)) <= 32 * KIB
    assert text(live).startswith(b"line 000000\n")
    assert (rest[0].stream, rest[-1].stream) == ("gap", "end")
    assert b"bytes are left out" in rest[0].data
    assert text(rest).endswith(b"line 099999\n")
    assert 15 * KIB < len(text(rest)) <= 33 * KIB
    printed = 12 * 100_000
    left_out = int(rest[0].data.split(b" ")[0].strip(b"\n[").replace(b",", b""))
    assert len(text(live)) + len(text(rest[1:])) + left_out == printed


def test_a_million_short_prints_of_two_streams_make_a_bounded_number_of_pieces() -> None:
    log = attempt_log()
    for _ in range(100_000):
        log.write("out", b"a")
        log.write("err", b"b")
    pieces = [piece for second in range(1000) for piece in taken(log, float(second))]
    log.end()
    pieces += taken(log, 1000.0)

    assert len(pieces) <= LIMIT / 100 + 2


def test_a_running_attempt_sends_64_kib_a_second() -> None:
    log = attempt_log(10 * 1024 * KIB)
    log.write("out", b"x" * (1024 * KIB))

    first = len(text(taken(log, 0.0)))
    then = len(text(taken(log, 1.0)))

    assert 64 * KIB <= first <= 80 * KIB
    assert 48 * KIB <= then <= 80 * KIB


def test_an_attempt_that_prints_nothing_has_no_log() -> None:
    log = attempt_log()
    log.end()

    assert taken(log) == []


def test_stacks_overtake_prints_that_wait() -> None:
    log = attempt_log()
    log.write("out", b"x" * (30 * KIB))
    log.write("stack", b"in sleeps")

    assert taken(log)[0].stream == "stack"


def test_prints_wait_for_an_owner_and_are_not_lost() -> None:
    sent: list[Logged] = []
    is_there = False

    def send(piece: Logged) -> bool:
        if is_there:
            sent.append(piece)
        return is_there

    logs = Logs(LIMIT, send)
    write = logs.begin(grant(), 0.0)
    assert write is not None
    write("out", b"hello")
    logs.flush(1.0)
    logs.end("k")
    logs.flush(2.0)
    assert logs.next_flush(2.0) is not None
    is_there = True
    logs.flush(3.0)

    assert [(p.stream, p.data) for p in sent] == [("out", b"hello"), ("end", b"")]
    assert logs.next_flush(3.0) is None


def test_logs_of_ended_attempts_that_nobody_takes_shrink_to_a_note() -> None:
    sent: list[Logged] = []
    is_there = False

    def send(piece: Logged) -> bool:
        if is_there:
            sent.append(piece)
        return is_there

    logs = Logs(1024 * KIB, send)
    for n in range(40):
        write = logs.begin(grant(f"k{n}"), 0.0)
        assert write is not None
        write("out", b"x" * (1024 * KIB))
        logs.end(f"k{n}")
    is_there = True
    for second in range(10):
        logs.flush(float(second))

    assert sum(len(piece.data) for piece in sent) < 17 * 1024 * KIB
    assert {piece.token for piece in sent if piece.stream == "end"} == {f"k{n}" for n in range(40)}
    assert any(piece.stream == "gap" for piece in sent if piece.token == "k0")


def test_where_logs_are_off_nothing_is_taken() -> None:
    assert Logs(0, lambda _piece: True).begin(grant(), 0.0) is None


def test_the_number_of_bytes_left_out_stays_what_it_is() -> None:
    log = attempt_log()
    log.write("out", b"x" * 100_000)
    log.end()
    log.shrink()
    log.shrink()

    gap, end = taken(log)
    assert (gap.stream, end.stream) == ("gap", "end")
    assert gap.data == b"\n[100,000 bytes are left out here]\n"
