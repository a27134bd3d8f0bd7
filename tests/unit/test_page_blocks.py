"""Every code block of every page is run by a test, or is checked here; quick, and without Kafka."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from importlib.metadata import metadata
from pathlib import Path
from unittest.mock import MagicMock

import certifi
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from kafka_etl.cli.app import app
from tests.kit.command_lines import PROGRAM, lines_of, mistake_in, programs_of
from tests.kit.pages import FENCED, ROOT, SITE, Block, commands_in_text, fenced

BLOCKS = [block for page in SITE for block in fenced(page)]

RUN_BY = {
    ("README.md", "sql"): "tests/sinks/postgres/test_readme.py",
    ("examples/06-transcode-videos/README.md", "console"): "tests/e2e/test_task_examples.py",
    ("examples/07-train-nightly/README.md", "console"): "tests/e2e/test_task_examples.py",
    ("examples/08-slow-queries-of-a-fleet/README.md", "console"): "tests/e2e/test_task_examples.py",
    ("docs/dead-letters/breaker.md", "json"): "tests/integration/dead_letters/test_breaker.py",
    ("docs/dead-letters/README.md", "sql"): "tests/sinks/test_database_files.py",
    ("docs/dead-letters/list.md", "console"): "tests/integration/dead_letters/test_dlq_list.py",
    ("docs/dead-letters/look.md", "text"): "tests/integration/dead_letters/test_look.py",
    (
        "docs/dead-letters/replay.md",
        "console",
    ): "tests/integration/dead_letters/test_replay_page.py",
    ("docs/dead-letters/replay.md", "json"): "tests/integration/dead_letters/test_replay_page.py",
    ("docs/errors.md", "console"): "tests/unit/test_explanations.py",
    ("docs/errors.md", "python"): "tests/unit/test_explanations.py",
    ("docs/errors.md", "yaml"): "tests/unit/test_explanations.py",
    ("docs/how-to/route.md", "console"): "tests/unit/trial/test_route.py",
    ("docs/how-to/route.md", "python"): "tests/unit/trial/test_route.py",
    ("docs/how-to/while-you-write.md", "console"): "tests/e2e/test_while_you_write.py",
    ("docs/how-to/while-you-write.md", "text"): "tests/unit/test_doctor.py",
    **{
        ("docs/how-to/package-an-operator.md", language): "tests/e2e/test_write_your_own.py"
        for language in ("console", "python", "toml", "yaml")
    },
    ("docs/sinks/objects.md", "python"): "tests/sinks/objects/test_page.py",
    ("docs/sinks/objects.md", "sql"): "tests/sinks/objects/test_page.py",
    ("docs/sinks/postgres.md", "sql"): "tests/sinks/postgres/test_page.py",
    **{
        ("docs/sinks/write-your-own.md", language): "tests/e2e/test_write_your_own.py"
        for language in ("console", "python", "toml", "yaml")
    },
    ("docs/tasks/commands.md", "console"): "tests/integration/tasks/test_task_commands.py",
    ("docs/tasks/http.md", "console"): "tests/integration/tasks/test_task_http.py",
    ("docs/testing.md", "console"): "tests/unit/trial/test_page.py",
    ("docs/testing.md", "python"): "tests/unit/trial/test_page.py",
    ("docs/tutorial.md", "console"): "tests/e2e/test_readme.py",
}
"""Page and language -> the test that runs these blocks, or compares them with what is printed."""

STREAM = {
    "name": "name: a-part",
    "kafka": "kafka: {bootstrap.servers: localhost:9092}",
    "source": "source: {use: kafka, with: {topics: [incoming], value: json}}",
    "sink": "sink: {use: kafka, with: {topic: outgoing, value: json}}",
}
TASK = {
    "name": "name: a-part",
    "mode": "mode: task",
    "kafka": STREAM["kafka"],
    "source": STREAM["source"],
    "operator": "operator: video:transcode",
    "on_success": "on_success: {use: kafka, with: {topic: films.ready}}",
    "on_failure": "on_failure: {topic: films.failed}",
}
"""What completes a part of a pipeline, and of a task pipeline."""

ENVIRONMENT = {
    "DATABASE": "postgresql://etl@localhost/shop",
    "HOOK": "http://localhost:8080/hook",
    "KAFKA_CA": certifi.where(),
    "LAKE": "s3://lake",
    "MNS": "https://1.mns.eu-central-1.aliyuncs.com",
    "MNS_ENDPOINT": "https://1.mns.eu-central-1.aliyuncs.com",
    "SHOP_URL": "https://shop.example",
}
"""Variables that must have a certain form; all others are a text."""

NAMES: Mapping[tuple[str, str], Mapping[str, object]] = {
    ("docs/tasks/pipelines.md", "def show("): {
        "context": MagicMock(),
        "film": "film.mov",
        "made": "film.webm",
        "seconds": 60,
    }
}
"""Page, and beginning of a part of a function -> what stands before it in the function."""

DIRECTIVES = {"{toctree}"}  # run by Sphinx: tests/e2e/test_docs.py
OTHER_PROGRAMS = {
    *("curl", "docker", "echo", "export", "grep", "kill", "kubectl", "pytest", "sed", "source"),
    *("install", "ln", "ls", "mv", "pip", "psql", "python", "python3", "systemctl", "useradd"),
    *("/opt/kafka-etl/bin/pip", ".venv/bin/python", "kafka-console-producer.sh"),
}
_TOP = re.compile(r"^(\w+):.*\n(?:[ #\n-].*\n?|\n)*", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FUNCTION = re.compile(r"\b(\w+):(\w+)\b(?=[\"'\]\n,}])")
_DRAWN = re.compile("[─│┌└▶▼▲]")


def runs(block: Block) -> bool:
    return (block.page, block.language) in RUN_BY


# What checks the blocks of a language


def check_yaml(block: Block, folder: Path) -> None:
    """A pipeline, or a part of one, which gets the parts that it lacks: `validate` takes it."""
    data = YAML(typ="safe").load(block.text)
    if "apiVersion" in data:
        check_manifest(data)
        return
    base = TASK if {"mode", "operator", "on_success"} & set(data) else STREAM
    given = [found[0] for found in _TOP.finditer(block.text)]
    text = "\n".join([*given, *(part for key, part in base.items() if key not in data)]) + "\n"
    if "registry" in data:
        (folder / "bill.avsc").write_text('{"type": "record", "name": "Bill", "fields": []}')
    (folder / "pipeline.yaml").write_text(text)
    write_functions(folder, block.page, text)
    env = dict.fromkeys(_VARIABLE.findall(text), "text-of-a-variable") | ENVIRONMENT
    here = Path.cwd()
    os.chdir(folder)
    try:
        done = CliRunner().invoke(app, ["validate", "pipeline.yaml"], env=env)
    finally:
        os.chdir(here)
    assert done.exit_code == 0, f"{block}\n{text}\n{done.output}"


def write_functions(folder: Path, page: str, pipeline: str) -> None:
    """The modules that a pipeline names: the page's own code, or functions that change nothing."""
    code = [block.text for block in fenced(page) if block.language == "python"]
    for module, function in set(_FUNCTION.findall(pipeline)):
        shown = rf"^(?:class|def|async def) {function}\b"
        own = [text for text in code if re.search(shown, text, re.MULTILINE)]
        other = f"def {function}(value: dict) -> dict:\n    return value\n"
        (folder / f"{module}.py").write_text(own[-1] if own else other)


