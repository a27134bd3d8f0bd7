"""The command line without Kafka: what it prints where, and how it ends."""

from __future__ import annotations

import fcntl
import http.server
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog
import typer

from kafka_etl.cli.options import parse_address, parse_sets
from kafka_etl.cli.progress import Progress
from kafka_etl.log import configure
from kafka_etl.runtime.daemon.daemon import Rates, View
from kafka_etl.runtime.daemon.pipelines import PipelineStatus, State
from tests.kit.daemon import command, free_port
from tests.unit.config.project import pipeline
from tests.unit.runtime.orders import NOW, status

Done = subprocess.CompletedProcess[str]


def written(folder: Path, text: str, name: str = "pipeline.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def assert_readable(done: Done) -> None:
    """A user's mistake is told in words."""
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# Help

COMMANDS = [
    (),
    ("run",),
    ("validate",),
    ("status",),
    ("pause",),
    ("resume",),
    ("restart",),
    ("plugins",),
    ("demo",),
    ("show",),
    ("send",),
    ("try",),
    ("dlq",),
    ("dlq", "show"),
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


def test_help_comes_at_once(tmp_path: Path) -> None:
    took = []
    for _ in range(3):
        started = time.perf_counter()
        command("--help", cwd=tmp_path)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.5  # 0.15 s on an idle machine


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
        (("run", "--workers", "0", "."), "Invalid value for '--workers'"),
        (("run", "--workers", "many", "."), "Invalid value for '--workers'"),
        (("run", "--log-level", "loud", "."), "`loud`: a level is debug, info, warning, error"),
        (("run", "--log-level", "nope=info", "."), "a component is daemon, worker"),
        (("status", "--http", "nowhere"), "`nowhere` is not HOST:PORT"),
        (("status", "--http", "127.0.0.1:99999"), "`127.0.0.1:99999` is not HOST:PORT"),
        (("pause",), "Missing argument 'NAME'"),
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
    assert done.stdout == "pipeline.yaml: orders-eur: exactly_once; operators: filter\n"


def test_bad_ones_are_all_named_and_good_ones_still_listed(tmp_path: Path) -> None:
    written(tmp_path, pipeline("name: good"), "good.yaml")
    written(tmp_path, pipeline("name: one", "workers: 0", "drain_timeout: 1"), "one.yaml")
    written(tmp_path, "a: [", "two.yaml")
    done = command("validate", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "good.yaml: good: exactly_once; operators: none\n"
    assert done.stderr.startswith("3 problems in the configuration\n\nerror[E106]: ")
    assert [line for line in done.stderr.splitlines() if "-->" in line] == [
        "  --> one.yaml:5:10",
        "  --> one.yaml:6:16",
        "  --> two.yaml:1:5",
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
    assert done.stdout == "pipeline.yaml: orders-eur: exactly_once; operators: convert\n"


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
    assert "BROKEN: sink number is of type float, not SinkPlugin" in lines["number"]
    written(tmp_path, pipeline())
    assert command("validate", ".", cwd=tmp_path).returncode == 0


# Talking to a daemon


@contextmanager
def answering(status_code: int, body: bytes) -> Iterator[str]:
    """Somebody else's server on a port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status_code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
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
    assert "error[E504]" in done.stderr
    assert address in done.stderr
    assert_readable(done)


@pytest.mark.parametrize(("code", "ends_with"), [("E505", 1), ("E506", 1), ("E100", 2)])
def test_what_the_daemon_refuses_is_passed_on(tmp_path: Path, code: str, ends_with: int) -> None:
    refusal = {"error": {"code": code, "what": "no pipeline `x`", "next_step": "look"}}
    with answering(404, json.dumps(refusal).encode()) as address:
        done = command("restart", "x", "--http", address, cwd=tmp_path)
    assert done.returncode == ends_with
    assert done.stderr == f"error[{code}]: no pipeline `x`\n  next: look\n"


STATUS = {
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


def test_status_is_a_line_for_each_pipeline_and_its_troubles(tmp_path: Path) -> None:
    with answering(200, json.dumps(STATUS).encode()) as address:
        done = command("status", "--http", address, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == (
        "orders: failed (exactly_once), 2 workers, 4 partitions, 10,000 rec/s in, 1 out, "
        "lag 1,234 records, 5 s; 7 dead letters\n"
        "  trouble: a broker is away\n"
        "  error: [E301] Nobody answers. Next: Look.\n"
        "bills: preflight, to be paused, 0 workers, 0 partitions, 0 rec/s in, 0 out, "
        "lag unknown; 0 dead letters, 2 worker deaths\n"
    )


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
    assert_readable(done)


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    written(tmp_path, pipeline())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = command("run", ".", "--state-dir", "state", "--http", address, cwd=tmp_path)
    assert done.returncode == 1
    assert f"error[E503]: {address} cannot be served: Address already in use" in done.stderr
    assert_readable(done)


def test_a_broker_that_does_not_answer_is_named_within_30_s(tmp_path: Path) -> None:
    servers = f"127.0.0.1:{free_port()}"
    written(tmp_path, pipeline(f"kafka: {{bootstrap.servers: '{servers}'}}"))
    started = time.monotonic()
    done = command("run", ".", "--state-dir", "state", "--until-end", cwd=tmp_path)
    assert time.monotonic() - started < 30
    assert done.returncode == 1
    assert f"error[E301]: asking {servers} for its topics failed" in done.stderr
    assert "  next: Check bootstrap.servers" in done.stderr
    assert_readable(done)


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
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((200, 24)))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        progress = Progress(until_end=True)
        unknown = status("c", positions={})
        progress.show(view(status("a"), status("b", trouble="broker away"), unknown))
    assert screen.getvalue() == (
        "\r\x1b[2Ka: running, 5 rec/s, lag 10, 3 dead letters, 2 s to go"
        " | b: running, 5 rec/s, lag 10, 3 dead letters, 2 s to go (broker away)"
        " | c: running, 5 rec/s, 3 dead letters"
    )


def test_a_narrow_terminal_gets_a_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps is not written over: it would fill the screen."""
    screen = Stderr(terminal=True)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((20, 24)))
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
    screen = Stderr(terminal=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        Progress(until_end=True).finish(view(status("a", state=State.FINISHED)))
    assert screen.getvalue() == (
        "a: finished. 1,000 records in, 990 out, 7 dropped, 3 dead letters.\n"
        "  dead letters: 2 OperatorError in to_eur: ValueError: no rate (first: orders[1]@49)\n"
        "    kafka-etl dlq show /etc/orders.yaml orders/1/49\n"
    )
