"""Mistakes in what a pipeline says of operators, and in the operators' own modules."""

from __future__ import annotations

import queue
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from kafka_etl.errors import Code
from tests.unit.config.project import findings_in, pipeline, place_of, places

OPS = """
    import enum
    from dataclasses import dataclass
    from kafka_etl import Record

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    def convert(order: dict, *, rate: float, colour: Colour = Colour.RED) -> dict:
        return order

    def text(value: str) -> str:
        return value

    def raw(value: bytes) -> bytes:
        return value

    def unannotated(value):
        return value

    def takes_a_set(order: set) -> dict: ...

    def gives_none(order: dict) -> None: ...

    def two_records(one, other): ...

    def any_settings(order, **settings): ...

    async def waits(order): ...

    async def makes_one(): ...

    def batch(orders: list[dict]): ...

    def unresolved(order: "Nope") -> dict: ...

    def no_operator():
        return 5

    class Lookup:
        def __init__(self, *, url: str) -> None:
            raise ConnectionError("nobody answers")

        def __call__(self, order: dict) -> dict: ...

    class Quits:
        def __init__(self) -> None:
            raise SystemExit(0)

        def __call__(self, order: dict) -> dict: ...

    class ForRate:
        def __init__(self, rate: float) -> None: ...

        def __call__(self, order: dict) -> dict: ...

    @dataclass
    class Fields:
        rate: float

        def __call__(self, order: dict) -> dict: ...

    def of_orders(record: "Record[Fields]") -> dict: ...

    def with_default(order: dict, rate: float = 1.0) -> dict: ...

    class Uncallable:
        def __init__(self) -> None: ...

    class Odd:
        @property
        def __signature__(self):
            return 1 / 0

        def __call__(self, order: dict) -> dict: ...

    odd = Odd()

    RATE = 0.92
"""

