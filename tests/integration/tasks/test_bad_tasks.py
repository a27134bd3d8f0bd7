"""Operators, ids and inputs that are as bad as can be, on a real Kafka and under one daemon."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.keeper import is_running
from tests.kit.task_project import PARTITIONS, TaskProject, processes_with

CODE = """
    import ctypes, os, signal, subprocess, sys, time
    from pathlib import Path
    from kafka_etl import Context

    DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"

    def child(code, **more):
        return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **more)

    def work(value: dict, context: Context) -> object:
        return globals()[value["do"]](value, context)

    def plain(value, context):
        return {"done": value["id"]}

    def notes(value, *pids):
        Path(value["file"]).write_text(" ".join(map(str, pids)))

    def sleeps(value, context):
        notes(value, os.getpid())
        time.sleep(300)

    def is_deaf(value, context):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        notes(value, os.getpid())
        while True:
            try:
                time.sleep(300)
            except BaseException:
                pass

    def grows_a_tree(value, context):
        pids = [child(DEAF).pid, child(DEAF, stdin=subprocess.PIPE, env={}).pid]
        if os.fork() == 0:
            os.setsid()
            pids.append(child(DEAF).pid)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            notes(value, *pids, os.getpid(), os.getppid())
            time.sleep(300)
        time.sleep(value.get("stays", 300))
        return plain(value, context)

    def floods(value, context):
        chunk = b"x" * 1_000_000
        for _ in range(1_000):
            os.write(1, chunk)
        return plain(value, context)

    def fills(value, context):
        notes(value, context.folder)
        with (context.folder / "large").open("wb") as file:
            for _ in range(200):
                file.write(bytes(1_000_000))
        raise OSError(28, "No space left on device")

    def returns(value, context):
        return {"set": {1}, "object": object(), "large": "x" * 100_000_000}[value["what"]]

    def exits(value, context):
        raise {"system": SystemExit(0), "interrupt": KeyboardInterrupt()}[value["how"]]

    def dies(value, context):
        print("last words", file=sys.stderr, flush=True)
        {"exit": lambda: os._exit(0), "segfault": lambda: ctypes.string_at(0),
         "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
         "files": lambda: os.closerange(0, 1024)}[value["how"]]()
        time.sleep(5)
        return plain(value, context)

    def eats(value, context):
        kept = bytearray(b"x") * 500_000_000
        time.sleep(300)

    def closes_output(value, context):
        os.close(0), os.close(1), os.close(2)
        return plain(value, context)

    def forks(value, context):
        pid = os.fork()
        if pid == 0:
            return {"done": "by the child"}
        os.waitpid(pid, 0)
        return plain(value, context)

    def ignores_its_program(value, context):
        program = subprocess.Popen(["sleep", "300"])
        notes(value, program.pid)
        program.wait()
        return {"done": "half a video"}

    def returns_when_told(value, context):
        notes(value, os.getpid())
        context.stopped.wait(300)
        return {"done": "after the stop"}
"""


class World:
    """The pipeline and its daemon."""

    def __init__(self, project: TaskProject, daemon: Daemon) -> None:
        self.project = project
        self.daemon = daemon
        self._count = 0

    def submit(self, do: str, **more: Any) -> str:
        """Submit a task; return its id."""
        self._count += 1
        task = f"{do}-{self._count}"
        file = str(self.project.folder / f"{task}.noted")
        self.project.submit({"id": task, "do": do, "file": file, **more})
        return task

    def noted(self, task: str) -> list[str]:
        """What the operator has noted in the task's file."""
        file = self.project.folder / f"{task}.noted"
        deadline = time.monotonic() + 30
        while not (file.exists() and (text := file.read_text())):
            assert time.monotonic() < deadline, self.daemon.said()[-3000:]
            time.sleep(0.05)
        return text.split()

    def run(self, do: str, **more: Any) -> Head:
        """Run a task to its end, and another one beside it, which nothing may disturb."""
        task, witness = self.submit(do, **more), self.submit("plain")
        assert self.project.until_state(self.daemon, witness).state is State.SUCCEEDED
        head = self.project.until_state(self.daemon, task)
        self.assert_nothing_is_left(head)
        return head

    def stop(self, task: str, *, force: bool = False) -> Head:
        """Stop a task that runs; return its head once it has ended, which may not take long."""
        self.project.until_state(self.daemon, task, State.RUNNING)
        self.project.say(task, Stop(word=f"stop-{task}", by="me", reason="enough", force=force))
        head = self.project.until_state(self.daemon, task, seconds=20)
        self.assert_nothing_is_left(head)
        return head

    def failed(self, do: str, **more: Any) -> tuple[str, str, str]:
        """Run a task that fails: the type and the message of its error, and its condition."""
        head = self.run(do, **more)
        assert head.state is State.FAILED, head
        assert head.error is not None
        (letter,) = self.project.letters_of(head.id)
        assert head.error.message in json.dumps(letter, ensure_ascii=False).replace('\\"', '"')
        return head.error.type, head.error.message, letter["requestContext"]["condition"]

    def assert_nothing_is_left(self, head: Head) -> None:
        """The last word of an attempt is said when nothing of it runs any more."""
        for attempt in head.attempts.last:
            assert not processes_with(attempt.token)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, kafka: Kafka) -> Iterator[World]:
    source = kafka.topic(PARTITIONS, max_message_bytes="12000000")
    operator = {"timeout": "30s", "limits": {"memory": "300MiB"}}
    folder = tmp_path_factory.mktemp("bad")
    project = TaskProject(folder, kafka, CODE, operator=operator, source=source)
    with project.daemon() as daemon:
        world = World(project, daemon)
        first = world.submit("plain")  # a cluster that has just begun may let us wait for a while
        project.until_state(daemon, first, State.SUCCEEDED, seconds=180)
        yield world
        assert daemon.stop() == 0, daemon.said()[-3000:]
        assert "the keeper died" not in daemon.said()


def test_an_operator_that_ignores_sigterm_is_killed(world: World) -> None:
    task = world.submit("is_deaf")
    (pid,) = world.noted(task)

    assert world.stop(task).state is State.STOPPED
    assert not is_running(int(pid))


def test_no_child_of_a_child_outlives_a_stop(world: World) -> None:
    task = world.submit("grows_a_tree")
    pids = world.noted(task)

    assert world.stop(task).state is State.STOPPED
    assert len(pids) == 5
    assert not [pid for pid in pids if is_running(int(pid))]


def test_no_child_of_a_child_outlives_a_result(world: World) -> None:
    head = world.run("grows_a_tree", stays=2)

    assert head.state is State.SUCCEEDED
    assert not [pid for pid in world.noted(head.id) if is_running(int(pid))]


def test_a_gigabyte_of_output_disturbs_nobody(world: World) -> None:
    assert world.run("floods").state is State.SUCCEEDED


def test_a_full_scratch_folder_is_removed(world: World) -> None:
    head = world.run("fills")

    assert head.error is not None
    assert (head.state, head.error.type) == (State.FAILED, "OSError")
    assert head.error.message == "[Errno 28] No space left on device"
    folder = Path(world.noted(head.id)[0])
    deadline = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("what", ["set", "object"])
def test_a_result_that_cannot_be_encoded_says_so(world: World, what: str) -> None:
    _, message, condition = world.failed("returns", what=what)

    assert condition == "EncodeError"
    assert what in message


def test_a_result_of_100_mb_is_refused_where_it_is_made(world: World) -> None:
    type_, message, condition = world.failed("returns", what="large")

    assert (type_, condition) == ("RecordTooLarge", "RecordTooLarge")
    assert "return where the result is instead of the result" in message


