"""The keeper and its runners, over the keeper's socket, with an owner that is the test."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.tasks.keeping import Held, Offer, Show
from kafka_etl.tasks.rows import Row, decode_rows
from kafka_etl.tasks.words import Ended, Result, Returned, Started
from tests.kit.keeper import OwnerEnd, RunningKeeper, is_running

CODE = """
    import asyncio, ctypes, os, signal, subprocess, sys, time
    from pathlib import Path
    from kafka_etl import Context, Permanent, Record, Retry
    from kafka_etl.contracts import Unavailable

    DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"

    def child(*words, **more):
        return subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=True, **more)

    def note(value, *pids):
        Path(value["file"]).write_text(" ".join(map(str, pids)))

    def job(value: dict, *, ctx: Context) -> Record | dict | None:
        return globals()[value["do"]](value, ctx)

    def plain(value, ctx):
        time.sleep(value.get("seconds", 0))
        return Record({"task": ctx.task, "attempt": ctx.attempt}, headers=[("h", b"1")])

    def where(value, ctx):
        state = [os.getpid(), os.getcwd(), os.environ.get("LEFT"), os.umask(0o22)]
        state.append(str(signal.getsignal(signal.SIGTERM)))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.chdir("/"), os.umask(0o77), os.environ.__setitem__("LEFT", "1")
        return {"state": state, "token": os.environ["KAFKA_ETL_TOKEN"]}

    def fails(value, ctx):
        raise {"os": OSError("disk"), "value": ValueError("bad"), "permanent": Permanent("bad"),
               "retry": Retry("later", after=700), "away": Unavailable("registry"),
               "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "base": GeneratorExit(),
               }[value["how"]]

    def dies(value, ctx):
        print("last words", file=sys.stderr, flush=True)
        ctx.folder.joinpath("file").write_text("left")
        how = value["how"]
        if how == "exit":
            os._exit(3)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "thread":
            os.close(3)
        os.kill(os.getpid(), signal.SIGKILL)

    def sleeps(value, ctx):
        time.sleep(value.get("seconds", 60))
        return {}

    def is_deaf(value, ctx):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    def obeys(value, ctx):
        ctx.folder.joinpath("half").write_text("half a video")
        ctx.stopped.wait(60)
        return {"half": True}

    def leaves(value, ctx):
        pids = [child().pid, child(stdin=subprocess.PIPE).pid]
        if os.fork() == 0:
            os.setsid()
            own = child(env={})
            note(value, *pids, own.pid, os.getpid())
            os._exit(0)
        time.sleep(value.get("stays", 0.5))
        return {}

    def leaves_and_dies(value, ctx):
        leaves(value, ctx)
        os._exit(9)

    def floods(value, ctx):
        ctx.run(["head", "-c", "1000000000", "/dev/zero"])
        sys.stderr.write("x" * 10_000_000)
        return {}

    def reports(value, ctx):
        for number in range(5_000):
            ctx.progress(number / 5_000, "first")
        ctx.progress(0.9, "last")
        time.sleep(1)
        return {}

    def returns(value, ctx):
        return {"set": {1}, "large": {"n": "x" * 2_000_000}, "object": object(),
                "none": None}[value["what"]]

    def scratch(value, ctx):
        ctx.folder.joinpath("deep").mkdir()
        ctx.folder.joinpath("deep", "file").write_text("x")
        return {"folder": str(ctx.folder)}

    def forks(value, ctx):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return {"pid": os.getpid()}

    def runs(value, ctx):
        assert ctx.run(["echo", "hello"], capture=True) == b"hello\\n"
        ctx.run(["sh", "-c", "echo broken >&2; exit 4"])
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKeeper]:
    """A keeper with a warm pool, shared by tests that do not end it."""
    folder = tmp_path_factory.mktemp("keeper")
    with RunningKeeper(folder, CODE, slots=4, timeout=10.0, stop_grace=2.0) as running:
        yield running


@pytest.fixture
def owner(keeper: RunningKeeper) -> Iterator[OwnerEnd]:
    end = keeper.owner()
    yield end
    end.close()


def ended(owner: OwnerEnd, token: str, within: float = 20.0) -> Ended:
    word = owner.last(token, within).word
    assert isinstance(word, Ended), word
    owner.acknowledge(token)
    return word