def check_manifest(data: Mapping[str, object]) -> None:
    """A StatefulSet: its command parses, its volumes are there, and its image's user may write.

    The state folder is the one in which the image's commands look for the daemon.
    """
    spec = data["spec"]["template"]["spec"]  # type: ignore[index]
    (container,) = spec["containers"]
    assert mistake_in([PROGRAM, *map(str, container["args"])]) is None
    image = (ROOT / "deploy/Dockerfile").read_text()
    assert f"USER {spec['securityContext']['fsGroup']}\n" in image
    (state,) = [
        mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "state"
    ]
    assert f"VOLUME {state}\n" in image
    assert container["args"][container["args"].index("--state-dir") + 1] == state
    claimed = data["spec"].get("volumeClaimTemplates", [])  # type: ignore[attr-defined]
    volumes = {volume["name"] for volume in spec["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in claimed}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def check_python(block: Block, folder: Path) -> None:
    """The code is run, which defines its functions, and imports what they need."""
    begin = (name for name in NAMES if name[0] == block.page and block.text.startswith(name[1]))
    known = NAMES.get(next(begin, ("", "")), {})
    code = compile(block.text, str(block), "exec", dont_inherit=True)
    exec(code, {"__name__": "page", **known})  # noqa: S102


def check_commands(block: Block, _folder: Path) -> None:
    """Each command of `kafka-etl` is one that its command line takes; other programs are known."""
    prompt = block.language == "console"
    shown = [line for line in block.text.splitlines() if prompt and not line.startswith("$ ")]
    assert not shown or runs(block), f"{block}: nobody compares {shown[0]!r} with what is printed"
    for line in lines_of(block.text, prompt=prompt):
        for words in programs_of(line):
            check_program(words, f"{block}: {line}")


def check_schedule(block: Block, _folder: Path) -> None:
    """Lines of crontab: five times, and a command; in the system's own, a user between."""
    for line in block.text.splitlines():
        *times, command = line.split(maxsplit=5)
        assert all(re.fullmatch(r"[\d*/,-]+", part) for part in times), block
        user, _, behind = command.partition(" ")
        for words in programs_of(behind if user.isalpha() else command):
            check_program(words, f"{block}: {line}")


def check_program(words: list[str], place: str) -> None:
    if words[0] == PROGRAM:
        assert mistake_in(words) is None, f"{place}\n{mistake_in(words)}"
    elif re.match(r"\w+=", words[0]):
        return  # a variable of the shell
    elif words[0] == "make":
        target = rf"^{words[1]}:.*## "
        assert re.search(target, (ROOT / "Makefile").read_text(), re.MULTILINE), place
    else:
        assert words[0] in OTHER_PROGRAMS | {"flock"}, f"{place}: a program nobody knows"
        for word in words:
            if word.startswith(("deploy/", "requirements/")):
                assert (ROOT / word).exists(), place


def check_unit(block: Block, _folder: Path) -> None:
    """Parts of a systemd unit: sections, and a command that parses."""
    for line in block.text.splitlines():
        assert re.fullmatch(r"\[\w+\]|\w+=.*|#.*|", line), f"{block}: {line}"
        name, _, value = line.partition("=")
        if name == "ExecStart":
            first, *others = shlex.split(value)
            check_program([Path(first).name, *others], f"{block}: {line}")


def check_drawing(block: Block, _folder: Path) -> None:
    """A drawing or a tree of files in DESIGN.md, whose names tests/arch/test_design.py checks."""
    assert block.page == "DESIGN.md", f"{block}: give it a language"
    assert _DRAWN.search(block.text) or block.text.startswith("kafka_etl/"), block


CHECKS: Mapping[str, Callable[[Block, Path], None]] = {
    "yaml": check_yaml,
    "python": check_python,
    "sh": check_commands,
    "console": check_commands,
    "cron": check_schedule,
    "ini": check_unit,
    "": check_drawing,
}


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_every_block_of_a_page_is_run_or_checked(page: str, tmp_path: Path) -> None:
    for number, block in enumerate(block for block in BLOCKS if block.page == page):
        if block.language in DIRECTIVES:
            continue
        if block.language in {"sh", "console"} or not runs(block):
            assert block.language in CHECKS, f"{block}: nothing checks {block.language!r}"
            folder = tmp_path / str(number)
            folder.mkdir()
            CHECKS[block.language](block, folder)


@pytest.mark.parametrize(("page", "language"), RUN_BY)
def test_the_test_that_runs_a_block_is_there(page: str, language: str) -> None:
    assert any((block.page, block.language) == (page, language) for block in BLOCKS)
    if page != "docs/errors.md":  # made of what the test checks: tests/arch/test_errors.py
        named = page.removeprefix("examples/").removesuffix("/README.md")
        assert named in (ROOT / RUN_BY[page, language]).read_text()


@pytest.mark.parametrize("page", SITE)
def test_commands_in_sentences_are_some(page: str) -> None:
    """Arguments that a sentence leaves out may be required all the same."""
    listed = {line: mistake_in(shlex.split(line), whole=False) for line in commands_in_text(page)}
    assert {line: mistake for line, mistake in listed.items() if mistake} == {}


@pytest.mark.parametrize("page", SITE)
def test_extras_are_named_right(page: str) -> None:
    extras = set(metadata("kafka-etl").get_all("Provides-Extra") or [])
    named = re.findall(r"kafka-etl\[([\w,]+)\]", (ROOT / page).read_text())
    assert {extra for names in named for extra in names.split(",")} <= extras


def test_each_extra_is_on_the_page_about_them() -> None:
    text = (ROOT / "docs/install.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = {extra for row in rows for extra in re.findall(r"`(\w+)`", row)}
    assert named == set(metadata("kafka-etl").get_all("Provides-Extra") or [])


@pytest.mark.parametrize("page", SITE)
def test_commands_stand_in_blocks_with_a_language(page: str) -> None:
    """Indented code has no language, and so nobody checks it."""
    text = FENCED.sub("", (ROOT / page).read_text())
    assert re.findall(r"^\n(?:    |\t)(?:pip|kafka-etl|make|python) .*", text, re.MULTILINE) == []


@pytest.mark.parametrize("page", SITE)
def test_files_that_a_page_names_are_there(page: str) -> None:
    folders = "tests|docs|deploy|examples|requirements|kafka_etl"
    files = rf"`((?:{folders})/[\w./-]+)`(?!:\n)"  # with a colon, it is for the reader to write
    named = re.findall(files, (ROOT / page).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []
