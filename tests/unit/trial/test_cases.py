"""`kafka-etl test`: cases in the pipeline file and beside it, and those that fail."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kafka_etl.errors import ConfigError
from kafka_etl.trial.cases import Ran, read_suites, run_suite
from tests.kit.daemon import command

USD = "{value: {id: 1, amount: 10, currency: USD}}"
CAME = '{"id":1,"amount":10,"currency":"USD","amount_eur":9.200000000000001,"seen":1}'
PERMANENT = "kafka_etl.errors.Permanent"
PIPELINE = """
name: eur
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [orders], value: json}}
operators:
  - use: filter
    with: {where: "value.currency == 'USD'"}
  - use: "shop:to_eur"
    with: {rate: 0.92}
sink: {use: kafka, with: {topic: orders-eur, routes: [large]}}
retry: {backoff: {initial: 1h}}
"""
SHOP = """
from kafka_etl import Permanent, Record

print("shop is imported")
calls = 0

class to_eur:
    def __init__(self, *, rate: float) -> None:
        self.rate, self.seen = rate, 0

    def __call__(self, order: Record) -> Record:
        global calls
        calls += 1
        self.seen += 1
        print("order", order.value["id"])
        if order.value["amount"] < 0:
            raise Permanent("negative amount")
        if order.value.get("flaky"):
            raise TimeoutError(f"call {self.seen}")
        order.value["amount_eur"] = order.value["amount"] * self.rate
        order.value["seen"] = self.seen
        return order.to("large") if order.value["amount"] > 100 else order
"""
GOOD = """
tests:
  - name: converts dollars
    given:
      - {value: {id: 1, amount: 10.0, currency: USD}, key: 42, headers: {trace: abc}}
      - {value: {id: 2, amount: 10.0, currency: EUR}}
      - {value: {id: 3, amount: 1000, currency: USD}, headers: [{name: h, value_hex: "ff"}]}
    expect:
      - {value: {id: 1, amount_eur: 9.2, seen: 1}, key: 42, headers: {trace: abc}}
      - {value: {amount_eur: 920}, topic: large, headers: [{name: h, value_hex: "ff"}]}
    expect_dropped: 1
  - name: refuses
    given:
      - {value: {id: 1, amount: -1, currency: USD}}
      - {value_text: "{broken", partition: 3, offset: 9}
    expect_dead_letters:
      - error: {type: Permanent, message: negative}
        condition: OperatorError
        operator: to_eur
        value: {id: 1}
      - {condition: DecodeError, value_text: "{broken", partition: 3, offset: 9, operator: json}
  - name: waits for nothing
    given: [{value: {id: 1, amount: 1, currency: USD, flaky: true}}]
    expect_dead_letters: [{error: "TimeoutError: call 4", attempts: 4}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def ran(folder: Path, cases: str, **overrides: str) -> list[Ran]:
    (folder / "pipeline.tests.yaml").write_text(cases)
    (suite,) = read_suites([folder], {}, overrides)
    return run_suite(suite, lambda _case: True)


def problems(folder: Path, *entries: str) -> list[str]:
    """What is wrong with one case of these entries."""
    lines = "\n    ".join(("name: one", *entries))
    (one,) = ran(folder, f"tests:\n  - {lines}\n")
    return list(one.problems)


def test_cases_pass_at_once_with_retries_of_hours(folder: Path) -> None:
    began = time.monotonic()
    results = ran(folder, GOOD)
    assert [one.problems for one in results] == [[], [], []]
    assert time.monotonic() - began < 10


def test_each_case_has_new_operators_and_modules_are_imported_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = f"{{name: a, given: [{USD}], expect: [{{value: {{seen: 1}}}}]}}"
    assert [one.problems for one in ran(folder, f"tests: [{case}, {case}]")] == [[], []]
    said = capsys.readouterr()
    assert (said.out, said.err.count("shop is imported")) == ("", 1)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            [f"given: [{USD}]", "expect: [{value: {id: 2}, key: k}]"],
            ['output 1: key: expected "k", got null', "output 1: value.id: expected 2, got 1"],
        ),
        (
            [f"given: [{USD}]", "expect: []"],
            [f'output not expected: {{"topic":"orders-eur","value":{CAME}}}'],
        ),
        (
            [f"given: [{USD}]", f"expect: [{USD}, {{key: x}}]"],
            ['output missing: {"key":"x"}'],
        ),
        (
            [f"given: [{USD}]", "expect: [{}]", "expect_dropped: 1"],
            ["dropped: expected 1, got 0"],
        ),
        (
            [f"given: [{USD}]", "expect: [{}]", "expect_dead_letters: [{error: boom}]"],
            ['dead letter missing: {"error":"boom"}'],
        ),
        (
            [
                "given: [{value: {id: 1, amount: -1, currency: USD}}]",
                "expect_dead_letters:",
                "  - {error: {type: ValueError, message: no}, condition: Timeout}",
            ],
            [
                f'dead letter 1: error.type: expected "ValueError", got "{PERMANENT}"',
                'dead letter 1: error.message: expected a part "no", got "negative amount"',
                'dead letter 1: condition: expected "Timeout", got "OperatorError"',
            ],
        ),
        (
            [f"given: [{USD}]", "expect: [{timestamp: '2026-01-01'}]"],
            ['output 1: timestamp: expected "2026-01-01T00:00:00.000Z", got null'],
        ),
    ],
)
def test_a_difference_is_told(folder: Path, entries: list[str], said: list[str]) -> None:
    assert problems(folder, *entries) == said


def test_a_dead_letter_that_nobody_expected_is_told_with_its_place_in_the_code(
    folder: Path,
) -> None:
    (said,) = problems(folder, "given: [{value: {id: 1, amount: -1, currency: USD}}]", "expect: []")
    first, *frames, record = said.splitlines()
    assert first == (
        "dead letter not expected: OperatorError in to_eur: "
        "kafka_etl.errors.Permanent: negative amount"
    )
    assert f'File "{folder}/shop.py", line 17, in __call__' in frames[-1]
    assert record.startswith('  record: {"topic":"orders","partition":0,"offset":0,"value":{"id":1')


def test_large_cases_are_in_files(folder: Path) -> None:
    (folder / "given.jsonl").write_text(
        '{"topic": "orders", "partition": 1, "offset": 7, "timestamp": "2026-05-17T08:00:00.000Z",'
        ' "key": "k", "value": {"id": 1, "amount": 10, "currency": "USD"}, "headers": []}\n'
        '\n{"value_file": "big.json"}\n'
    )
    (folder / "big.json").write_text('{"id": 2, "amount": 1, "currency": "USD"}')
    (folder / "expect.jsonl").write_text('{"key": "k"}\n{"value_file": "big.json"}\n')
    assert problems(folder, "given: given.jsonl", "expect: expect.jsonl") == []
    (folder / "expect.jsonl").write_text('{"key": "k"}\n{"valeu": 1}\n')
    assert problems(folder, "given: given.jsonl", "expect: expect.jsonl") == [
        "expect: expect.jsonl:2: valeu: Extra inputs are not permitted"
    ]
    assert problems(folder, "given: nope.jsonl", "expect: []") == [
        f"given: {folder}/nope.jsonl: No such file or directory"
    ]
    assert problems(folder, f"given: [{USD}]", "expect: [{value_file: nope}]") == [
        f"value_file: {folder}/nope: No such file or directory"
    ]


@pytest.mark.parametrize("form", ["value_hex", "value_text", "value_file", "key_hex"])
def test_a_form_without_a_text_is_a_finding(folder: Path, form: str) -> None:
    with pytest.raises(ConfigError, match=f"`{form}` needs a text"):
        problems(folder, f"given: [{{{form}: null}}]", "expect: []")


def test_what_an_operator_prints_is_kept_with_its_case(folder: Path) -> None:
    (one,) = ran(folder, f"tests: [{{name: a, given: [{USD}], expect: []}}]")
    assert one.printed == "order 1\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise Unavailable('the shop is away')", "would wait or stop: the shop is away"),
        ("raise SystemExit(3)", "dead letter not expected: OperatorError in to_eur: SystemExit: 3"),
    ],
)
def test_what_ends_a_pipeline_fails_one_case(folder: Path, code: str, said: str) -> None:
    (folder / "shop.py").write_text(
        "from kafka_etl.contracts import Unavailable\n"
        f"def to_eur(order: dict, *, rate: float) -> dict:\n    {code}\n"
    )
    (found,) = problems(folder, f"given: [{USD}]", "expect: []")
    assert said in found


def test_an_operator_that_does_not_open_fails_its_case(folder: Path) -> None:
    (folder / "shop.py").write_text(
        "class to_eur:\n    def __init__(self, *, rate: float) -> None: ...\n"
        "    def open(self) -> None: raise OSError('no model')\n"
        "    def __call__(self, order: dict) -> dict: return order\n"
    )
    found = problems(folder, f"given: [{USD}]", "expect: []")
    assert found[0] == "OSError: no model"
    assert "in open" in found[-1]


def test_values_of_any_codec(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(
        PIPELINE.replace("operators:", "unused:").partition("unused:")[0].replace("json", "bytes")
        + "sink: {use: kafka, with: {topic: out}}\n"
    )
    entries = ["given: [{value: text}, {value: {a: 1}}, {value: 5, key: 7}, {value_hex: 00ff}]"]
    entries += ["expect: [{value: text}, {value: {a: 1}}, {value: 5, key: 7}, {value_hex: 00FF}]"]
    assert problems(folder, *entries) == []
    tombstone = ["given: [{key: a, value: null}]", "expect: [{value: null}]"]
    assert problems(folder, *tombstone) == []
    assert problems(folder, "given: [{value: a}]", "expect: [{value: null}]") == [
        'output 1: value: expected null, got "a"'
    ]


def test_a_value_that_the_codec_cannot_encode(folder: Path) -> None:
    given = "given: [{value: .nan, headers: [{name: h, value_hex: xy}]}]"
    assert problems(folder, given, "expect: []") == [
        "given[0].headers.h: no hex: non-hexadecimal number found in fromhex() arg at position 0"
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pipeline.tests.yaml", "tests:\n  - {name: a, given: []}\n", ":2:5"),
        (
            "pipeline.tests.yaml",
            "tests:\n  - {name: a, given: [], expct: []}\n",
            "did you mean `exp",
        ),
        ("pipeline.tests.yaml", "test: []\n", "unknown key `test`"),
        ("other.tests.yaml", GOOD, "there is no pipeline file other.yaml for these cases"),
    ],
)
def test_a_mistake_in_a_case_is_a_finding(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_suites([folder], {}, {})
    assert said in raised.value.what


def test_cases_in_the_pipeline_file_are_checked_by_validate_and_run(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE + GOOD)
    (suite,) = read_suites([folder / "pipeline.yaml"], {}, {})
    assert [one.problems for one in run_suite(suite, lambda _case: True)] == [[], [], []]
    assert suite.cases[0].line == PIPELINE.count("\n") + 3
    (suite,) = read_suites([folder / "pipeline.tests.yaml"], {}, {})
    assert len(suite.cases) == 3
    (folder / "pipeline.yaml").write_text(PIPELINE + "tests: [{name: a, given: []}]")
    done = command("validate", "pipeline.yaml", cwd=folder)
    assert "`tests[0]`: expects nothing: add `expect`" in done.stderr


def test_a_task_pipeline_has_cases_of_its_operator(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(
        "name: films\nmode: task\nkafka: {bootstrap.servers: 'localhost:1'}\n"
        "source: {use: kafka, with: {topics: [uploads], value: json}}\n"
        "operator: {use: 'shop:to_eur', with: {rate: 2}}\n"
        "on_success: {use: kafka, with: {topic: ready}}\non_failure: {topic: failed}\n"
        f"tests: [{{name: a, given: [{USD}], expect: [{{value: {{amount_eur: 20}}}}]}}]\n"
    )
    (suite,) = read_suites([folder / "pipeline.yaml"], {}, {})
    assert [one.problems for one in run_suite(suite, lambda _case: True)] == [[]]


# The command


@pytest.fixture
def failing(folder: Path) -> Path:
    bad = f"\n  - {{name: 'wrong <\\e>', given: [{USD}], expect: [{{value: {{id: 2}}}}]}}\n"
    (folder / "pipeline.tests.yaml").write_text(GOOD + bad.replace("'", '"'))
    return folder


def test_the_command_names_what_failed_and_ends_with_1(failing: Path) -> None:
    (failing / ".#eur.tests.yaml").symlink_to("me@here.1234")  # as Emacs marks a file
    nowhere = command("test", ".", "--junit", "none/results.xml", cwd=failing)
    assert nowhere.returncode == 2
    assert "none/results.xml cannot be written: No such file" in nowhere.stderr
    done = command("test", ".", "--junit", "results.xml", cwd=failing)
    assert done.returncode == 1
    line = GOOD.count("\n") + 2
    assert done.stdout.splitlines() == [
        f"FAILED pipeline.tests.yaml:{line}: wrong <\x1b>",
        "  output 1: value.id: expected 2, got 1",
        "  printed: order 1",
        "pipeline.yaml: eur: 3 passed, 1 failed",
    ]
    suite = ET.fromstring((failing / "results.xml").read_text())[0]  # noqa: S314 - our own
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("eur", "4", "1")
    wrong = suite[3]
    assert (wrong.get("name"), wrong.get("file")) == ("wrong <\ufffd>", "pipeline.tests.yaml")
    assert wrong[0].get("message") == "output 1: value.id: expected 2, got 1"


def test_a_case_is_chosen_and_none_is_no_success(failing: Path) -> None:
    done = command("test", "pipeline.yaml", "-k", "dollars", cwd=failing)
    assert (done.returncode, done.stdout) == (0, "pipeline.yaml: eur: 1 passed\n")
    none = command("test", "pipeline.yaml", "-k", "nope", cwd=failing)
    assert none.returncode == 2
    assert "there is no case to run" in none.stderr


def test_a_hundred_cases_take_well_below_a_second(folder: Path) -> None:
    """Of its own time; the limit has room for a busy machine."""
    case = (
        f"  - name: n\n    given: [{USD}]\n    expect: [{{value: {{id: 1}}, topic: orders-eur}}]\n"
    )
    began = time.process_time()
    results = ran(folder, "tests:\n" + case * 100)
    assert time.process_time() - began < 3
    assert not any(one.problems for one in results)
    assert len(results) == 100