def succeeded(owner: OwnerEnd, token: str) -> list[Row]:
    heard = owner.last(token)
    assert isinstance(heard.word, Result), heard.word
    owner.acknowledge(token)
    return decode_rows(heard.value or b"")


def value_of(owner: OwnerEnd, token: str) -> Any:
    return json.loads(succeeded(owner, token)[0].value or b"")


def last_words(owner: OwnerEnd, token: str) -> list[Any]:
    return [heard.word for heard in owner.all if heard.said.last == token]


def test_a_result_has_the_rows_of_the_operator(owner: OwnerEnd) -> None:
    owner.grant("a1", {"do": "plain"}, attempt=3)

    started = owner.started("a1")
    rows = succeeded(owner, "a1")

    assert started.said.key == "task-a1"
    assert started.word.pid > 0
    assert rows == [Row("out", b"key", b'{"task":"task-a1","attempt":3}', [("h", b"1")], 0)]


def test_of_a_short_attempt_only_the_result_is_said(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE, idempotent=True) as keeper:
        owner = keeper.owner()
        for n in range(20):
            owner.grant(f"s{n}", {"do": "plain"})
        owner.grant("long", {"do": "plain", "seconds": 0.5})
        owner.grant("f", {"do": "fails", "how": "os"})
        for token in (*(f"s{n}" for n in range(20)), "long", "f"):
            owner.last(token)
    started = [heard.word.token for heard in owner.all if isinstance(heard.word, Started)]
    assert {"long", "f"} <= {*started}
    assert len(started) < 15, started


@pytest.mark.parametrize(
    ("how", "why", "type_"),
    [
        ("os", "error", "OSError"),
        ("value", "permanent", "ValueError"),
        ("permanent", "permanent", "kafka_etl.errors.Permanent"),
        ("retry", "error", "kafka_etl.errors.Retry"),
        ("away", "unavailable", "kafka_etl.contracts.codec.Unavailable"),
        ("exit", "permanent", "SystemExit"),
        ("interrupt", "permanent", "KeyboardInterrupt"),
        ("base", "permanent", "GeneratorExit"),
    ],
)
def test_an_error_of_the_operator_ends_the_attempt_and_not_its_process(
    owner: OwnerEnd, how: str, why: str, type_: str
) -> None:
    owner.grant(f"b-{how}", {"do": "fails", "how": how})

    word = ended(owner, f"b-{how}")

    assert (word.why, word.error and word.error.type) == (why, type_)
    assert word.error is not None
    assert why == "unavailable" or "ops.py" in word.error.traceback
    assert word.retry_after == (700 if how == "retry" else None)
    pid = owner.started(f"b-{how}").word.pid
    assert is_running(pid)


@pytest.mark.parametrize(
    ("how", "status"), [("exit", 3), ("segfault", -11), ("kill", -9), ("thread", -9)]
)
def test_the_death_of_a_runner_ends_its_attempt_with_status_and_stderr(
    keeper: RunningKeeper, owner: OwnerEnd, how: str, status: int
) -> None:
    owner.grant(f"c-{how}", {"do": "dies", "how": how})

    word = ended(owner, f"c-{how}")

    assert word.why == "died"
    assert word.error is not None
    assert word.error.exit_status == status
    assert "last words" in word.error.stderr
    assert_no_scratch(keeper)


def test_an_operator_that_ignores_sigterm_is_killed_after_the_grace(owner: OwnerEnd) -> None:
    owner.grant("d1", {"do": "is_deaf"})
    pid = owner.started("d1").word.pid
    time.sleep(0.2)
    begun = time.monotonic()
    owner.halt("d1")

    word = ended(owner, "d1")

    assert word.why == "stopped"
    assert 1.9 < time.monotonic() - begun < 5
    assert not is_running(pid)


def test_a_forced_stop_waits_for_nothing(owner: OwnerEnd) -> None:
    owner.grant("d2", {"do": "is_deaf"})
    owner.started("d2")
    begun = time.monotonic()
    owner.halt("d2", force=True)

    assert ended(owner, "d2").why == "stopped"
    assert time.monotonic() - begun < 1.9


def test_what_an_operator_returns_after_the_signal_is_no_result(
    keeper: RunningKeeper, owner: OwnerEnd
) -> None:
    owner.grant("d3", {"do": "obeys"})
    owner.started("d3")
    begun = time.monotonic()
    owner.halt("d3")

    assert ended(owner, "d3").why == "stopped"
    assert time.monotonic() - begun < 1.9, "the operator has obeyed"
    assert_no_scratch(keeper)