MODULES = {
    "ops": OPS,
    "typo": "import jsn\n",
    "raises": "RATES = {}\nRATES['USD']\n",
    "quits": "raise SystemExit(0)\n",
    "syntax": "def to_eur(order)\n    return order\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    return tmp_path


@dataclass(frozen=True)
class Mistake:
    use: str
    code: Code
    says: str
    hint: str = ""


USES = [
    # the name
    Mistake("ops:convrt", Code.UNKNOWN_PLUGIN, "module ops has no `convrt`", "mean `convert`?"),
    Mistake("opps:convert", Code.UNKNOWN_PLUGIN, "there is no module `opps`", "mean `ops`?"),
    Mistake("shop.ops:x", Code.UNKNOWN_PLUGIN, "there is no module `shop`", "beside the pipeline"),
    Mistake("ops.py:text", Code.UNKNOWN_PLUGIN, "there is no module `ops.py`", "mean `ops`?"),
    Mistake("'ops:'", Code.UNKNOWN_PLUGIN, "`ops:` is not `module:name`", "a colon"),
    Mistake("':text'", Code.UNKNOWN_PLUGIN, "`:text` is not `module:name`", "a colon"),
    Mistake("'.ops:text'", Code.UNKNOWN_PLUGIN, "`.ops:text` is not `module:name`", "a colon"),
    Mistake("ops:text:x", Code.UNKNOWN_PLUGIN, "`ops:text:x` is not `module:name`", "a colon"),
    Mistake("ops", Code.UNKNOWN_PLUGIN, "there is no operator called `ops`; installed: explode"),
    Mistake("ops.text", Code.UNKNOWN_PLUGIN, "there is no operator", "did you mean `ops:text`?"),
    Mistake("queue:f", Code.UNKNOWN_PLUGIN, "module queue has no `f`"),
    # the module
    Mistake("typo:f", Code.BROKEN_PLUGIN, "importing module typo failed", "Fix the import"),
    Mistake("raises:f", Code.BROKEN_PLUGIN, "line 2, in <module>: KeyError: 'USD'"),
    Mistake("quits:f", Code.BROKEN_PLUGIN, "importing module quits failed"),
    Mistake("syntax:f", Code.BROKEN_PLUGIN, "SyntaxError: expected ':'"),
    # the signature
    Mistake("ops:RATE", Code.OPERATOR_SIGNATURE, "RATE is a float, not a function or class"),
    Mistake("ops:takes_a_set", Code.OPERATOR_SIGNATURE, "`order` is annotated with set", "dict"),
    Mistake("ops:gives_none", Code.OPERATOR_SIGNATURE, "would drop every record", "DROP"),
    Mistake("ops:two_records", Code.OPERATOR_SIGNATURE, "parameter `other` has no value", "*, oth"),
    Mistake("ops:ForRate", Code.OPERATOR_SIGNATURE, "parameter `rate` has no value", "*, rate"),
    Mistake("ops:Fields", Code.OPERATOR_SIGNATURE, "parameter `rate` has no value", "kw_only=True"),
    Mistake("ops:of_orders", Code.OPERATOR_SIGNATURE, "Record takes no class", "Correct the annot"),
    Mistake("ops:any_settings", Code.OPERATOR_SIGNATURE, "`**settings` cannot be checked"),
    Mistake("ops:makes_one", Code.OPERATOR_SIGNATURE, "without a parameter", "plain function"),
    Mistake("ops:unresolved", Code.OPERATOR_SIGNATURE, "`Nope` of `order` does not resolve"),
    Mistake(
        "ops:no_operator",
        Code.OPERATOR_SIGNATURE,
        "`no_operator()` has no parameter for the record",
    ),
    Mistake("ops:Uncallable", Code.OPERATOR_SIGNATURE, "Uncallable cannot be called with one"),
    Mistake("time:sleep", Code.OPERATOR_SIGNATURE, "no signature found"),
    Mistake("ops:odd", Code.OPERATOR_SIGNATURE, "ops:odd is no operator: ZeroDivisionError"),
]


@pytest.mark.parametrize("mistake", USES, ids=lambda mistake: mistake.use)
def test_an_operator_that_is_none_is_named_at_use(folder: Path, mistake: Mistake) -> None:
    text = pipeline(f"operators:\n  - timeout: 5s\n    use: »{mistake.use}")
    (finding,) = findings_in(folder, text)
    assert finding.code == mistake.code
    assert mistake.says in finding.message
    assert mistake.hint in finding.hint
    assert [place_of(finding)] == places(text)
    assert "Traceback" not in finding.render()


@pytest.mark.parametrize(
    ("file", "use", "says", "hint"),
    [
        ("queue.py", "queue:f", f"`queue` is Python's own module ({queue.__file__})", "queue.py"),
        ("json/__init__.py", "json:f", "`json` is Python's own module", "the folder json"),
        ("sys.py", "sys:f", "`sys` is Python's own module (built in)", "sys.py"),
        ("pydantic.py", "pydantic:f", "`pydantic` is another module", "pydantic.py"),
    ],
)
def test_a_file_that_another_module_hides_is_to_be_renamed(
    tmp_path: Path, file: str, use: str, says: str, hint: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("def f(value: dict) -> dict: ...")
    (finding,) = findings_in(tmp_path, pipeline(f"operators: [»'{use}']"))
    assert finding.code == Code.UNKNOWN_PLUGIN
    assert says in finding.message
    assert f"Rename {hint} beside the pipeline" in finding.hint


def test_a_failed_import_names_the_line_of_the_users_module(folder: Path) -> None:
    (finding,) = findings_in(folder, pipeline("operators: ['typo:f']"))
    assert f'"{folder}/typo.py", line 1' in finding.message
    assert "ModuleNotFoundError: No module named 'jsn'" in finding.message


@dataclass(frozen=True)
class WrongSetting:
    use: str
    settings: str
    says: str
    hint: str = ""


SETTINGS = [
    WrongSetting("ops:convert", "{»rat: 1, rate: 2}", "unknown key `rat`", "mean `rate`?"),
    WrongSetting(
        "ops:with_default", "{»rate: 2}", "unknown key `rate`", "put `*` before `rate` in the op"
    ),
    WrongSetting("ops:convert", "{rate: »fast}", "`rate` should be a number"),
    WrongSetting(
        "ops:convert",
        "{rate: 1, colour: »bleu}",
        "`colour` should be red or blue",
        "did you mean `blue`?",
    ),
    WrongSetting("ops:Lookup", "{url: »5}", "`url` should be text"),
    WrongSetting(
        "ops:Lookup",
        "»{url: 'http://x'}",
        "ops:Lookup does not accept these settings: ConnectionError: nobody answers",
    ),
    WrongSetting("ops:Quits", "»{}", "ops:Quits does not accept these settings: SystemExit: 0"),
    WrongSetting("fields", "»{keep: [a], drop: [b]}", "`keep` and `drop` exclude each other"),
    WrongSetting("fields", "{keep: »a}", "`keep` should be a list"),
    WrongSetting(
        "filter",
        "{where: »'value.amount > 10 and valu.x'}",
        "`where`: column 23: unknown name `valu`; did you mean `value`?",
    ),
    WrongSetting(
        "filter",
        "{where: »'value.a = 1'}",
        "`where`: column 9: `=` is not known here; write `==`",
    ),
    WrongSetting("filter", "{where: »''}", "`where`: column 1"),
    WrongSetting("filter", "{where: »5}", "`where`"),
]


@pytest.mark.parametrize("wrong", SETTINGS, ids=lambda wrong: f"{wrong.use} {wrong.settings}")
def test_a_wrong_setting_is_named_in_its_place(folder: Path, wrong: WrongSetting) -> None:
    text = pipeline(f"operators:\n  - use: {wrong.use}\n    with: {wrong.settings}")
    (finding,) = findings_in(folder, text)
    assert finding.code == (Code.UNKNOWN_KEY if "unknown key" in wrong.says else Code.INVALID_VALUE)
    assert wrong.says in finding.message
    assert wrong.hint in finding.hint
    assert [place_of(finding)] == places(text)


@pytest.mark.parametrize("use", ["ops:two_records", "ops:ForRate"])
def test_a_parameter_that_is_no_setting_is_named_with_settings_too(folder: Path, use: str) -> None:
    text = pipeline(f"operators:\n  - use: »{use}\n    with: {{other: 1, rate: 2}}")
    (finding,) = findings_in(folder, text)
    assert finding.code == Code.OPERATOR_SIGNATURE
    assert "Put `*` before it" in finding.hint


def test_a_pattern_says_what_is_wrong_with_it_and_where(folder: Path) -> None:
    code = "import re\ndef find(order: dict, *, pattern: re.Pattern[str]) -> dict: ..."
    (folder / "search.py").write_text(code)
    text = pipeline("operators: [{use: 'search:find', with: {pattern: »'a(b'}}]")
    (finding,) = findings_in(folder, text)
    assert [place_of(finding)] == places(text)
    assert finding.message == (
        "`pattern` is not a regular expression: missing ), unterminated subpattern at position 1"
    )


def test_a_missing_setting_is_named_at_the_operator(folder: Path) -> None:
    text = pipeline("operators:\n  - »use: ops:convert")
    (finding,) = findings_in(folder, text)
    assert (finding.code, finding.message) == (Code.MISSING_KEY, "`rate` is missing")
    assert [place_of(finding)] == places(text)
    assert finding.allowed == ("colour", "rate")


FITTING = [
    "[ops:text, ops:text]",
    "[ops:raw, ops:raw]",
    "[ops:unannotated, ops:text]",
]
MISFITS = [
    ("[ops:raw, »ops:text]", "operator text takes str, but raw before it gives bytes"),
    ("[ops:text, »ops:raw]", "operator raw takes bytes, but text before it gives str"),
    (
        "[{use: ops:convert, with: {rate: 1}}, {use: »ops:text}]",
        "operator text takes str, but convert before it gives dict",
    ),
]


@pytest.mark.parametrize("operators", FITTING)
def test_operators_that_fit_pass(folder: Path, operators: str) -> None:
    assert findings_in(folder, pipeline(f"operators: {operators}")) == []


@pytest.mark.parametrize(("operators", "says"), MISFITS)
def test_operators_that_do_not_fit_are_named(folder: Path, operators: str, says: str) -> None:
    text = pipeline(f"operators: {operators}")
    (finding,) = findings_in(folder, text)
    assert (finding.code, finding.message) == (Code.OPERATOR_TYPES_DIFFER, says)
    assert "change one of their annotations" in finding.hint
    assert [place_of(finding)] == places(text)


CONVERSION = "source: {use: kafka, with: {topics: [orders], value: %s}}"
WRITTEN = "sink: {use: kafka, with: {topic: orders-eur, value: »%s}}"


def test_without_operators_values_are_not_written_as_bytes(folder: Path) -> None:
    text = pipeline(CONVERSION % "json", WRITTEN % "bytes")
    (finding,) = findings_in(folder, text)
    assert [place_of(finding)] == places(text)
    assert finding.code == Code.OPERATORS_DO_NOT_FIT
    assert "cannot write the values that codec json makes" in finding.message
    assert "leave `value` out of the sink" in finding.hint


@pytest.mark.parametrize("part", ["value", "key"])
def test_a_codec_of_the_sink_that_would_do_nothing_is_named(folder: Path, part: str) -> None:
    sink = f"sink: {{use: kafka, with: {{topic: orders-eur, {part}: »json}}}}"
    text = pipeline("source: {use: kafka, with: {topics: [orders]}}", sink)
    (finding,) = findings_in(folder, text)
    assert [place_of(finding)] == places(text)
    assert finding.message == (
        f"codec json of the sink's {part} would do nothing: the source leaves the {part} as "
        "bytes, and no operator makes anything else of them"
    )
    assert f"source.with.{part}" in finding.hint


@pytest.mark.parametrize(
    ("source", "sink", "operators"),
    [
        ("bytes", "bytes", "[]"),
        ("text", "bytes", "[]"),
        ("json", "text", "[]"),
        ("json", "bytes", "[ops:raw]"),
        ("json", "bytes", "[{use: filter, with: {where: value == 'a'}}]"),
    ],
)
def test_what_may_become_bytes(folder: Path, source: str, sink: str, operators: str) -> None:
    blocks = [CONVERSION % source, WRITTEN % sink, f"operators: {operators}"]
    assert findings_in(folder, pipeline(*blocks)) == []


def test_a_broken_operator_does_not_hide_the_next(folder: Path) -> None:
    text = pipeline("operators: [»typo:f, »ops:nope, {use: ops:convert, with: {rate: »x}}]")
    assert [place_of(f) for f in findings_in(folder, text)] == places(text)


def test_a_retry_may_name_exceptions_of_the_users_module(folder: Path) -> None:
    (folder / "errors.py").write_text("class Flaky(Exception): ...\n")
    blocks = "retry: {never: ['errors:Flaky', errors.Flaky, json.JSONDecodeError, KeyError]}"
    assert findings_in(folder, pipeline(blocks)) == []


def test_an_exception_module_that_quits_does_not_end_the_check(folder: Path) -> None:
    (finding,) = findings_in(folder, pipeline("retry: {only: ['quits:Error']}"))
    assert finding.code == Code.BROKEN_PLUGIN


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ("use: ops:batch\n    concurrency: »4", "called once for all its records"),
        ("use: ops:text\n    order: »partition", "`order` means nothing without `concurrency`"),
        ("use: ops:text\n    concurrency: »0", "should be at least 1"),
        (
            "use: ops:text\n    concurrency: 2\n    order: »sideways",
            "should be key, partition or none",
        ),
        ("use: ops:text\n    isolation: »thread", "should be none or process"),
        (
            "use: ops:batch\n    isolation: process\n    concurrency: »4",
            "called once for all its records",
        ),
    ],
)
def test_concurrency_that_makes_no_sense_is_named(folder: Path, policies: str, says: str) -> None:
    text = pipeline(f"operators:\n  - {policies}")
    (finding,) = findings_in(folder, text)
    assert says in finding.message
    assert [place_of(finding)] == places(text)


def test_async_operators_may_be_run_many_at_a_time(folder: Path) -> None:
    text = "operators: [{use: ops:waits, concurrency: 64, order: partition, timeout: 5s}]"
    assert findings_in(folder, pipeline(text)) == []


@pytest.mark.parametrize(
    "policies",
    ["concurrency: 4, order: none", "timeout: 5s", "isolation: none"],
)
@pytest.mark.parametrize("operator", ["convert, with: {rate: 1.0}", "text", "waits"])
def test_operators_may_run_in_processes(folder: Path, operator: str, policies: str) -> None:
    isolation = "" if "isolation" in policies else "isolation: process, "
    text = f"operators: [{{use: ops:{operator}, {isolation}{policies}}}]"
    assert findings_in(folder, pipeline(text)) == []


def test_batch_operators_may_run_in_a_process(folder: Path) -> None:
    text = "operators: [{use: ops:batch, isolation: process}]"
    assert findings_in(folder, pipeline(text)) == []
