"""`kafka-etl tasks …` with a real Kafka and no daemon: the test plays the owner."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.kafka.cluster.admin import reached
from kafka_etl.task_history.index import Index, open_index
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Destination, Failure, Head, HistoryLine, Submitted
from kafka_etl.tasks.journal import ProgressNote, head_key
from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.states import State
from kafka_etl.tasks.table import SINK_FAILED
from tests.kit.daemon import COMMAND, command
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks
from tests.kit.task_owner import PARTITIONS, Owner, TaskTopics

Done = subprocess.CompletedProcess[str]
PAGE = "docs/tasks/commands.md"
NOW = round(time.time() * 1000)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def topics(kafka: Kafka) -> TaskTopics:
    return TaskTopics(kafka)


@pytest.fixture
def owner(topics: TaskTopics) -> Iterator[Owner]:
    with Owner(topics) as made:
        yield made


def tasks(name: str, topics: TaskTopics, *arguments: str) -> Done:
    return command("tasks", name, topics.name, *arguments, cwd=Path.cwd())


def rows(done: Done) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def listed(topics: TaskTopics, *arguments: str) -> list[Any]:
    return rows(tasks("list", topics, "--format", "json", *arguments))


def shown(topics: TaskTopics, task: str) -> Any:
    (one,) = rows(tasks("show", topics, task, "--json"))
    return one


def submitted(topics: TaskTopics, *ids: str) -> None:
    for task in ids:
        done = tasks("submit", topics, "-d", '{"n": 1}', "--id", task)
        assert done.returncode == 0, done.stderr


def head(task: str, state: State = State.SUCCEEDED, at: int = NOW, **more: Any) -> Head:
    return Head(
        id=task,
        state=state,
        submit=Submitted("w", at),
        history=(HistoryLine(at, state, "owner"),),
        **more,
    )


def opened(topics: TaskTopics, **more: Any) -> Index:
    client = topics.kafka.client
    return open_index(client, reached(client), topics.journal, **more)


def ids(index: Index) -> list[str]:
    return [task.row.id for task in index.tasks()]


# Submit


def test_a_task_is_submitted_and_taken_and_its_word_is_what_the_owner_knows(
    topics: TaskTopics, owner: Owner
) -> None:
    done = tasks("submit", topics, "-d", '{"object": "a.mov"}')
    assert done.returncode == 0, done.stderr
    (task,) = done.stdout.split()
    assert re.fullmatch(r"[0-9a-f]{16}", task)
    assert f"taken by {topics.name}: Enqueued" in done.stderr
    ((key, word, value),) = topics.words()
    assert isinstance(word, w.Submit)
    assert (key, value) == (task, b'{"object": "a.mov"}')
    assert re.fullmatch(r".+@.+", word.by)
    assert (word.size, word.preview) == (19, '{"object": "a.mov"}')
    (record,) = topics.kafka.read(topics.inbox)
    assert record.partition == partition_of(task, PARTITIONS)


def test_without_an_owner_the_task_waits_in_the_inbox(topics: TaskTopics) -> None:
    done = tasks("submit", topics, "-d", "1", "--id", "a")
    assert done.returncode == 0
    assert done.stdout == "a\n"
    assert "no owner has taken it within 5 s: it is taken when" in done.stderr
    with Owner(topics) as late:
        assert late.until("a").state == "Enqueued"


def test_an_id_that_is_taken_is_said_with_its_exit_status(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "a")
    done = tasks("submit", topics, "-d", "2", "--id", "a")
    assert done.returncode == 3
    assert "the id a is taken; that task is Enqueued" in done.stderr
    assert owner.heads["a"].duplicates == 1


def test_a_task_more_than_max_open_is_refused(topics: TaskTopics) -> None:
    topics.have_told(open_=3, most=3)
    for more in ([], ["--wait"]):
        done = tasks("submit", topics, "-d", "1", "--id", "a", *more)
        assert (done.returncode, done.stdout) == (5, "")
        assert "E348" in done.stderr
        assert "3 tasks of" in done.stderr
    assert topics.words() == []


def test_input_comes_from_a_file_or_from_standard_input(
    topics: TaskTopics, owner: Owner, folder: Path
) -> None:
    (folder / "film.bin").write_bytes(b"\x00\xff\n")
    assert tasks("submit", topics, "-f", "film.bin", "--id", "file").returncode == 0
    piped = subprocess.run(
        [*COMMAND, "tasks", "submit", topics.name, "-f", "-", "--id", "piped"],
        input=b"from a pipe",
        capture_output=True,
        check=False,
    )
    assert piped.returncode == 0, piped.stderr
    found = {key: value for key, _, value in topics.words()}
    assert found == {"file": b"\x00\xff\n", "piped": b"from a pipe"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-d", "1", "--id", ""], "it is empty"),
        (["-d", "1", "--id", "a\tb"], "it has characters that cannot be printed"),
        (["-d", "1", "--id", "x" * 257], "it is longer than 256 bytes"),
        (["-d", "1", "-f", "x"], "either -d JSON, or -f FILE"),
        ([], "either -d JSON, or -f FILE"),
        (["-f", "nowhere"], "nowhere: No such file or directory"),
        (["-d", "1", "--wait", "--timeout", "soon"], "a duration with its unit"),
    ],
)
def test_what_makes_no_task_is_refused(topics: TaskTopics, arguments: list[str], said: str) -> None:
    done = tasks("submit", topics, *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert topics.words() == []


def test_an_input_the_inbox_does_not_take_is_refused_with_the_sizes(kafka: Kafka) -> None:
    topics = TaskTopics(kafka, **{"max.message.bytes": "10000"})
    done = tasks("submit", topics, "-d", "x" * 10_000)
    assert done.returncode == 1
    assert "error[E330]: the input has 10,000 bytes" in done.stderr
    assert f"{topics.inbox} takes 10,000" in done.stderr
    # Incompressible, and nearly as large as may be: what is let through does arrive.
    assert tasks("submit", topics, "-d", "é" * 4_000, "--id", "large").returncode == 0
    assert [key for key, _, _ in topics.words()] == ["large"]


def test_a_pipeline_that_has_no_inbox_is_said(kafka: Kafka) -> None:
    done = command("tasks", "submit", "nobody", "-d", "1", cwd=Path.cwd())
    assert done.returncode == 1
    assert "error[E302]: topic nobody.inbox does not exist" in done.stderr
    assert "`mode: task`" in done.stderr


def test_the_id_is_what_the_file_says(topics: TaskTopics, folder: Path) -> None:
    text = f"""
name: {topics.name}
mode: task
kafka: {{bootstrap.servers: "{topics.kafka.bootstrap}"}}
source: {{use: kafka, with: {{topics: [uploads], value: json}}}}
operator: ops:work
id: value.film
on_success: {{use: kafka, with: {{topic: ready}}}}
on_failure: {{topic: failed}}
"""
    (folder / "films.yaml").write_text(text)
    done = command("tasks", "submit", "films.yaml", "-d", '{"film": "a.mov"}', cwd=folder)
    assert (done.returncode, done.stdout) == (0, "a.mov\n"), done.stderr
    done = command("tasks", "submit", "films.yaml", "-d", '{"flm": "a.mov"}', cwd=folder)
    assert done.returncode == 2
    assert "Invalid value for -d: the file's `id` is not for this input" in done.stderr
    nowhere = command("tasks", "submit", "..", "-d", "1", cwd=folder)
    assert nowhere.returncode == 1
    assert "no pipeline file in `..`, nor a pipeline of that name" in nowhere.stderr
    assert [key for key, _, _ in topics.words()] == ["a.mov"]


def test_a_pipeline_is_named_by_its_file_or_by_its_name(
    topics: TaskTopics, owner: Owner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA")
    bootstrap = topics.kafka.bootstrap
    (folder / "films.yaml").write_text(
        f"name: {topics.name}\n"
        f"kafka: {{bootstrap.servers: '{bootstrap}'}}\n"
        "source: {use: kafka, with: {topics: [uploads]}}\n"
        "sink: {use: kafka, with: {topic: films}}\n"
    )
    for number, named in enumerate(
        (
            ["films.yaml"],
            [topics.name, "--pipeline", "films.yaml"],
            [topics.name, "--kafka", bootstrap],
        )
    ):
        done = command("tasks", "submit", *named, "-d", "1", "--id", f"a{number}", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert set(owner.heads) == {"a0", "a1", "a2"}


# List and show


def test_a_list_by_state_time_and_filter(topics: TaskTopics) -> None:
    topics.write_heads(
        [
            head("old", at=NOW - 7_200_000),
            head("run", State.RUNNING, executor="host-1", token="k"),
            head("bad", State.FAILED, NOW - 60_000, error=Failure("OSError", "disk full")),
        ]
    )
    done = tasks("list", topics)
    assert done.returncode == 0, done.stderr
    first, titles, *lines = done.stdout.splitlines()
    assert first == f"{topics.name}: 3 tasks: 1 Running, 1 Succeeded, 1 Failed"
    assert titles.split() == ["ID", "STATE", "CHANGED", "TOOK", "NOTE"]
    assert [line.split()[:2] for line in lines] == [
        ["run", "Running"],
        ["bad", "Failed"],
        ["old", "Succeeded"],
    ]
    assert lines[0].endswith("on host-1")
    assert lines[1].endswith("OSError: disk full")

    def chosen(*arguments: str) -> list[str]:
        return [row["id"] for row in listed(topics, *arguments)]

    assert chosen("--state", "failed") == ["bad"]
    assert chosen("--state", "open,Failed") == ["run", "bad"]
    assert chosen("--state", "final", "--since", "1h") == ["bad"]
    assert chosen("--where", "'disk' in error.message") == ["bad"]
    assert chosen("--since", "2020-01-01", "-n", "2") == ["run", "bad"]
    table = csv.DictReader(io.StringIO(tasks("list", topics, "--format", "csv").stdout))
    assert [(row["id"], row["error_type"]) for row in table][1] == ("bad", "OSError")
    shortened = tasks("list", topics, "-n", "1")
    assert "There are more: -n shows more than 1." in shortened.stderr
    for arguments, said in (
        (["--state", "runing"], "did you mean `running`?"),
        (["--since", "yesterday"], "write 2h"),
        (["--where", "stat == 1"], "did you mean `state`?"),
    ):
        wrong = tasks("list", topics, *arguments)
        assert wrong.returncode == 2
        assert said in " ".join(wrong.stderr.replace("│", " ").split())


def test_fields_of_json_are_those_the_help_and_the_page_name(topics: TaskTopics) -> None:
    topics.write_heads([head("a")])
    (row,) = listed(topics)
    text = " ".join(tasks("list", topics, "--help").stdout.split())
    assert f"have the fields {', '.join(row)}." in text
    more = list(shown(topics, "a"))[len(row) :]
    text = " ".join(tasks("show", topics, "--help").stdout.split())
    assert ", ".join(more[:-1]) in text


def test_the_index_follows_the_journal(topics: TaskTopics) -> None:
    topics.write_heads([head("a", State.RUNNING), head("b")])
    assert opened(topics).counts() == {"Running": 1, "Succeeded": 1}
    topics.write_heads([head("a", at=NOW + 1), head("c", State.FAILED, NOW + 2)])
    number = partition_of("b", PARTITIONS)
    topics.kafka.produce(
        topics.journal, [{"key": head_key("b"), "value": None, "partition": number}]
    )
    index = opened(topics)
    assert index.counts() == {"Succeeded": 1, "Failed": 1}
    assert ids(index) == ["c", "a"]
    assert ids(opened(topics, rebuild=True)) == ["c", "a"]


def test_a_journal_made_again_has_another_index(topics: TaskTopics) -> None:
    topics.write_heads([head("a")])
    assert ids(opened(topics)) == ["a"]
    topics.kafka.delete_topic(topics.journal)
    deadline = time.monotonic() + 20
    while topics.journal in topics.kafka.admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    topics.kafka.topic(PARTITIONS, topics.journal, **{"cleanup.policy": "compact"})
    topics.write_heads([head("b")])
    assert ids(opened(topics)) == ["b"]


def test_an_index_that_may_have_missed_tombstones_is_made_anew(
    topics: TaskTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.write_heads([head("a")])
    store = opened(topics)
    store.close()
    said: list[str] = []
    monkeypatch.setattr("kafka_etl.task_history.index._now_ms", lambda: NOW + 11 * 3_600_000)
    assert ids(opened(topics, progress=said.append)) == ["a"]
    assert said == []
    monkeypatch.setattr("kafka_etl.task_history.index._now_ms", lambda: NOW + 24 * 3_600_000)
    assert ids(opened(topics, progress=said.append)) == ["a"]
    assert said == [f"{topics.journal}: 1 of 1 records read"]


def test_everything_about_one_task(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "film-1")
    owner.run("film-1", "k1")
    owner.say("film-1", w.Ended(token="k1", why="error", error=Failure("OSError", "disk full")))
    owner.say("film-1", w.IsDue())
    owner.run("film-1", "k2", "host-2")
    owner.progress("film-1", ProgressNote("k2", 0.4, "pass 1 of 2"))
    done = tasks("show", topics, "film")
    assert done.returncode == 0, done.stderr
    for part in (
        r"^state +Running$",
        r"^submitted +\S+Z by \S+@\S+$",
        rf"^input +8 bytes in {topics.inbox}/\d/0$",
        r'^ +\{"n": 1\}$',
        r"^runs on +host-2 since \S+Z$",
        r"^progress +40% pass 1 of 2$",
        r"^attempts: 1 in all, 1 count$",
        r"on host-1: error, OSError: disk full$",
        r"^  \S+Z  Enqueued    \S+@\S+$",
        r"^  \S+Z  Retrying    host-1: OSError: disk full$",
        rf"^Stop it: kafka-etl tasks stop {topics.name} film-1$",
    ):
        assert re.search(part, done.stdout, re.MULTILINE), (part, done.stdout)
    owner.say("film-1", w.Result(token="k2", preview='{"frames": 9}'))
    one = shown(topics, "film-1")
    assert (one["state"], one["result"], one["attempts"]) == ("Succeeded", {"frames": 9}, 2)
    assert [entry["state"] for entry in one["history"]][-2:] == ["Running", "Succeeded"]
    assert one["input"]["preview"] == '{"n": 1}'
    assert one["attempts_last"][0]["error"]["type"] == "OSError"
    assert one["progress"] is None


def test_an_id_that_is_none_or_begins_several(topics: TaskTopics) -> None:
    topics.write_heads([head("ab1"), head("ab2")])
    for name, said in (("ab", "some begin so: ab1, ab2"), ("x", "has no task x")):
        done = tasks("show", topics, name)
        assert done.returncode == 2
        assert "error[E340]" in done.stderr
        assert said in done.stderr
    assert tasks("stop", topics, "ab").returncode == 2, "an order wants the whole id"


def test_a_head_that_cannot_be_read_is_listed_and_shown(topics: TaskTopics) -> None:
    number = partition_of("a", PARTITIONS)
    topics.kafka.produce(
        topics.journal, [{"key": head_key("a"), "value": b"{junk", "partition": number}]
    )
    assert [row["state"] for row in listed(topics, "--state", "unreadable")] == ["Unreadable"]
    done = tasks("show", topics, "a")
    assert "its head cannot be read" in done.stdout
    assert "{junk" in done.stdout
    assert shown(topics, "a")["head"] == "{junk"


# Orders


def test_a_task_is_stopped_in_the_queue_and_while_it_runs(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "queued", "runs")
    owner.run("runs")
    done = tasks("stop", topics, "queued", "runs", "--reason", "wrong film")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["queued  Stopped", "runs  Stopping"]
    assert owner.heads["queued"].stop is not None
    assert owner.heads["queued"].stop.reason == "wrong film"
    again = tasks("stop", topics, "queued", "runs")
    assert again.returncode == 3
    assert "queued is left alone: ended before" in again.stderr
    assert "runs is left alone: Stopping already (--force kills the attempt)" in again.stderr
    forced = tasks("stop", topics, "runs", "--force", "--json")
    assert rows(forced) == [
        {"id": "runs", "state": "Stopping", "generation": 1, "taken": True, "effect": True}
    ]
    assert owner.heads["runs"].stop is not None
    assert owner.heads["runs"].stop.force


def test_a_retry_given_twice_has_an_effect_once(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "a")
    owner.run("a")
    owner.say("a", w.Ended(token="k1", why="permanent", error=Failure("OSError", "disk")))
    done = tasks("retry", topics, "a", "--reason", "disk is there")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a  Enqueued\n"
    assert owner.heads["a"].generation == 2
    (word,) = [word for _, word, _ in topics.words() if isinstance(word, w.Retry)]
    assert (word.expect, word.reason) == (1, "disk is there")
    again = tasks("retry", topics, "a")
    assert again.returncode == 3
    assert "a is left alone: not ended yet" in again.stderr


def test_an_order_for_a_task_that_has_changed_in_between_says_so(topics: TaskTopics) -> None:
    """The owner takes another word before that of the command, which has seen an older head."""
    topics.write_heads([head("a", State.FAILED, generation=1)])
    with Owner(topics) as owner:
        owner.heads["a"] = head("a", State.RUNNING, generation=2, token="k")
        done = tasks("retry", topics, "a", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout) | {"state": ""} == {
        "id": "a",
        "state": "",
        "generation": 1,
        "taken": True,
        "effect": False,
    }
    assert "1 tasks have changed in the meantime" in done.stderr


def test_a_task_is_forgotten_once_it_has_ended(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "a", "b")
    owner.run("a")
    owner.say("a", w.Ended(token="k1", why="permanent", error=Failure("OSError", "disk")))
    done = tasks("forget", topics, "a")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a  Forgotten\n"
    assert [row["id"] for row in listed(topics)] == ["b"]
    left = tasks("forget", topics, "b")
    assert left.returncode == 3
    assert "b is left alone: not ended yet" in left.stderr


def test_an_order_that_no_owner_takes_waits_in_the_inbox(topics: TaskTopics) -> None:
    topics.write_heads([head("a", State.ENQUEUED)])
    done = tasks("stop", topics, "a")
    assert done.returncode == 0
    assert done.stdout == "a  Enqueued, not taken yet\n"
    assert f"1 orders are in the inbox; they are taken when {topics.name} runs" in done.stderr


@pytest.mark.parametrize(
    ("state", "error", "flags", "said"),
    [
        (State.SUCCEEDED, None, [], "Succeeded (--again runs it once more)"),
        (State.INVALID, None, ["--again"], "Invalid: it has nothing to run"),
        (State.RUNNING, None, [], "not ended yet"),
        (State.FAILED, Failure("OSError"), ["--deliver"], "no destination has refused"),
    ],
)
def test_a_retry_that_could_do_nothing_is_not_sent(
    topics: TaskTopics, state: State, error: Failure | None, flags: list[str], said: str
) -> None:
    topics.write_heads([head("a", state, error=error)])
    done = tasks("retry", topics, "a", *flags)
    assert done.returncode == 3
    assert f"a is left alone: {said}" in done.stderr
    assert topics.words() == []


def test_only_the_delivery_is_repeated(topics: TaskTopics) -> None:
    refused = (Destination("queue", "refused", "full"),)
    error = Failure(SINK_FAILED, "queue: full")
    failed = head("a", State.FAILED, error=error, destinations=refused)
    topics.write_heads([failed])
    with Owner(topics) as owner:
        owner.heads["a"] = failed
        done = tasks("retry", topics, "a", "--deliver")
        assert done.stdout == "a  Delivering\n"
        assert owner.heads["a"].generation == 1


def test_many_are_counted_before_they_are_stopped(topics: TaskTopics) -> None:
    heads = [head(f"t{n:03}", State.ENQUEUED if n % 2 else State.SUCCEEDED) for n in range(300)]
    topics.write_heads(heads)
    by_filter = ("--where", "startswith(id, 't')", "--reason", "wrong batch")
    dry = tasks("stop", topics, *by_filter, "--dry-run")
    assert dry.returncode == 0
    assert f"stop 150 tasks of {topics.name}: where startswith(id, 't')" in dry.stdout
    assert "150 more are left alone: ended before" in dry.stdout
    assert "150  Enqueued" in dry.stdout
    refused = tasks("stop", topics, *by_filter)
    assert refused.returncode == 2
    assert "error[E338]: 150 tasks need a confirmation" in refused.stderr
    assert topics.words() == []
    with Owner(topics) as owner:
        owner.heads |= {each.id: each for each in heads}
        done = tasks("stop", topics, *by_filter, "--state", "enqueued", "--yes")
        assert done.returncode == 0, done.stderr
        stopped = [line.split() for line in done.stdout.splitlines()]
    assert sorted(stopped) == [[f"t{n:03}", "Stopped"] for n in range(1, 300, 2)]
    words = [word for _, word, _ in topics.words() if isinstance(word, w.Stop)]
    assert len({word.word for word in words}) == 150
    ((batch, reason, expect),) = {(word.batch, word.reason, word.expect) for word in words}
    assert (len(batch), reason, expect) == (8, "wrong batch", 1)


def test_a_plan_is_for_what_the_dry_run_has_shown(topics: TaskTopics) -> None:
    heads = [head(f"t{n:03}", State.ENQUEUED) for n in range(120)]
    topics.write_heads(heads)
    dry = tasks("stop", topics, "--state", "open", "--dry-run")
    lines = dry.stdout.splitlines()
    assert lines[0] == f"stop 120 tasks of {topics.name}: state open"
    plan = lines[-1].removeprefix("plan: ")
    again = tasks("stop", topics, "--state", "open", "--dry-run", "--json")
    assert json.loads(again.stdout) == {"plan": plan, "tasks": 120}
    topics.write_heads([head("later", State.ENQUEUED)])
    for wrong in (("retry", "--plan", plan), ("stop", "--plan", plan, "--force")):
        refused = tasks(wrong[0], topics, *wrong[1:])
        assert refused.returncode == 2
        assert f"plan {plan} is for: stop of {topics.name}" in refused.stderr
    assert "knows no plan 0" in tasks("stop", topics, "--plan", "0").stderr
    named = tasks("stop", topics, "t000", "t001", "--dry-run").stdout.splitlines()
    assert named[0] == f"stop 2 tasks of {topics.name}: named by their ids"
    assert named[-1].startswith("plan: ")
    assert topics.words() == []
    with Owner(topics) as owner:
        owner.heads |= {each.id: each for each in heads}
        owner.heads["t000"] = head("t000", State.ENQUEUED, generation=2)
        done = tasks("stop", topics, "--plan", plan, "--reason", "too many")
        assert done.returncode == 0, done.stderr
    assert sum(line.endswith("  Stopped") for line in done.stdout.splitlines()) == 119
    assert "1 tasks have changed in the meantime" in done.stderr
    assert {task for task, _, _ in topics.words()} == {f"t{n:03}" for n in range(120)}


def test_a_task_is_not_submitted_where_no_pipeline_is(kafka: Kafka) -> None:
    name = kafka.name()
    done = command("tasks", "submit", name, "-d", "1", cwd=Path.cwd())
    assert done.returncode == 1
    assert f"topic {name}.inbox does not exist" in done.stderr
    assert "created when the pipeline starts" in done.stderr
    kafka.topic(1, f"{name}.inbox")
    done = command("tasks", "submit", name, "-d", "1", cwd=Path.cwd())
    assert done.returncode == 1
    assert f"topic {name}.journal does not exist" in done.stderr


def test_tasks_are_named_in_one_way(topics: TaskTopics) -> None:
    for arguments in ([], ["a", "--where", "true"], ["a", "--state", "failed"]):
        done = tasks("retry", topics, *arguments)
        assert done.returncode == 2
        assert "name tasks by their ids, by --where and --state, or by the --plan" in " ".join(
            done.stderr.replace("│", " ").split()
        )


# Wait


def ends_later(owner: Owner, task: str, word: w.Word, after: float = 1.5) -> threading.Thread:
    def end() -> None:
        time.sleep(after)
        owner.say(task, word)

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def test_the_exit_status_tells_the_outcome(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "good", "bad", "gone")
    for task in ("good", "bad"):
        owner.run(task)
    owner.say("bad", w.Ended(token="k1", why="permanent"))
    assert tasks("stop", topics, "gone").returncode == 0
    thread = ends_later(owner, "good", w.Result(token="k1"))
    waited = tasks("wait", topics, "good", "--timeout", "20s")
    thread.join()
    assert (waited.returncode, waited.stdout) == (0, "good  Succeeded\n")
    for named, status in ((["bad"], 1), (["gone"], 3), (["good", "gone", "bad"], 1)):
        assert tasks("wait", topics, *named).returncode == status, named


def test_who_does_not_end_in_time(topics: TaskTopics, owner: Owner) -> None:
    submitted(topics, "a")
    done = tasks("wait", topics, "a", "--timeout", "300ms")
    assert done.returncode == 4
    assert "a has not ended: Enqueued" in done.stderr
    assert tasks("wait", topics, "nobody").returncode == 2


def test_a_task_that_nobody_has_taken_yet_is_waited_for(topics: TaskTopics) -> None:
    assert tasks("submit", topics, "-d", "1", "--id", "a").returncode == 0
    waiting = tasks("wait", topics, "a", "--timeout", "300ms")
    assert waiting.returncode == 4
    assert "no owner has taken it yet" in waiting.stderr
    beside, elsewhere = beside_and_elsewhere("a")
    unread = [topics.name, beside, "--timeout", "40s"]
    asked = subprocess.Popen(
        [*COMMAND, "tasks", "wait", *unread], stderr=subprocess.PIPE, text=True
    )
    assert tasks("wait", topics, elsewhere, "--timeout", "20s").returncode == 2
    assert asked.poll() is None
    with Owner(topics):
        _, said = asked.communicate(timeout=40)
    assert asked.returncode == 2
    assert f"the pipeline has no task {beside}" in said


def beside_and_elsewhere(task: str) -> tuple[str, str]:
    """Ids of tasks that are in the same partition, and in another one."""
    same = [partition_of(f"x{n}", PARTITIONS) == partition_of(task, PARTITIONS) for n in range(99)]
    return f"x{same.index(True)}", f"x{same.index(False)}"


def test_submit_waits_for_the_end(topics: TaskTopics, owner: Owner) -> None:
    def work() -> None:
        owner.until("a")
        owner.run("a")
        owner.say("a", w.Ended(token="k1", why="permanent"))

    thread = threading.Thread(target=work)
    thread.start()
    done = tasks("submit", topics, "-d", "1", "--id", "a", "--wait", "--timeout", "20s")
    thread.join()
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["a", "a  Failed"]


# The page


def test_the_commands_of_the_page(kafka: Kafka) -> None:
    topics = TaskTopics(kafka)
    with Owner(topics) as owner:
        (block,) = blocks(PAGE, "console")
        for line in block.splitlines():
            words = [part.replace("transcode", topics.name) for part in shlex.split(line[2:])]
            if words[2] == "wait":
                owner.run("b.mov")
                owner.say("b.mov", w.Result(token="k1"))
            if words[2] == "retry" and "--yes" not in words:
                owner.run("c.mov")
                owner.say("c.mov", w.Ended(token="k1", why="permanent", error=Failure("OSError")))
            done = command(*words[1:], cwd=Path.cwd())
            assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert {task: one.state.value for task, one in owner.heads.items()} == {
            "a.mov": "Stopped",
            "b.mov": "Succeeded",
            "c.mov": "Enqueued",
        }