@pytest.mark.parametrize("after", [0.0, 0.001, 0.003])
def test_a_halt_that_overtakes_the_operator_is_obeyed(owner: OwnerEnd, after: float) -> None:
    owner.grant(f"ready-{after}", {"do": "plain"})
    succeeded(owner, f"ready-{after}")
    owner.grant(f"d4-{after}", {"do": "obeys"})
    time.sleep(after)
    owner.halt(f"d4-{after}")

    word = owner.last(f"d4-{after}", within=1.9).word
    assert isinstance(word, Returned) or word.why == "stopped"
    owner.acknowledge(f"d4-{after}")


@pytest.mark.parametrize("do", ["leaves", "leaves_and_dies"])
def test_nothing_that_an_attempt_has_started_lives_when_its_last_word_is_said(
    owner: OwnerEnd, tmp_path: Path, do: str
) -> None:
    owner.grant(do, {"do": do, "file": str(tmp_path / "pids")})

    word = owner.last(do).word

    assert isinstance(word, Result) == (do == "leaves")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 4
    assert not [pid for pid in pids if is_running(pid)]
    owner.acknowledge(do)


def test_a_stop_reaches_grandchildren_that_have_left_the_session(
    owner: OwnerEnd, tmp_path: Path
) -> None:
    owner.grant("e1", {"do": "leaves", "file": str(tmp_path / "pids"), "stays": 60})
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        time.sleep(0.01)
    owner.halt("e1")

    assert ended(owner, "e1").why == "stopped"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert not [pid for pid in pids if is_running(pid)]


def test_a_flood_on_stdout_blocks_neither_its_attempt_nor_others(owner: OwnerEnd) -> None:
    owner.grant("f1", {"do": "floods"})
    owner.started("f1")
    begun = time.monotonic()
    owner.grant("f2", {"do": "plain"})

    succeeded(owner, "f2")
    assert time.monotonic() - begun < 5
    succeeded(owner, "f1")


def test_a_grant_that_is_halted_before_its_start_is_returned(owner: OwnerEnd) -> None:
    for number in range(4):
        owner.grant(f"h{number}", {"do": "sleeps"})
    owner.grant("h4", {"do": "plain"})
    for number in range(4):
        owner.started(f"h{number}")
    owner.halt("h4")

    assert isinstance(owner.last("h4").word, Returned)
    assert not [heard for heard in owner.all if heard.word == "h4"]
    for number in range(4):
        owner.halt(f"h{number}", force=True)
        assert ended(owner, f"h{number}").why == "stopped"
    owner.acknowledge("h4")


def test_a_halt_after_the_result_comes_too_late(owner: OwnerEnd) -> None:
    owner.grant("i1", {"do": "plain"})
    assert isinstance(owner.last("i1").word, Result)
    owner.halt("i1")
    owner.listen(0.5)

    assert len(last_words(owner, "i1")) == 1
    owner.acknowledge("i1")


def test_halts_about_the_time_of_the_result_leave_one_last_word_each(owner: OwnerEnd) -> None:
    whys = set[str]()
    for number in range(5):
        token = f"j{number}"
        owner.grant(token, {"do": "sleeps", "seconds": 0.02})
        owner.started(token)
        time.sleep(0.006 * number)
        owner.halt(token)
        word = owner.last(token).word
        whys.add(getattr(word, "why", "result"))
        owner.acknowledge(token)
    owner.listen(0.3)

    assert whys <= {"result", "stopped"}
    assert [len(last_words(owner, f"j{number}")) for number in range(5)] == [1] * 5


def test_an_owner_that_goes_changes_nothing_for_the_attempts(keeper: RunningKeeper) -> None:
    first = keeper.owner()
    first.grant("k1", {"do": "sleeps", "seconds": 0.7}, partition=2)
    started = first.started("k1")
    first.close()
    second = keeper.owner()

    assert second.holding.tokens["k1"].partition == 2
    assert second.started("k1").word == started.word, "said again"
    said = second.last("k1")
    second.close()
    third = keeper.owner()
    assert third.last("k1") == said, "nobody has acknowledged it"
    third.acknowledge("k1")
    fourth = keeper.owner()
    assert "k1" not in fourth.holding.tokens
    fourth.close()
    third.close()


def test_a_grant_of_an_owner_that_went_at_once_is_used(keeper: RunningKeeper) -> None:
    for number in range(20):
        first = keeper.owner()
        for other in range(5):
            first.grant(f"v{number}.{other}", {"do": "plain"})
        first.last(f"v{number}.0")
        first.grant(f"v{number}.5", {"do": "plain"})
        first.close()
        second = keeper.owner()
        second.last(f"v{number}.5")
        for other in range(6):
            second.acknowledge(f"v{number}.{other}")
        second.close()


def test_words_go_to_the_owner_of_their_partition(keeper: RunningKeeper) -> None:
    left, right = keeper.owner(0, 1), keeper.owner(2)
    for partition in range(4):
        left.grant(f"l{partition}", {"do": "plain"}, partition=partition)

    for end, token in ((left, "l0"), (left, "l1"), (right, "l2")):
        end.last(token)
    right.last("l3")  # of no owner: any will do
    assert not last_words(left, "l2")
    for partition in range(4):
        left.acknowledge(f"l{partition}")
    left.close()
    right.close()


@pytest.mark.parametrize("what", ["set", "object"])
def test_a_result_that_cannot_be_encoded_fails_for_good(owner: OwnerEnd, what: str) -> None:
    owner.grant(f"m-{what}", {"do": "returns", "what": what})

    assert ended(owner, f"m-{what}").why == "permanent"


def test_a_result_that_is_too_large_fails_for_good(owner: OwnerEnd) -> None:
    owner.grant("m1", {"do": "returns", "what": "large"})

    word = ended(owner, "m1")

    assert (word.why, word.error and word.error.type) == ("permanent", "RecordTooLarge")


def test_a_large_input_reaches_the_operator(owner: OwnerEnd) -> None:
    owner.grant("m3", {"do": "plain", "load": "x" * 9_000_000})

    assert succeeded(owner, "m3")


def test_an_operator_that_drops_its_record_has_an_empty_result(owner: OwnerEnd) -> None:
    owner.grant("m2", {"do": "returns", "what": "none"})

    assert succeeded(owner, "m2") == []


def test_the_folder_of_an_attempt_is_gone_after_its_end(
    keeper: RunningKeeper, owner: OwnerEnd
) -> None:
    owner.grant("n1", {"do": "scratch"})

    folder = value_of(owner, "n1")["folder"]

    assert folder.startswith(str(keeper.scratch))
    assert_no_scratch(keeper)


def test_progress_is_said_now_and_then_and_the_last_of_it_surely(owner: OwnerEnd) -> None:
    owner.grant("o1", {"do": "reports"})
    succeeded(owner, "o1")

    reports = [h.word for h in owner.all if type(h.word).__name__ == "Progress"]
    assert 2 <= len(reports) <= 6
    assert (reports[-1].fraction, reports[-1].text) == (0.9, "last")
    assert len({word.word for word in reports}) == len(reports)


def test_a_warm_process_serves_again_with_its_surroundings_restored(
    keeper: RunningKeeper, owner: OwnerEnd
) -> None:
    states: list[Any] = []
    for number in range(2):
        owner.grant(f"p{number}", {"do": "where"})
        told = value_of(owner, f"p{number}")
        assert told["token"] == f"p{number}"
        states.append(told["state"])
    assert states[0] == states[1]


def test_a_fork_that_returns_is_not_heard(owner: OwnerEnd) -> None:
    owner.grant("q1", {"do": "forks"})

    pid = owner.started("q1").word.pid
    assert value_of(owner, "q1") == {"pid": pid}


def test_a_program_that_fails_tells_why(owner: OwnerEnd) -> None:
    owner.grant("r1", {"do": "runs"})

    word = ended(owner, "r1")

    assert word.why == "error"
    assert word.error is not None
    assert word.error.message == "sh: exit status 4\nbroken"


def test_a_keeper_says_which_tokens_it_holds_until_their_last_words_are_acknowledged(
    owner: OwnerEnd,
) -> None:
    owner.grant("s1", {"do": "plain"}, partition=3)
    owner.last("s1")

    heard = owner._until_heard(lambda heard: "s1" in getattr(heard.word, "tokens", ()), 7)

    word = heard.word
    assert (heard.said.partition, word.executor, word.tokens, word.slots) == (3, "here", ("s1",), 0)
    assert word.boot == owner.holding.boot
    owner.acknowledge("s1")


