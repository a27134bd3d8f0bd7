"""Parses YAML 1.2 into plain data: text, numbers, booleans, None, lists, mappings; with positions.

Scalars are resolved here by YAML's core schema, regardless of a `%YAML` directive: `no`, `12:30:45`
and dates stay text. Keys are always text.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Final, TypeGuard

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.tokens import (
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
)

from kafka_etl.config.report import Loc, Mark

_MAX_NODES: Final = 100_000  # aliases can multiply the nodes of a small file

_TAG: Final = "tag:yaml.org,2002:"
_MAPPING: Final = _TAG + "map"
_SEQUENCE: Final = _TAG + "seq"
_TEXT: Final = _TAG + "str"
_MERGE: Final = _TAG + "merge"
_SCALARS: Final = frozenset(
    _TAG + name for name in ("str", "null", "bool", "int", "float", "timestamp", "value", "merge")
)

_NAMES: Final = re.compile(r"(undefined (?:alias|tag handle)) '.*'")

_TYPOGRAPHIC: Final = re.compile("[\u201c\u201d\u201e\u2018\u2019]")
_NO_COLON: Final = "could not find expected ':'"
_INDENTED: Final = (
    "this line is indented differently from those it belongs to",
    "the lines of one mapping or list begin in the same column",
)
_IN_WORDS: Final = (
    ("'\\t'", ("a tab cannot stand here", "YAML indents with spaces, not tabs")),
    (
        "another document",
        (
            "another document begins here",
            "one file holds one pipeline: take out the `---`, or make two files",
        ),
    ),
    (_NO_COLON, ("no `:` follows this word", "write `key: value`, with a space after the `:`")),
    (
        "mapping values are not allowed here",
        (
            "there is a second `:`, or the line is indented differently from the one above",
            "put a space after each `:`, text with `: ` in quotes, and a mapping in one column",
        ),
    ),
    ("expected <block end>, but found '<block mapping start>'", _INDENTED),
    ("expected <block end>, but found '<block sequence start>'", _INDENTED),
    ("expected <block end>, but found '-'", _INDENTED),
    ("expected <block end>, but found '?'", _INDENTED),
    (
        "expected '<document start>'",
        ("this does not go on with what stands above", "begin each line of the top with `key:`"),
    ),
    (
        "expected <block end>, but found '<scalar>'",
        ("a value has ended before this", "put the whole value in quotes, or take out the rest"),
    ),
    (
        "expected <block end>, but found ','",
        (
            "this `,` is in no brackets",
            "put a space after the `:` in front of the brackets, or the whole value in quotes",
        ),
    ),
)
"""(part of the library's error, (the same in words, advice))."""

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {
    text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,100}|0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a text as YAML.

    Attributes:
        message: Text of the problem.
        mark: Position in the text; None: unknown.
        loc: Place in the document, as far as known.
        hint: Advice to the user.
    """

    message: str
    mark: Mark | None = None
    loc: Loc = ()
    hint: str = ""


@dataclass(slots=True)
class Parsed:
    """The result of parsing a text.

    Attributes:
        data: Plain data; None: the text is empty or cannot be parsed.
        keys: Place -> position of the place's key, or of the entry in a list.
        values: Place -> position of the place's value; for an alias or a merge key, the position
            at the anchor.
        problems: Problems of the text.
    """

    data: Any = None
    keys: dict[Loc, Mark] = field(default_factory=dict[Loc, Mark])
    values: dict[Loc, Mark] = field(default_factory=dict[Loc, Mark])
    problems: list[Problem] = field(default_factory=list[Problem])


def parse(text: str) -> Parsed:
    """Parse one YAML document; never raises."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows them
    try:
        root = yaml.compose(StringIO(text))
        return _Reader().read(root) if root is not None else Parsed()
    except RecursionError:
        problem = Problem("it is nested too deeply, or an alias stands for itself", Mark(1, 1))
    except _TooLarge:
        what = f"it holds more than {_MAX_NODES:,} values once its aliases are resolved"
        problem = Problem(what, Mark(1, 1))
    except ReaderError as error:
        problem = _unprintable(text, error)
    except MarkedYAMLError as error:
        problem = _unclosed(text, error) or _malformed(text, error)
    except (YAMLError, ValueError) as error:
        problem = Problem(f"not YAML: {error}")
    return Parsed(problems=[problem])


class _TooLarge(Exception):
    pass


class _Reader:
    """Turns the nodes of the YAML library into plain data and positions."""

    def __init__(self) -> None:
        self._parsed = Parsed()
        self._nodes = 0

    def read(self, root: Any) -> Parsed:
        self._parsed.keys[()] = _mark(root)
        self._parsed.data = self._plain(root, ())
        return self._parsed

    def _plain(self, node: Any, loc: Loc) -> Any:
        self._count()
        if node.tag == _MAPPING:
            return dict(self._entries(node, loc))
        if node.tag == _SEQUENCE:
            return [self._entry(i, item, item, loc) for i, item in enumerate(node.value)]
        if node.tag not in _SCALARS:
            hint = "leave it out, or put text that begins with ! in quotes"
            self._complain("a tag means nothing here", node, loc, hint)
            return None
        return _scalar(node)

    def _entry(self, part: str | int, key: Any, value: Any, loc: Loc) -> Any:
        place = (*loc, part)
        # For an empty value, the library gives the position of the next token.
        nothing = isinstance(value.value, str) and value.start_mark.index == value.end_mark.index
        self._parsed.keys[place] = _mark(key)
        self._parsed.values[place] = _mark(key if nothing else value)
        return self._plain(value, place)

    def _entries(self, node: Any, loc: Loc) -> Iterator[tuple[str, Any]]:
        """Yield the entries of a mapping: its own, then the entries merged in with `<<`."""
        seen: dict[str, int] = {}
        merged: list[Any] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += self._merged(value, loc)
            elif not isinstance(key.value, str):
                self._complain("a key should be text", key, loc)
            elif key.style is None and key.value.strip() != key.value:
                hint = "indent with plain spaces"
                self._complain("this key has a space that is not plain", key, loc, hint)
            elif key.value in seen:
                message = f"`{key.value}` stands here twice, first in line {seen[key.value]}"
                self._complain(message, key, (*loc, key.value), "keep one of them")
            else:
                seen[key.value] = _mark(key).line
                yield key.value, self._entry(key.value, key, value, loc)
        for key, value in merged:
            if key.value not in seen:
                seen[key.value] = 0
                yield key.value, self._entry(key.value, key, value, loc)

    def _merged(self, node: Any, loc: Loc) -> Iterator[tuple[Any, Any]]:
        """Yield the entries of a mapping, or of a list of mappings, after `<<`."""
        self._count()
        if node.tag == _SEQUENCE:
            for item in node.value:
                yield from self._merged(item, loc)
        elif node.tag != _MAPPING:
            self._complain("only a mapping, or a list of them, can be merged in", node, loc)
        else:
            for key, value in node.value:
                if key.tag != _MERGE and isinstance(key.value, str):
                    yield key, value
            for key, value in node.value:
                if key.tag == _MERGE:
                    yield from self._merged(value, loc)

    def _complain(self, message: str, node: Any, loc: Loc, hint: str = "") -> None:
        self._parsed.problems.append(Problem(message, _mark(node), loc, hint))

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _TooLarge


def is_mapping(data: Any) -> TypeGuard[dict[str, Any]]:
    """Whether parsed data is a mapping, whose keys are always text."""
    return isinstance(data, dict)


def is_list(data: Any) -> TypeGuard[list[Any]]:
    """Whether parsed data is a list."""
    return isinstance(data, list)


def _mark(node: Any) -> Mark:
    return _at(node.start_mark)


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.style is not None or node.tag == _TEXT:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    special = _SPECIAL_FLOAT.fullmatch(text)
    return float(text.replace(".", "")) if special else text


def _unprintable(text: str, error: Any) -> Problem:
    before = text[: error.position]
    mark = Mark(before.count("\n") + 1, error.position - before.rfind("\n"))
    return Problem(f"the character U+{error.character:04X} cannot stand in YAML", mark)


def _unclosed(text: str, error: Any) -> Problem | None:
    """Make the problem of a bracket or quote that is not closed; None: the error is another.

    The problem points at the beginning of the bracket or quote: the library's error points at the
    token where parsing failed.
    """
    context, problem, met = error.context or "", error.problem or "", error.problem_mark
    ended = "end of stream" in problem or "<stream end>" in problem
    if context == "while scanning a quoted scalar" and ended:
        return Problem(
            "not YAML: the quote that begins here is not closed", _at(error.context_mark)
        )
    if not context.startswith("while parsing a flow "):
        return None
    opened = _innermost_bracket(text) if ended else error.context_mark
    if opened is None or (not ended and met.line == opened.line):
        return None
    where = "" if ended else f", or a comma is missing, before line {met.line + 1}"
    return Problem(f"not YAML: the `{text[opened.index]}` here is not closed{where}", _at(opened))


def _innermost_bracket(text: str) -> Any:
    """Return the library's mark of the last bracket that is open at the end of the text."""
    yaml: Any = YAML(typ="safe", pure=True)
    opened: list[Any] = []
    with contextlib.suppress(YAMLError):
        for token in yaml.scan(StringIO(text)):
            if isinstance(token, FlowSequenceStartToken | FlowMappingStartToken):
                opened.append(token.start_mark)
            elif isinstance(token, FlowSequenceEndToken | FlowMappingEndToken) and opened:
                opened.pop()
    return opened[-1] if opened else None


def _at(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _malformed(text: str, error: Any) -> Problem:
    """Make the problem of a text that is no YAML, in words for people who write YAML."""
    met = error.problem or ""
    unfinished = "end of stream" in met  # then the beginning helps more
    at = error.context_mark if unfinished or _NO_COLON in met else None
    at = at or error.problem_mark or error.context_mark
    mark = _at(at) if at else None
    what = " ".join(part for part in (error.context, met) if part)
    said = next((words for part, words in _IN_WORDS if part in what), (what, ""))
    what, hint = said
    if name := _NAMES.search(what):  # hidden: the name may be an unquoted password
        what = what.replace(name[0], name[1])
        hint = "put text that begins with * or ! in quotes"
    elif what.endswith(("but found ']'", "but found '}'")):
        what = f"the `{what[-2]}` closes nothing"
        hint = "take it out, or put text with brackets in quotes"
    elif "but got" in what:
        hint = "put a `,` between two entries, and text with brackets in quotes"
    if mark and _TYPOGRAPHIC.search("".join(text.splitlines()[mark.line - 1 : mark.line])):
        hint = "write plain quotes, \" or ': YAML knows no others"
    return Problem(f"not YAML: {what}", mark, (), hint)
