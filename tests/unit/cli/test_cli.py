"""The command line without Kafka: what it prints where, and how it ends."""

from __future__ import annotations

import fcntl
import http.server
import io
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from kafka_etl.cli.daemon import control
from kafka_etl.cli.daemon.progress import Progress
from kafka_etl.cli.daemon.status_table import look, remarks, table
from kafka_etl.cli.demo.demo import demo_orders
from kafka_etl.cli.options import parse_address, parse_sets, program
from kafka_etl.errors import Permanent, Problem
from kafka_etl.expression import Expression
from kafka_etl.log import configure
from kafka_etl.plugins import import_object, importable
from kafka_etl.runtime.daemon.daemon import Rates, View
from kafka_etl.runtime.daemon.pipelines import PipelineStatus
from kafka_etl.runtime.daemon.state import State
from kafka_etl.runtime.messages import Standing
from kafka_etl.terminal import WIPE
from tests.kit.daemon import command, free_port
from tests.unit.config.project import pipeline
from tests.unit.runtime.orders import NOW, status

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[3]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()

KAFKA_LABEL = "exactly_once (outputs and offsets in one Kafka transaction)"


def written(folder: Path, text: str, name: str = "pipeline.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def assert_readable(done: Done) -> None:
    """A user's mistake is told in words."""
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def logged(text: str) -> list[dict[str, Any]]:
    """Every line as the JSON object that it is."""
    return [json.loads(line) for line in text.splitlines()]


# Help

COMMANDS = [
    (),
    ("run",),
    ("validate",),
    ("status",),
    ("top",),
    ("tap",),
    ("pause",),
    ("resume",),
    ("restart",),
    ("plugins",),
    ("explain",),
    ("doctor",),
    ("schema",),
    ("demo",),
    ("show",),
    ("send",),
    ("try",),
    ("test",),
    ("init",),
    ("dlq",),
    ("dlq", "show"),
    ("tasks",),
    *(("tasks", name) for name in ("list", "show", "submit", "stop", "retry", "wait")),
    ("offsets",),
    ("offsets", "show"),
    ("offsets", "reset"),
    ("broker",),
    ("broker", "start"),
    ("broker", "stop"),
    ("broker", "status"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command(*words, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: {' '.join(['python -m kafka_etl', *words])}")
    assert done.stderr == ""
    description = done.stdout.split("\n\n")[1].strip()
    assert len(description) > 15


def test_the_list_of_commands_above_is_complete(tmp_path: Path) -> None:
    listed = command("--help", cwd=tmp_path).stdout.partition("Commands:\n")[2]
    names = {line.split()[0] for line in listed.splitlines() if line[2] != " "}
    assert {words[0] for words in COMMANDS if words} == names


SHOW_MODULES = """
import sys
from kafka_etl.cli import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""
CLIENTS = {"asyncio", "confluent_kafka", "fastavro", "orjson", "pyarrow", "msgspec"}
SLOW = CLIENTS | {"pydantic", "rich", "secrets", "structlog", "tenacity"}


def imported_for(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_MODULES, *words], capture_output=True, text=True, check=False
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        *((), ("run",), ("test",), ("try",), ("init",), ("tasks", "list"), ("tasks", "retry")),
        *(("dlq", "replay"), ("dlq", "drop")),
    ],
    ids=" ".join,
)
def test_help_comes_at_once(words: tuple[str, ...]) -> None:
    """Nothing slow is imported for it."""
    assert not SLOW & imported_for(*words, "--help")


def test_help_of_a_group_imports_none_of_its_commands() -> None:
    assert "kafka_etl.cli.groups" in imported_for("--help")
    assert "kafka_etl.cli.daemon.run" not in imported_for("--help")
    assert "kafka_etl.cli.tasks.list" not in imported_for("tasks", "--help")


def test_a_list_of_tasks_imports_no_log() -> None:
    """It would import rich."""
    reads = "import kafka_etl.cli.dlq.filters, kafka_etl.task_history.pipeline, sys; "
    done = subprocess.run(
        [sys.executable, "-c", reads + "print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"rich", "structlog"} & set(done.stdout.split())


def test_the_version_is_the_installed_one(tmp_path: Path) -> None:
    done = command("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, version("kafka-etl") + "\n", "")


def test_without_a_command_it_explains_itself(tmp_path: Path) -> None:
    done = command(cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage:" in done.stdout + done.stderr


# Bad options


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nope",), "No such command 'nope'"),
        (("run",), "Missing argument 'PATH"),
        (("validate",), "Missing argument 'PATH"),
        (("validate", "--nope", "."), "No such option: --nope"),
        (("validate", "--set", "x", "."), "`x` is not KEY=VALUE"),
        (("validate", "--import-timeout", "5", "."), "Invalid value for --import-timeout"),
        (("run", "--workers", "0", "."), "Invalid value for '--workers'"),
        (("run", "--workers", "many", "."), "Invalid value for '--workers'"),
        (("run", "--log-level", "loud", "."), "`loud`: a level is debug, info, warning, error"),
        (("run", "--log-level", "nope=info", "."), "a component is daemon, worker"),
        (("status", "--http", "nowhere"), "`nowhere` is not HOST:PORT"),
        (("status", "--http", "127.0.0.1:99999"), "`127.0.0.1:99999` is not HOST:PORT"),
        (("pause",), "Missing argument 'NAME'"),
        (("tasks", "retry", "shop", "a", "b", "--input", "1"), "another input is for one task"),
    ],
    ids=str,
)
def test_a_bad_option_ends_with_2_and_a_word(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    written(tmp_path, pipeline())
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert_readable(done)


# validate


def test_a_good_pipeline_is_one_line_of_data(tmp_path: Path) -> None:
    written(tmp_path, pipeline("operators: [{use: filter, with: {where: 'value.a > 1'}}]"))
    done = command("validate", "pipeline.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"pipeline.yaml: orders-eur: {KAFKA_LABEL}; operators: filter\n"


def test_a_task_pipeline_is_one_block(tmp_path: Path) -> None:
    (tmp_path / "ops.py").write_text("def work(task: dict) -> dict:\n    return task\n")
    task = """
name: films
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads], value: json}}
operator: {use: ops:work, concurrency: 3, timeout: 90m}
id: value.film
dedup: {window: 2d, on_duplicate: reject}
on_success:
  - {use: kafka, with: {topic: films.ready}}
  - {use: http, with: {url: "http://localhost:1/films"}}
on_failure: {topic: films.failed, when: [Failed, Invalid]}
"""
    written(tmp_path, task)
    done = command("validate", "pipeline.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"pipeline.yaml: films: {KAFKA_LABEL}; mode: task",
        "  operator    work: 3 at once on each host, up to 3 attempts of up to 90m",
        "  id          value.film; taken for 2d, duplicates: reject",
        "  on_success  topic films.ready",
        "  on_success  http: at_least_once (after a crash requests are sent again)",
        "  on_failure  topic films.failed, of Failed, Invalid",
    ]
    written(tmp_path, task.replace("ops:work", "ops:wrok"))
    done = command("validate", "pipeline.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean `work`" in done.stderr


def test_bad_ones_are_all_named_and_good_ones_still_listed(tmp_path: Path) -> None:
    written(tmp_path, pipeline("name: good"), "good.yaml")
    written(tmp_path, pipeline("name: one", "workers: 0", "drain_timeout: 1"), "one.yaml")
    written(tmp_path, "a: [", "two.yaml")
    done = command("validate", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == f"good.yaml: good: {KAFKA_LABEL}; operators: none\n"
    assert done.stderr.startswith("3 problems in the configuration\n\nerror[E106]: ")
    assert [line for line in done.stderr.splitlines() if "-->" in line] == [
        "  --> one.yaml:5:10",
        "  --> one.yaml:6:16",
        "  --> two.yaml:1:4",
    ]


def test_one_bad_file_says_that_the_good_ones_were_not_started(tmp_path: Path) -> None:
    written(tmp_path, pipeline("name: good"), "good.yaml")
    written(tmp_path, "a: [", "bad.yaml")
    done = command("run", ".", "--state-dir", "state", "--http", "off", cwd=tmp_path)
    assert done.returncode == 2
    assert "  --> bad.yaml:1:4" in done.stderr
    assert "Nothing was started, good.yaml included." in done.stderr
    assert_readable(done)


def test_what_is_not_imported_is_named_beside_what_programs_read(tmp_path: Path) -> None:
    written(tmp_path, pipeline("operators: [ops:work]"))
    done = command("validate", ".", "--no-import", "--format", "json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "pipeline.yaml: orders-eur: not imported, so not checked: ops:work\n"
    done = command("validate", ".", "--no-import", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        f"pipeline.yaml: orders-eur: {KAFKA_LABEL}; operators: work",
        "pipeline.yaml: orders-eur: not imported, so not checked: ops:work",
    ]


def test_two_pipelines_of_one_name_are_named(tmp_path: Path) -> None:
    written(tmp_path, pipeline(), "a.yaml")
    written(tmp_path, pipeline(), "b.yaml")
    done = command("validate", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "error[E111]: another file has a pipeline `orders-eur`: a.yaml" in done.stderr
    assert "  --> b.yaml:1:7" in done.stderr


def test_variables_and_overrides_are_those_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, pipeline("name: '${PIPELINE_NAME}'"))
    assert command("validate", ".", cwd=tmp_path).returncode == 2
    monkeypatch.setenv("PIPELINE_NAME", "from-env")
    assert "from-env" in command("validate", ".", cwd=tmp_path).stdout
    done = command("validate", ".", "--set", "name=from-set", "--set", "workers=2", cwd=tmp_path)
    assert "from-set" in done.stdout


@pytest.mark.parametrize("path", ["nope.yaml", "empty"])
def test_nothing_to_validate_is_a_mistake(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    done = command("validate", path, cwd=tmp_path)
    assert done.returncode == 2
    assert f"  --> {path}" in done.stderr
    assert_readable(done)


def test_what_user_code_prints_is_not_our_answer(tmp_path: Path) -> None:
    code = "print('loaded')\ndef convert(order: dict) -> dict: ...\n"
    (tmp_path / "ops.py").write_text(code)
    written(tmp_path, pipeline("operators: ['ops:convert']"))
    done = command("validate", ".", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"pipeline.yaml: orders-eur: {KAFKA_LABEL}; operators: convert\n"


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "import sys\nsys.exit()", "1 / 0"])
def test_user_code_that_quits_does_not_pass_for_success(tmp_path: Path, code: str) -> None:
    (tmp_path / "ops.py").write_text(code)
    written(tmp_path, pipeline("operators: ['ops:convert']"))
    done = command("validate", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "error[E202]: importing module ops failed" in done.stderr
    assert_readable(done)


# plugins


def test_plugins_lists_what_is_installed(tmp_path: Path) -> None:
    done = command("plugins", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [tuple(line.split()[:3]) for line in done.stdout.splitlines()]
    assert ("sources", "kafka", "kafka-etl") in rows
    assert ("codecs", "json", "kafka-etl") in rows


def test_plugins_lists_a_broken_one_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's package, as its wheel leaves it behind."""
    info = tmp_path / "site" / "shop-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kafka_etl.sinks]\nshop = shop_plugin:SINK\nnumber = math:pi\n"
    )
    (tmp_path / "site" / "shop_plugin.py").write_text("import no_such_client\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    done = command("plugins", cwd=tmp_path)
    assert done.returncode == 0
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert "BROKEN: importing sink shop of shop failed" in lines["shop"]
    assert "No module named 'no_such_client'" in lines["shop"]
    assert "BROKEN: sink number of shop is of type float, not SinkPlugin" in lines["number"]
    written(tmp_path, pipeline())
    assert command("validate", ".", cwd=tmp_path).returncode == 0


# Talking to a daemon


@contextmanager
def answering(status_code: int, body: bytes, port: int = 0) -> Iterator[str]:
    """Somebody else's server on a port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status_code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None: ...

    with served(Handler, port) as address:
        yield address


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("words", [("status",), ("pause", "orders"), ("restart", "a b/c")])
def test_without_a_daemon_it_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = command(*words, "--http", address, cwd=tmp_path)
    assert done.returncode == 1
    assert f"error[E504]: no daemon answers at {address}: " in done.stderr
    assert "  next: Check that the daemon runs" in done.stderr
    assert_readable(done)


def test_a_daemon_that_was_started_at_the_same_time_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`kafka-etl run first &`, then `kafka-etl status`: the second may be the faster one."""
    port = free_port()
    waits: list[float] = []
    with ExitStack() as servers:

        def daemon_begins(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                servers.enter_context(answering(200, b'{"pipelines": []}', port))

        monkeypatch.setattr(time, "sleep", daemon_begins)
        control.status(http=f"127.0.0.1:{port}", json=True)
    assert len(waits) == 3
    assert json.loads(capsys.readouterr().out) == {"pipelines": []}


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (404, b"5"),
        (200, b""),
        (404, b'{"error": "x"}'),
        (404, b'{"error": {"what": "not found"}}'),
    ],
)
def test_somebody_elses_server_is_no_daemon(tmp_path: Path, code: int, body: bytes) -> None:
    with answering(code, body) as address:
        done = command("status", "--http", address, cwd=tmp_path)
    assert done.returncode == 1
    assert f"error[E504]: something else than a daemon answers at {address}\n" in done.stderr
    assert_readable(done)