def test_a_keeper_runs_what_is_granted_under_its_offer_as_far_as_it_has_slots(
    keeper: RunningKeeper,
) -> None:
    end = keeper.owner(0)
    end.send(Offer(3, 4))
    offered = end.word("Alive").word
    while not offered.slots:
        offered = end.until_next("Alive").word
    for n in range(5):
        end.grant(f"o{n}", {"do": "sleeps", "seconds": 1}, partition=3, offer=offered.offer)
    assert isinstance(end.last("o4").word, Returned), "there are four slots"
    assert [isinstance(end.last(f"o{n}").word, Result) for n in range(4)] == [True] * 4

    end.send(Offer(3, 0))
    over = end.until_next("Alive").word
    assert (over.offer > offered.offer, over.slots) == (True, 0)
    end.grant("o5", {"do": "plain"}, partition=3, offer=offered.offer)
    assert isinstance(end.last("o5").word, Returned)


def test_a_keeper_has_no_kafka_client(keeper: RunningKeeper) -> None:
    maps = Path(f"/proc/{keeper.child.pid}/maps").read_text()

    assert "rdkafka" not in maps
    assert len(list(Path(f"/proc/{keeper.child.pid}/task").iterdir())) == 1


def test_who_talks_nonsense_is_hung_up_on_and_nobody_else(
    keeper: RunningKeeper, owner: OwnerEnd
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.settimeout(5)
        stranger.connect(str(keeper.task.socket))
        stranger.sendall(b"\0\0\0\5hello")
        assert stranger.recv(1) == b""
    owner.grant("t1", {"do": "plain"})

    assert succeeded(owner, "t1")


def test_an_attempt_shows_its_stack_without_an_end(owner: OwnerEnd) -> None:
    owner.grant("u1", {"do": "sleeps"})
    owner.started("u1")
    time.sleep(0.1)
    owner.send(Show("u1"))

    assert "in sleeps" in owner.logs("stack")

    word = ended(owner, "u1")
    assert word.why == "timeout"
    assert word.error is not None
    assert (word.error.type, word.error.message) == ("Timeout", "it took longer than 10s")
    assert word.error.stderr == ""


# Keepers that end


def test_a_keeper_that_is_killed_takes_all_of_its_attempts_along(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE) as keeper:
        owner = keeper.owner()
        owner.grant("a", {"do": "leaves", "file": str(tmp_path / "pids"), "stays": 60})
        owner.grant("b", {"do": "is_deaf"})
        owner.started("b")
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            time.sleep(0.01)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        before = keeper.processes()
        os.kill(keeper.child.pid, signal.SIGKILL)
        keeper.exit_status(within=2)
        time.sleep(0.2)

        assert len(before) >= 5
        assert not [pid for pid in before if is_running(pid)]
        assert not [pid for pid in pids[:2] if is_running(pid)]


def test_a_keeper_whose_daemon_is_gone_ends_everything(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE) as keeper:
        owner = keeper.owner()
        owner.grant("a", {"do": "leaves", "file": str(tmp_path / "pids"), "stays": 60})
        owner.grant("b", {"do": "is_deaf"})
        owner.started("b")
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            time.sleep(0.01)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        before = keeper.processes()
        keeper.child.close()
        time.sleep(2)

        assert not [pid for pid in [*pids, *before] if is_running(pid)]
        assert keeper.child.exit_status() == 0


def test_a_keeper_that_is_told_to_end_interrupts_and_returns_and_waits(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE, slots=1) as keeper:
        owner = keeper.owner()
        owner.grant("a", {"do": "obeys"})
        owner.started("a")
        owner.grant("b", {"do": "plain"})
        keeper.child.signal(signal.SIGTERM)

        assert isinstance(owner.last("b").word, Returned)
        assert ended(owner, "a").why == "interrupted"
        time.sleep(0.3)
        assert keeper.child.exit_status() is None, "`b` is not acknowledged"
        owner.acknowledge("b")
        assert keeper.exit_status(within=2) == 0


def test_last_words_survive_the_keeper_and_scratch_folders_do_not(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE) as keeper:
        (keeper.scratch / "earlier" / "deep").mkdir(parents=True)
        owner = keeper.owner()
        for token in ("a", "b"):
            owner.grant(token, {"do": "plain"}, partition=1)
        said = owner.last("a")
        owner.last("b")
        owner.acknowledge("b")
        owner.listen(0.1)
        owner.close()
        keeper.again()
        owner = keeper.owner()

        assert_no_scratch(keeper)
        assert owner.holding.tokens == {"a": Held(1, "task-a")}
        assert owner.last("a") == said
        hellos = owner.word("Hello").word
        assert hellos.boot == owner.holding.boot
        kinds = [type(heard.word).__name__ for heard in owner.all]
        assert kinds[0] == "Result", "before the word that ends what it has not heard of"


def test_a_fresh_process_runs_one_attempt_and_the_next_is_ready(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE, pool="fresh", slots=1) as keeper:
        owner = keeper.owner()
        pids = set[int]()
        for number in range(2):
            owner.grant(f"a{number}", {"do": "scratch"})
            pids.add(owner.started(f"a{number}").word.pid)
            succeeded(owner, f"a{number}")
            assert not [pid for pid in pids if is_running(pid)]

        assert len(pids) == 2
        assert_no_scratch(keeper)
        assert keeper.terminate() == 0


def test_a_module_that_cannot_be_imported_fails_the_attempt(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, "raise RuntimeError('no licence')") as keeper:
        owner = keeper.owner()
        owner.grant("a", {})

        word = ended(owner, "a")

        assert word.why == "error"
        assert word.error is not None
        assert "no licence" in word.error.message


def test_processes_that_belong_to_the_operator_itself_are_kept(tmp_path: Path) -> None:
    code = """
        import os, subprocess
        class job:
            def open(self):
                self.helper = subprocess.Popen(["sleep", "60"])
            def __call__(self, value: dict) -> dict:
                return {"own": os.getpid(), "helper": self.helper.pid}
            def close(self):
                self.helper.kill()
                self.helper.wait()
    """
    with RunningKeeper(tmp_path, code, slots=1) as keeper:
        owner = keeper.owner()
        owner.grant("a", {})
        first = value_of(owner, "a")
        owner.grant("b", {})

        assert value_of(owner, "b") == first
        assert keeper.terminate() == 0
        assert not is_running(first["helper"])


def test_only_so_many_runners_start_at_the_same_time(tmp_path: Path) -> None:
    """More starts at once would take the cores from the keeper, and its daemon would kill it."""
    code = f"""
        import os, time
        from pathlib import Path

        FOLDER = Path({str(tmp_path)!r})
        FOLDER.joinpath("starts", str(os.getpid())).touch()
        while not FOLDER.joinpath("go").exists():
            time.sleep(0.01)

        def job(value: dict) -> dict:
            time.sleep(1)
            return {{}}
    """
    starts = tmp_path / "starts"
    starts.mkdir()
    most = 4 * len(os.sched_getaffinity(0))
    with RunningKeeper(tmp_path, code, slots=most + 4) as keeper:
        end = keeper.owner()
        tokens = [f"t{number}" for number in range(most + 4)]
        for token in tokens:
            end.grant(token, {})
        until = time.monotonic() + 30
        while len(list(starts.iterdir())) < most:
            assert time.monotonic() < until, "the runners do not start"
            time.sleep(0.05)
        end.listen(1)
        assert len(list(starts.iterdir())) == most
        (tmp_path / "go").touch()
        assert all(isinstance(end.last(token).word, Result) for token in tokens)
        assert len(list(starts.iterdir())) > most


def test_async_operators_are_cancelled(tmp_path: Path) -> None:
    code = """
        import asyncio
        async def job(value: dict) -> dict:
            try:
                await asyncio.sleep(value["seconds"])
            except asyncio.CancelledError:
                open(value["file"], "w").write("cancelled")
                raise
            return value
    """
    with RunningKeeper(tmp_path, code, slots=1) as keeper:
        owner = keeper.owner()
        file = tmp_path / "noted"
        owner.grant("a", {"seconds": 0.01})
        assert value_of(owner, "a") == {"seconds": 0.01}
        owner.grant("b", {"seconds": 60, "file": str(file)})
        owner.started("b")
        begun = time.monotonic()
        owner.halt("b")

        assert ended(owner, "b").why == "stopped"
        assert time.monotonic() - begun < 2
        assert file.read_text() == "cancelled"


def assert_no_scratch(keeper: RunningKeeper) -> None:
    until = time.monotonic() + 5
    while left := list(keeper.scratch.glob("*/*")):
        assert time.monotonic() < until, left
        time.sleep(0.02)