@pytest.mark.parametrize("how", ["system", "interrupt"])
def test_exceptions_that_end_programs_end_attempts(world: World, how: str) -> None:
    type_, _, condition = world.failed("exits", how=how)

    assert type_ in {"SystemExit", "KeyboardInterrupt"}
    assert condition == "OperatorError"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "exit status 0"),
        ("segfault", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL, and not by us: the kernel does that when memory is short"),
        ("files", "killed by SIGKILL, since it had closed its connection, file descriptor 3"),
    ],
)
def test_the_death_of_a_process_says_how_and_what_it_has_written(
    world: World, how: str, said: str
) -> None:
    head = world.run("dies", how=how)

    assert head.error is not None
    assert head.error.type == "WorkerCrashed"
    assert said in head.error.message
    assert "last words" in head.error.stderr
    (letter,) = world.project.letters_of(head.id)
    assert letter["requestContext"]["condition"] == "WorkerCrashed"


def test_too_much_memory_ends_an_attempt_and_says_the_limit(world: World) -> None:
    type_, message, condition = world.failed("eats")

    assert (type_, condition) == ("MemoryLimit", "WorkerCrashed")
    assert "`limits.memory` is 300MiB" in message


def test_an_operator_that_sleeps_through_its_deadline_is_ended(world: World) -> None:
    type_, message, condition = world.failed("sleeps")

    assert (type_, message, condition) == ("Timeout", "it took longer than 30s", "Timeout")


def test_closed_standard_descriptors_disturb_no_later_attempt(world: World) -> None:
    assert world.run("closes_output").state is State.SUCCEEDED
    for _ in range(3):
        assert world.run("floods").state is State.SUCCEEDED


def test_a_fork_that_returns_is_not_heard(world: World) -> None:
    head = world.run("forks")

    assert head.state is State.SUCCEEDED
    assert head.result == json.dumps({"done": head.id}, separators=(",", ":"))


# Ids and inputs


@pytest.mark.parametrize("task", ["a/b c#d", "Zürich → 北京", "..", "' OR 1=1 --", "x" * 256])
def test_ids_may_have_any_printable_characters(world: World, task: str) -> None:
    world.project.submit({"id": task, "do": "plain"})

    assert world.project.until_state(world.daemon, task).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("value", "type_", "said"),
    [
        (b'{"id": "", "do": "plain"}', "InvalidId", "it is empty"),
        (b'{"id": "%s"}' % (b"x" * 10_000), "InvalidId", "it is longer than 256 bytes"),
        (b'{"id": "a\\u0000b"}', "InvalidId", "it has characters that cannot be printed"),
        (b'{"id": null}', "InvalidId", "a text or a number names a task, and no NoneType"),
        (b'{"do": "plain"}', "InvalidId", "there is no id"),
        (b'{"id": "a\\ud800"}', "DecodeError", "the value is no json"),
        (b'{"id": "\xff\xfe"}', "DecodeError", "the value is no json"),
        (b"\x00\x01\x02", "DecodeError", "the value is no json"),
        (b"", "DecodeError", "the value is no json"),
        (None, "InvalidId", "there is no id"),
    ],
)
def test_what_makes_no_task_is_an_invalid_one(
    world: World, value: bytes | None, type_: str, said: str
) -> None:
    end = world.project.kafka.ends(world.project.source)[0]
    world.project.kafka.produce(
        world.project.source, [{"value": value, "key": b"k", "partition": 0}]
    )
    task = f"{world.project.source}-0-{end}"
    head = world.project.until_state(world.daemon, task)

    assert head.state is State.INVALID
    assert head.error is not None
    assert head.error.type == type_
    assert said in head.error.message
    (letter,) = world.project.letters_of(task)
    assert letter["requestContext"]["condition"] == "Invalid"
    assert said in json.dumps(letter)