@pytest.mark.parametrize(("code", "ends_with"), [("E505", 1), ("E506", 1), ("E100", 2)])
def test_what_the_daemon_refuses_is_passed_on(tmp_path: Path, code: str, ends_with: int) -> None:
    refusal = {"error": {"code": code, "what": "no pipeline `x`", "next_step": "look"}}
    with answering(404, json.dumps(refusal).encode()) as address:
        done = command("restart", "x", "--http", address, cwd=tmp_path)
    assert done.returncode == ends_with
    assert done.stderr == f"error[{code}]: no pipeline `x`\n  next: look\n"


def outcome(progress: str, *, settled: bool, notes: tuple[str, ...] = ()) -> dict[str, object]:
    order = {"pipeline": "orders", "order": "restart", "id": "4711"}
    return {**order, "settled": settled, "progress": progress, "notes": notes}


@contextmanager
def answering_in_turn(*answers: dict[str, object]) -> Iterator[tuple[str, list[str]]]:
    """A daemon's answers about an order, one after the other, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[min(len(asked), len(answers) - 1)]).encode()
            asked.append(f"{self.command} {self.path}")
            self.send_response(202)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None: ...

    with served(Handler) as address:
        yield address, asked


def test_an_order_is_followed_to_its_outcome(tmp_path: Path) -> None:
    answers = (
        outcome("checking the new version", settled=False),
        outcome("checking the new version", settled=False),
        outcome("draining", settled=False),
        outcome("running", settled=True, notes=("reads in another group",)),
    )
    with answering_in_turn(*answers) as (address, asked):
        done = command("restart", "orders", "--http", address, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "orders: checking the new version",
        "orders: draining",
        "orders: reads in another group",
        "orders: running",
    ]
    assert asked == ["POST /pipelines/orders/restart", *["GET /orders/4711"] * 3]


def test_a_new_version_that_is_refused_ends_with_the_status_of_its_error(tmp_path: Path) -> None:
    error = {"code": "E100", "what": "a typo", "next_step": "correct it"}
    answers = (outcome("checking", settled=False), {"error": error})
    with answering_in_turn(*answers) as (address, _):
        done = command("restart", "orders", "--http", address, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "orders: checking",
        "error[E100]: a typo",
        "  next: correct it",
    ]


def test_an_order_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with answering_in_turn(outcome("pausing", settled=False)) as (address, _):
        done = command("pause", "orders", "--wait", "0", "--http", address, cwd=tmp_path)
    assert done.returncode == 1
    assert "error[E508]: `pause orders` is still under way after 0 s: pausing" in done.stderr
    assert "`kafka-etl status` shows the result" in done.stderr


STATUS: dict[str, Any] = {
    "instance": "blue",
    "pipelines": [
        {
            "name": "orders",
            "state": "failed",
            "to_be_paused": False,
            "guarantee": "exactly_once",
            "workers": 2,
            "partitions": 4,
            "lag": {"records": 1234, "seconds": 5.4},
            "rates": {"records_in": 10_000.0, "records_out": 1.0},
            "counts": {"dead_letters": 7, "worker_deaths": 0},
            "trouble": "a broker is away",
            "error": {"code": "E301", "what": "Nobody answers.", "next_step": "Look."},
        },
        {
            "name": "bills",
            "state": "preflight",
            "to_be_paused": True,
            "guarantee": None,
            "workers": 0,
            "partitions": 0,
            "lag": {"records": None, "seconds": None},
            "rates": {"records_in": 0.0, "records_out": 0.0},
            "counts": {"dead_letters": 0, "worker_deaths": 2},
            "trouble": None,
            "error": None,
        },
    ],
}


def test_status_is_a_table_and_what_needs_words_below_it(tmp_path: Path) -> None:
    with answering(200, json.dumps(STATUS).encode()) as address:
        done = command("status", "--http", address, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        (
            "NAME    STATE                    GUARANTEE     WORKERS  PARTITIONS    IN/S  OUT/S"
            "          LAG  DEAD"
        ),
        (
            "orders  failed                   exactly_once        2           4  10,000      1"
            "  1,234 (5 s)     7"
        ),
        (
            "bills   preflight, to be paused  -                   0           0       0      0"
            "            -     0"
        ),
        "",
        "orders: trouble: a broker is away",
        "orders: error[E301]: Nobody answers.",
        "  next: Look.",
        "bills: 2 worker deaths",
    ]


def test_status_ends_with_1_when_a_pipeline_has_failed(tmp_path: Path) -> None:
    failed, other = STATUS["pipelines"]
    for pipelines, ends_with in [([other, failed], 1), ([other], 0), ([], 0)]:
        with answering(200, json.dumps({"pipelines": pipelines}).encode()) as address:
            assert command("status", "--http", address, cwd=tmp_path).returncode == ends_with


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (200, "NAME STATE GUARANTEE WORKERS PARTITIONS IN/S OUT/S LAG DEAD"),
        (100, "NAME STATE GUARANTEE WORKERS PARTITIONS IN/S OUT/S LAG DEAD"),
        (99, "NAME STATE WORKERS PARTITIONS IN/S OUT/S LAG DEAD"),
        (80, "NAME STATE WORKERS IN/S OUT/S LAG DEAD"),
        (70, "NAME STATE IN/S OUT/S LAG DEAD"),
        (60, "NAME STATE IN/S LAG DEAD"),
        (20, "NAME STATE LAG DEAD"),
        (None, "NAME STATE GUARANTEE WORKERS PARTITIONS IN/S OUT/S LAG DEAD"),
    ],
)
def test_a_narrow_terminal_is_shown_fewer_columns(width: int | None, titles: str) -> None:
    lines = list(table(STATUS["pipelines"], width))
    assert lines[0].split() == titles.split()
    assert len(lines) == 3


def test_one_death_is_one(tmp_path: Path) -> None:
    one = {**STATUS["pipelines"][1], "counts": {"dead_letters": 0, "worker_deaths": 1}}
    assert list(remarks(one)) == ["bills: 1 worker death"]


def test_status_as_json_is_what_the_daemon_says(tmp_path: Path) -> None:
    with answering(200, json.dumps(STATUS).encode()) as address:
        done = command("status", "--json", "--http", address, cwd=tmp_path)
    assert json.loads(done.stdout) == STATUS


# run


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "error[E102]: not YAML"),
        (pipeline("workers: 0"), "error[E106]: `workers` should be at least 1"),
        (pipeline("kafka: {bootstrap.servers: '${NO_SUCH_VARIABLE}'}"), "error[E107]"),
        (pipeline("name: ''"), "error[E106]"),
    ],
)
def test_a_bad_file_is_named_before_anything_starts(tmp_path: Path, text: str, says: str) -> None:
    written(tmp_path, text)
    done = command("run", ".", "--state-dir", "state", "--http", "off", cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "-->" in done.stderr
    assert_readable(done)
    assert not (tmp_path / "state").exists()


def test_a_bad_plugin_setting_is_named_by_preflight(tmp_path: Path) -> None:
    written(tmp_path, pipeline("operators: [{use: filter, with: {where: 'valu.x'}}]"))
    done = command("run", ".", "--state-dir", "state", "--http", "off", cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown name `valu`" in done.stderr
    assert "--> " in done.stderr
    assert_readable(done)


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    written(tmp_path, pipeline())
    (tmp_path / "state" / "blue").mkdir(parents=True)
    with (tmp_path / "state" / "blue" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command(
            "run", ".", "--state-dir", "state", "--instance", "blue", "--http", "off", cwd=tmp_path
        )
    assert done.returncode == 1
    assert "error[E501]: another daemon runs as instance blue" in done.stderr
    assert (
        "`--instance NAME --http HOST:PORT`. A run with `--until-end` needs neither" in done.stderr
    )
    assert_readable(done)


def test_a_run_to_the_end_beside_a_daemon_needs_no_option(tmp_path: Path) -> None:
    """It gets as far as its preflight, which has something to say."""
    written(tmp_path, pipeline("operators: [{use: filter, with: {where: 'valu.x'}}]"))
    (tmp_path / "state" / "blue").mkdir(parents=True)
    (tmp_path / "state" / "instance").write_text("blue")
    with (tmp_path / "state" / "blue" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command("run", ".", "--state-dir", "state", "--until-end", cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown name `valu`" in done.stderr
    begins = json.loads(done.stderr.splitlines()[0])
    assert (begins["event"], begins["instance"], begins["http"]) == ("begins", "blue-2", "off")


def test_a_daemon_says_where_it_is_asked(tmp_path: Path) -> None:
    written(tmp_path, pipeline("operators: [{use: filter, with: {where: 'valu.x'}}]"))
    done = command("run", ".", "--state-dir", "state", "--http", "127.0.0.1:0", cwd=tmp_path)
    begins = json.loads(done.stderr.splitlines()[0])
    assert begins["event"] == "begins"
    assert begins["http"].startswith("127.0.0.1:")
    assert begins["http"] != "127.0.0.1:0"


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    written(tmp_path, pipeline())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = command("run", ".", "--state-dir", "state", "--http", address, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"error[E503]: {address} cannot be served: Address already in use\n"
        "  next: If a daemon is there, `kafka-etl status` shows its pipelines. A second daemon "
        "needs its own address and name: `--http HOST:PORT` (or `off`) and `--instance "
        "NAME`. A run with `--until-end` needs neither.\n"
    )
    assert_readable(done)


def test_a_broker_that_does_not_answer_is_named_within_30_s(tmp_path: Path) -> None:
    servers = f"127.0.0.1:{free_port()}"
    written(tmp_path, pipeline(f"kafka: {{bootstrap.servers: '{servers}'}}"))
    started = time.monotonic()
    done = command("run", ".", "--state-dir", "state", "--until-end", cwd=tmp_path)
    assert time.monotonic() - started < 30
    assert done.returncode == 1
    (failed,) = (line for line in logged(done.stderr) if line["event"] == "failed")
    assert failed["code"] == "E301"
    assert failed["error"].startswith(f"asking {servers} for its topics failed")
    assert failed["next"].startswith("Check bootstrap.servers")
    assert_readable(done)


def test_a_run_in_a_pipe_says_all_in_json_and_its_error_once(tmp_path: Path) -> None:
    written(tmp_path, pipeline("operators: [{use: filter, with: {where: 'valu.x'}}]"))
    done = command("run", ".", "--state-dir", "state", "--until-end", cwd=tmp_path)
    lines = logged(done.stderr)
    assert [line["event"] for line in lines] == [
        "begins",
        "failed",
        "failed (E100): 0 records in, 0 out, 0 dropped, 0 dead letters",
    ]
    assert (lines[1]["pipeline"], lines[2]["pipeline"]) == ("orders-eur", "orders-eur")
    assert done.stderr.count("unknown name `valu`") == 1


# The parts of it


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8321", ("127.0.0.1", 8321)),
        (":8321", ("127.0.0.1", 8321)),
        ("[::1]:8321", ("::1", 8321)),
        ("localhost:0", ("localhost", 0)),
        ("host.example:65535", ("host.example", 65_535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8321", "host", "host:", "host:x", "h:65536", "h:-1", "h:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not HOST:PORT"):
        parse_address(text)


def test_sets_keep_the_rest_of_the_value() -> None:
    assert parse_sets(["a.b=c=d", "e=", "f={g: h}"]) == {"a.b": "c=d", "e": "", "f": "{g: h}"}


@pytest.mark.parametrize("text", ["", "a", "=b"])
def test_what_sets_nothing_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not KEY=VALUE"):
        parse_sets([text])


@pytest.mark.parametrize(
    ("executable", "path", "called"),
    [
        (".venv/bin/python", ".venv/bin", "kafka-etl"),
        (".venv/bin/python", "", ".venv/bin/kafka-etl"),
        ("elsewhere/python", ".venv/bin", "elsewhere/python -m kafka_etl"),
    ],
)
def test_the_program_is_called_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str, path: str, called: str
) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "kafka-etl").touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / executable))
    monkeypatch.setenv("PATH", str(tmp_path / path) if path else "")
    assert program() == called.replace("elsewhere", f"{tmp_path}/elsewhere")


# The demo, and what the tutorial makes of its data


def test_one_customer_of_the_tutorial_is_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its operator finds dead letters in the demo's orders, as it says."""
    blocks = re.findall(r"^```python\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "def greet" in block)
    (tmp_path / "spenders.py").write_text(code)
    where = re.search(r'where: "(value.amount > 499 .*?)"', TUTORIAL)
    assert where is not None
    passes = Expression(where[1]).on_value()
    with importable(tmp_path):
        greet = import_object("spenders:greet")
    passed = [order for order in map(read, demo_orders()) if order and passes(order)]
    nobody = [order for order in passed if order["customer"] == "c25"]
    assert (len(passed), len(nobody)) == (258, 2)
    for order in nobody:
        with pytest.raises(Permanent, match="c25 is nobody"):
            greet(order)


def read(order: tuple[bytes, bytes]) -> dict[str, Any]:
    """Empty for one that is no JSON, or has no amount."""
    with suppress(ValueError):
        data: dict[str, Any] = json.loads(order[1])
        return data if "amount" in data else {}
    return {}


# Progress


class Stderr(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def view(*statuses: PipelineStatus) -> View:
    return View(NOW, "blue", {s.name: s for s in statuses}, {s.name: Rates(5, 5) for s in statuses})


def test_on_a_terminal_one_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Stderr(terminal=True)
    monkeypatch.setenv("COLUMNS", "200")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        progress = Progress(until_end=True)
        unknown = status("c", standing=Standing())
        progress.show(view(status("a"), status("b", trouble="broker away"), unknown))
    assert screen.getvalue() == (
        "\r\x1b[2Ka: running, 5 rec/s, lag 10, 3 dead letters, 2 s to go"
        " | b: running, 5 rec/s, lag 10, 3 dead letters, 2 s to go (broker away)"
        " | c: running, 5 rec/s, 3 dead letters"
    )


def test_a_narrow_terminal_gets_a_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps is not written over: it would fill the screen."""
    screen = Stderr(terminal=True)
    monkeypatch.setenv("COLUMNS", "20")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        Progress(until_end=False).show(view(status("a")))
    assert screen.getvalue() == "\r\x1b[2Ka: running, 5 rec/s"[: 5 + 19]


def test_elsewhere_a_log_line_comes_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = Stderr(terminal=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", log)
        configure({"": "info"})
        progress = Progress(until_end=False)
        for _ in range(25):
            progress.show(view(status("a")))
            now += 1
    structlog.reset_defaults()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert len(lines) == 2
    assert lines[0]["event"] == "progress"
    assert (lines[0]["pipeline"], lines[0]["lag"], lines[0]["records_in"]) == ("a", 10, 1000)


def test_the_end_says_what_became_of_each_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Stderr(terminal=True)
    failed = status("b", state=State.FAILED, problem=Problem("E301", "Nobody answers.", "Look."))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        Progress(until_end=True).finish(view(status("a", state=State.FINISHED), failed))
    assert screen.getvalue() == (
        "\r\x1b[2Ka: finished: 1,000 records in, 990 out, 7 dropped, 3 dead letters.\n"
        "  dead letters: 2 OperatorError in to_eur: ValueError: no rate (first: orders[1]@49)\n"
        "    kafka-etl dlq show /etc/orders.yaml orders/1/49\n"
        "\r\x1b[2Kb: failed (E301): 1,000 records in, 990 out, 7 dropped, 3 dead letters.\n"
        "  dead letters: 2 OperatorError in to_eur: ValueError: no rate (first: orders[1]@49)\n"
        "    kafka-etl dlq show /etc/orders.yaml orders/1/49\n"
    )


# On a terminal

RUN = """
import os, sys, time
from kafka_etl.cli.daemon.progress import Progress
from kafka_etl.log import configure, get_logger
from tests.unit.runtime.orders import status
from tests.unit.cli.test_cli import view

configure({"": "info"})
progress, log = Progress(until_end=True), get_logger("worker")
for number in range(3):
    progress.show(view(status("orders"), status("bills")))
    if os.fork() == 0:  # a worker has the terminal, too
        log.info("commits", number=number)
        os._exit(0)
    os.wait()
progress.show(view(status("orders")))
log.error("failed", pipeline="orders", code="E301", error="Nobody answers.", next="Look.")
progress.finish(view(status("orders")))
"""


def on_a_terminal(columns: int, term: str = "xterm") -> str:
    """What this program leaves on a terminal of this width, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": term, "NO_COLOR": "1"}
    arguments = [sys.executable, "-c", RUN]
    with subprocess.Popen(arguments, stderr=theirs, env=environment, cwd=ROOT) as running:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the other side is closed
            while part := os.read(ours, 4096):
                said += part
    os.close(ours)
    assert running.returncode == 0, said
    return said.decode()


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_no_log_line_sticks_to_the_progress_line(columns: int) -> None:
    rows = on_a_terminal(columns).split("\r\n")
    seen = [row.rpartition(WIPE)[2] for row in rows]
    progress = [part for row in rows for part in row.split(WIPE)[1:] if "running, " in part]
    assert [len(part) <= columns - 1 for part in progress] == [True] * 4
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in seen[:4]), seen
    assert [line.split("commits")[1].split()[-1] for line in seen[:3]] == [
        "number=0",
        "number=1",
        "number=2",
    ]
    assert seen[4:] == [
        "error[E301]: Nobody answers.",
        "  next: Look.",
        "orders: running: 1,000 records in, 990 out, 7 dropped, 3 dead letters.",
        "  dead letters: 2 OperatorError in to_eur: ValueError: no rate (first: orders[1]@49)",
        "    kafka-etl dlq show /etc/orders.yaml orders/1/49",
        "",
    ]


def test_a_terminal_that_cannot_write_over_gets_lines(tmp_path: Path) -> None:
    said = on_a_terminal(80, "dumb")
    assert "\x1b" not in said
    assert "rec/s" not in said
    assert "error[E301]: Nobody answers.\r\n  next: Look.\r\n" in said


def test_where_no_command_reads_dead_letters_their_place_is_named() -> None:
    shown = look("my file.yaml", "topic orders.dlq", "orders/1/2")
    assert shown == "kafka-etl dlq show 'my file.yaml' orders/1/2"
    assert look("p.yaml", "table failed", "orders/1/2") == (
        "they are in table failed, such as that of orders/1/2"
    )


def test_a_project_where_no_folder_can_be_made_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, "", "file")
    done = command("init", "file/shop", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written: Not a directory" in done.stderr