def test_an_input_that_the_inbox_does_not_take_is_a_dead_letter(world: World) -> None:
    before = len(world.project.kafka.read(world.project.letters))
    record = json.dumps({"id": "large", "do": "plain", "load": "x" * 10_000_000})
    world.project.kafka.produce(
        world.project.source, [(None, record)], **{"message.max.bytes": 12_000_000}
    )
    witness = world.submit("plain")
    assert world.project.until_state(world.daemon, witness).state is State.SUCCEEDED
    deadline = time.monotonic() + 30
    while len(letters := world.project.kafka.read(world.project.letters)) == before:
        assert time.monotonic() < deadline, world.daemon.said()[-3000:]
        time.sleep(0.2)
    letter = json.loads(letters[-1].value or b"")
    assert letter["requestContext"]["condition"] == "RecordTooLarge"


# Orders


def test_a_retry_of_what_runs_has_no_effect_and_says_so(world: World) -> None:
    task = world.submit("sleeps")
    world.noted(task)
    done = world.project.command("retry", task)

    assert done.returncode == 3, (done.stdout, done.stderr)
    assert "not ended yet" in done.stderr
    head = world.stop(task, force=True)
    assert (head.generation, head.attempts.total) == (1, 1)


@pytest.mark.parametrize("do", ["ignores_its_program", "returns_when_told"])
def test_what_an_operator_returns_after_a_stop_is_no_output(world: World, do: str) -> None:
    task = world.submit(do)
    world.noted(task)

    assert world.stop(task).state is State.STOPPED
    said = " ".join(world.project.outputs())
    assert "half a video" not in said
    assert "after the stop" not in said


def test_a_stop_whose_owner_dies_before_its_end_is_a_stop(world: World) -> None:
    task = world.submit("is_deaf")
    world.noted(task)
    world.project.until_state(world.daemon, task, State.RUNNING)
    world.project.say(task, Stop(word=f"stop-{task}", by="me"))
    world.project.until_state(world.daemon, task, State.STOPPING, State.STOPPED)
    for pid in world.daemon.workers():
        os.kill(pid, signal.SIGKILL)
    head = world.project.until_state(world.daemon, task)

    assert (head.state, head.attempts.total) == (State.STOPPED, 1)
    world.assert_nothing_is_left(head)


def test_a_result_that_came_before_the_stop_wins_and_no_other(world: World) -> None:
    tasks = [world.submit("plain") for _ in range(10)]
    for task in tasks:
        world.project.say(task, Stop(word=f"stop-{task}", by="me"))
    heads = [world.project.until_state(world.daemon, task) for task in tasks]

    outputs = world.project.outputs()
    for head in heads:
        assert head.state in {State.SUCCEEDED, State.STOPPED}
        written = outputs[f'{{"done":"{head.id}"}}']
        assert written == (head.state is State.SUCCEEDED)


def test_one_id_a_thousand_times_over_four_partitions_and_a_restart_is_one_run(
    tmp_path: Path, kafka: Kafka
) -> None:
    code = """
        from pathlib import Path
        def work(value: dict) -> dict:
            with Path("runs").open("a") as file:
                file.write("run\\n")
            return {"done": value["id"]}
    """
    project = TaskProject(tmp_path, kafka, code)

    def submit(count: int) -> None:
        value = json.dumps({"id": "same"})
        kafka.produce(
            project.source, [{"value": value, "partition": n % PARTITIONS} for n in range(count)]
        )

    def duplicates(count: int) -> Callable[[dict[str, Head]], bool]:
        return lambda heads: "same" in heads and heads["same"].duplicates == count

    submit(500)
    with project.daemon() as daemon:
        project.until(daemon, duplicates(499))
        assert daemon.stop() == 0, daemon.said()
    submit(500)
    with project.daemon() as daemon:
        project.until(daemon, duplicates(999))
        head = project.until_state(daemon, "same")
        assert daemon.stop() == 0, daemon.said()
    assert (head.state, head.attempts.total) == (State.SUCCEEDED, 1)
    assert (tmp_path / "runs").read_text() == "run\n"
    assert project.outputs() == {'{"done":"same"}': 1}
    assert list(project.heads()) == ["same"]
