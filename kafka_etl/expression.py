"""The expressions of pipeline files: `where: "value.currency == 'USD' and value.amount > 10"`.

Python's own syntax over the seven names of `NAMES`, cut down to a closed list of nodes and
functions. An expression is parsed and checked when the pipeline file is loaded, rewritten to plain
subscripts and compiled to one Python function: nothing of ours runs between its terms. What is not
on the list (methods, lambdas, comprehensions, `**`) is refused with its column.

The same language over other names has another `Vocabulary`; see `conditions`.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kafka_etl.functions.declare import DROP
from kafka_etl.record import Headers, Record
from kafka_etl.spelling import did_you_mean
from kafka_etl.vocabulary import Comparison, Vocabulary

NAMES: Final = ("value", "key", "headers", "topic", "partition", "offset", "timestamp")
"""What an expression may look at."""

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 64
_WRITTEN: Final = "<as written>"


class ExpressionError(ValueError):
    """The expression is not one.

    Args:
        message: What is wrong and what would be right.
        column: Where, counted in characters from 1.
    """

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message, column)
        self.message = message
        self.column = column

    def __str__(self) -> str:
        return f"column {self.column}: {self.message}"


@dataclass(frozen=True, slots=True, repr=False)
class Expression:
    """A checked expression; as the type of a setting it is written as text.

    Attributes:
        source: As written, without surrounding blanks. Equality, hash and pickle go by it.
        names: Which of `NAMES` it uses.
        nullable: Whether a tombstone can answer it: it compares `value` itself with null, or
            does not use `value` at all.

    Raises:
        ExpressionError: Naming the column, what is wrong and what is allowed.
    """

    source: str
    names: frozenset[str] = field(init=False, compare=False)
    nullable: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", self.source.strip())
        _, rewriter = _compiled(self.source, "record")
        object.__setattr__(self, "names", frozenset(rewriter.names))
        object.__setattr__(self, "nullable", rewriter.asks_null or "value" not in rewriter.names)

    @property
    def value_only(self) -> bool:
        """Whether the value alone decides, so that no `Record` is needed."""
        return self.names <= {"value"}

    def on_value(self) -> Callable[[Any], Any]:
        """The expression as a function of the value.

        Raises:
            ValueError: It uses more than the value.
        """
        return self._of_value("TEST")

    def on_record(self) -> Callable[[Record], Any]:
        """The expression as a function of the record."""
        return _compiled(self.source, "record")[0]

    def value_filter(self) -> Callable[[Any], Any]:
        """An operator that keeps the values for which the expression is true."""
        # A list given by an operator is several outputs: a value that is one goes into another.
        return self._of_value("([value] if isinstance(value, list) else value) if TEST else DROP")

    def record_filter(self) -> Callable[[Record], Any]:
        """An operator that keeps the records for which the expression is true."""
        return _compiled(self.source, "record", "record if TEST else DROP")[0]

    def _of_value(self, form: str) -> Callable[[Any], Any]:
        if not self.value_only:
            others = ", ".join(sorted(self.names - {"value"}))
            raise ValueError(f"`{self}` looks at more than the value: {others}")
        return _compiled(self.source, "value", form)[0]

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return Expression, (self.source,)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source_type: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda given, as_text: given if isinstance(given, cls) else cls(as_text(given)),
            core_schema.str_schema(),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "title": "expression"}


def _as_text(data: Any) -> Any:
    """Bytes as text, so that keys and headers compare with constants; other bytes as they are."""
    if isinstance(data, bytes):
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data
    return data


def _headers(pairs: Headers) -> Mapping[str, Any]:
    """Header name -> its last value; None for a name that is not there."""
    return defaultdict(types.NoneType, ((name, _as_text(value)) for name, value in pairs))


def _str(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _get(found: Any, path: tuple[Any, ...], default: Any = None) -> Any:
    """Follow `path`; the default where it ends early or at null."""
    for part in path:
        try:
            found = found[part]
        except (LookupError, TypeError):
            return default
    return default if found is None else found


_MANY: Final = MAX_LENGTH
_FUNCTIONS: Final[Mapping[str, tuple[Callable[..., Any], int, int]]] = {
    "abs": (abs, 1, 1),
    "bool": (bool, 1, 1),
    "endswith": (str.endswith, 2, 2),
    "float": (float, 1, 1),
    "get": (_get, 1, 2),
    "has": (_get, 1, 1),
    "int": (int, 1, 1),
    "len": (len, 1, 1),
    "lower": (str.lower, 1, 1),
    "matches": (re.search, 2, 2),
    "max": (max, 1, _MANY),
    "min": (min, 1, _MANY),
    "round": (round, 1, 2),
    "startswith": (str.startswith, 2, 2),
    "str": (_str, 1, 1),
    "strip": (str.strip, 1, 1),
    "upper": (str.upper, 1, 1),
}
"""Each function with the fewest and the most arguments it takes."""

_GLOBALS: Final[Mapping[str, Any]] = {
    "__builtins__": {},
    "_as_text": _as_text,
    "_headers": _headers,
    "DROP": DROP,
    "isinstance": isinstance,
    "list": list,
    **{name: function for name, (function, _, _) in _FUNCTIONS.items()},
}
"""What compiled functions see; an expression can only name those of `_FUNCTIONS`."""

Parameter = Literal["value", "record"]


_VOCABULARIES: Final[Mapping[Parameter, Vocabulary]] = {
    "value": Vocabulary("value", {"value": "value"}),
    "record": Vocabulary(
        "record",
        {name: f"record.{name}" for name in NAMES}
        | {"key": "_as_text(record.key)", "headers": "_headers(record.headers)"},
    ),
}

_SYMBOLS: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "=",
    ast.NotEq: "!=",
}
_LARGEST: Final = 2**53

_LANGUAGE: Final = "there are: and or not, comparisons, in, + - * / // %, if else, functions"
_CONSTANTS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None}

_ALLOWED: Final[frozenset[type[ast.AST]]] = frozenset(
    {ast.Name, ast.Constant, ast.Load, ast.Attribute, ast.Subscript, ast.Slice, ast.Call}
    | {ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.IfExp}
    | {ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE}
    | {ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.List, ast.Tuple, ast.Set}
    | {ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod}
)

_WRITE: Final[Mapping[str, str]] = (
    {"=": "==", "<>": "!=", "&": "and", "|": "or", "!": "not"}
    | {"AND": "and", "OR": "or", "NOT": "not"}
    | {"BitAnd": "and", "BitOr": "or", "Invert": "not"}
)
"""What other languages write, or Python's name for it -> what is written here."""


class Bound(NamedTuple):
    """A comparison of a column of a table to a constant, which a database does faster."""

    column: str
    symbol: str
    constant: int | str


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the terms that `and` joins at the top of an expression.

    Attributes:
        test: Function of the vocabulary's parameters.
        names: The names that the term uses; a known field stands as `name.field`.
        code: The body of `test`.
    """

    test: Callable[..., Any]
    names: frozenset[str]
    code: ast.expr

    def bound(self, columns: Mapping[str, type]) -> Bound | None:
        """The term as a comparison of `row.COLUMN` to a constant; None: the term is another.

        Args:
            columns: Column that may be compared -> the type of all its values, `int` or `str`.
        """
        match self.code:
            case ast.Compare(
                left=ast.Attribute(value=ast.Name(id="row"), attr=column),
                ops=[operator],
                comparators=[ast.Constant(value=int() | str() as constant)],
            ) if type(constant) is columns.get(column) and _is_portable(constant):
                symbol = _SYMBOLS.get(type(operator))
                return None if symbol is None else Bound(column, symbol, constant)
            case _:
                return None


def _is_portable(constant: int | str) -> bool:
    """Whether a database takes the constant as it is."""
    return constant.isprintable() if isinstance(constant, str) else abs(constant) < _LARGEST


def conditions(source: str, vocabulary: Vocabulary) -> tuple[str, list[Condition]]:
    """The expression in a form that means the same for ever, and its terms that `and` joins.

    Raises:
        ExpressionError: Naming the column, what is wrong and what is allowed.
    """
    text = _one_line(source)
    with _errors_explained(text):
        body = _checked(text)
        joined = isinstance(body, ast.BoolOp) and isinstance(body.op, ast.And)
        terms = cast("ast.BoolOp", body).values if joined else [body]
        made = [_function(text, term, vocabulary, "TEST") for term in terms]
    spans = [span for _, rewriter in made for span in rewriter.resolved]
    found = [Condition(test, frozenset(seen.names), seen.code) for test, seen in made]
    return _replaced(text, spans), found


def _replaced(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text with another constant in each span, whose ends are counted in bytes."""
    data = text.encode()
    for begin, end, constant in sorted(spans, reverse=True):
        data = data[:begin] + repr(constant).encode() + data[end:]
    return data.decode()


def _compiled(
    source: str, parameter: Parameter, form: str = "TEST"
) -> tuple[Callable[[Any], Any], _Rewriter]:
    """A function of `parameter` that gives `form`, in which TEST stands for the expression."""
    text = _one_line(source)
    with _errors_explained(text):
        body = _checked(text)
        function, rewriter = _function(text, body, _VOCABULARIES[parameter], form)
    function.__annotations__ = {parameter: Any if parameter == "value" else Record, "return": Any}
    return function, rewriter


def _one_line(source: str) -> str:
    return source.replace("\r", " ").replace("\n", " ")


def _checked(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH:,} characters", MAX_LENGTH + 1)
    body = ast.parse(text, _WRITTEN, "eval").body
    _check_whole(body, text)
    return body


def _function(
    text: str, body: ast.expr, vocabulary: Vocabulary, form: str
) -> tuple[types.FunctionType, _Rewriter]:
    rewriter = _Rewriter(text, vocabulary)
    rewriter.code = rewriter.visit(body)
    test = ast.unparse(rewriter.code)
    code = f"lambda {vocabulary.parameters}: {form.replace('TEST', f'({test})')}"
    compiled = compile(code, f"<expression {text:.80}>", "eval")
    function = cast("types.FunctionType", eval(compiled, rewriter.globals))  # noqa: S307 - checked
    function.__dict__["expression"] = rewriter.code  # for the engine, to explain errors
    return function, rewriter


@contextmanager
def _errors_explained(text: str) -> Generator[None]:
    """Whatever the parser and the compiler say about `text`, as an `ExpressionError`.

    A warning is an error: all there are tell of a mistake, such as a lost backslash.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except ExpressionError:
        raise
    except SyntaxError as error:
        raise _explained(error, text) from None
    except (RecursionError, MemoryError):
        raise ExpressionError("nested too deep", 1) from None
    except (ValueError, Warning) as error:
        raise ExpressionError(f"not a text that can be read: {error}", 1) from None


def _explained(error: SyntaxError, text: str) -> ExpressionError:
    column = error.offset or len(text) + 1
    word = re.findall(r"\w+|<>|.|$", text[column - 1 :])[0]
    if error.filename != _WRITTEN:
        return ExpressionError(error.msg, 1)  # of a warning about what was made of the text
    if keyword.iskeyword(word) and text[: column - 1].rstrip().endswith("."):
        hint = f"`{word}` is a word of the language; write the field as [{word!r}]"
    elif word in _WRITE:
        hint = f"`{word}` is not known here; write `{_WRITE[word]}`"
    elif "escape" in error.msg:
        hint = f"{error.msg}; write the text as r'...' to keep its backslashes"
    else:
        said = "this is not how an expression goes on; one is `value.amount > 10 and key != 'a'`"
        hint = said if error.msg == "invalid syntax" else error.msg
        hint = hint if word else "the expression ends too early"
    return ExpressionError(hint, min(column, len(text) + 1))


def _check_whole(body: ast.expr, text: str) -> None:
    """Nothing is left out, and nothing is nested so deep that it could exhaust the stack."""
    end = len(text.encode()[: body.end_col_offset].decode())
    if "#" in text[end:]:
        raise ExpressionError("a comment would hide what follows", text.index("#", end) + 1)
    if isinstance(body, ast.Tuple):
        raise ExpressionError("a list of tests is always true; join them with `and`", 1)
    level: list[ast.AST] = [body]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise ExpressionError(f"nested more than {MAX_DEPTH} deep", 1)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


class _Rewriter(ast.NodeTransformer):
    """Turns what was parsed into plain Python, and keeps what it met on the way."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.names: set[str] = set()
        self.asks_null = False
        self.code: ast.expr = ast.Constant(None)
        self.resolved: list[tuple[int, int, str]] = []
        self.globals = dict(_GLOBALS)
        self._text = text
        self._vocabulary = vocabulary

    def visit(self, node: ast.AST) -> Any:
        for part in (node, *ast.iter_child_nodes(node)):
            if type(part) not in _ALLOWED:
                at = part if hasattr(part, "col_offset") else node
                shown = ast.get_source_segment(self._text, at) or ""
                write = _WRITE.get(type(part).__name__)
                hint = f"; write `{write}`" if write else ""
                raise self._error(at, f"`{shown:.40}` cannot stand here{hint}; {_LANGUAGE}")
        return super().visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in _CONSTANTS:
            return ast.Constant(_CONSTANTS[node.id])
        places = self._vocabulary.places
        if node.id not in places:
            near, names = self._vocabulary.guess(node.id), ", ".join(places)
            raise self._error(node, f"unknown name `{node.id}`; {near} Names: {names}")
        return self._found(node.id, places[node.id])

    def _found(self, name: str, place: str) -> ast.expr:
        self.names.add(name)
        return ast.parse(place, mode="eval").body

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        value = node.value
        if not isinstance(value, str | int | float | None):
            raise self._error(node, "constants are text, numbers, true, false and null")
        if isinstance(value, int | float) and not (math.isfinite(value) and value < 2**64):
            raise self._error(node, "the number is too large")
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._field(node.value, ast.Constant(node.attr)) or ast.Subscript(
            self.visit(node.value), ast.Constant(node.attr), ast.Load()
        )

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return self._field(node.value, node.slice) or self.generic_visit(node)

    def _field(self, owner: ast.expr, part: ast.expr) -> ast.expr | None:
        """The field of a name whose fields are known; None: the field of anything else."""
        name = part.value if isinstance(part, ast.Constant) else None
        if not isinstance(owner, ast.Name) or not isinstance(name, str):
            return None
        fields = self._vocabulary.fields.get(owner.id)
        if fields is None:
            return None
        if name not in fields:
            near = did_you_mean(name, fields)
            known = ", ".join(f"{owner.id}.{known}" for known in fields) or "none"
            said = f"`{owner.id}` has no field `{name:.40}`; {near} Fields: {known}"
            raise self._error(owner, said.replace("  ", " "))
        return self._found(f"{owner.id}.{name}", fields[name])

    def visit_Compare(self, node: ast.Compare) -> Any:
        operands = [ast.unparse(operand) for operand in (node.left, *node.comparators)]
        for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if isinstance(operator, ast.Is | ast.IsNot) and right not in ("None", "null"):
                raise self._error(node, "`is` goes with null only; write `==`")
            self.asks_null |= {left, right} in ({"value", "null"}, {"value", "None"})
        self._resolve(node)
        compared = list(Comparison.all_in(node))
        for comparison in compared:
            unknown = comparison.unknown_word(self._vocabulary)
            if unknown is not None:
                raise self._error(*unknown)
        is_one = len(compared) == len(node.ops) == 1
        if is_one and compared[0].is_by_ending(self._vocabulary):
            return self._by_ending(node, compared[0])
        return self.generic_visit(node)

    def _by_ending(self, node: ast.Compare, comparison: Comparison) -> ast.expr:
        """The comparison with the last part of a name; beside the whole, if there is a choice."""
        name = comparison.name
        ending = self._found(name, self._vocabulary.endings[name])
        if not comparison.is_choice:
            return ast.Compare(ending, node.ops, list(comparison.texts))
        choice = self.visit(node.comparators[0])
        tests: list[ast.expr] = [
            ast.Compare(side, node.ops, [choice]) for side in (self.visit(node.left), ending)
        ]
        return ast.BoolOp(ast.Or() if isinstance(node.ops[0], ast.In) else ast.And(), tests)

    def _resolve(self, node: ast.Compare) -> None:
        """Put numbers in the place of texts to which a name of `orders` is compared."""
        sides = [node.left, *node.comparators]
        for number, operator in enumerate(node.ops):
            for name, other in ((number, number + 1), (number + 1, number)):
                owner, text = sides[name], sides[other]
                if not isinstance(owner, ast.Name) or owner.id not in self._vocabulary.orders:
                    continue
                if isinstance(operator, ast.In | ast.NotIn) or _is_text(text):
                    sides[other] = self._ordered(owner.id, operator, text)
        node.left, *node.comparators = sides

    def _ordered(self, name: str, operator: ast.cmpop, text: ast.expr) -> ast.expr:
        if not isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            raise self._error(text, f"compare `{name}` with <, <=, > or >=")
        try:
            constant = str(cast("ast.Constant", text).value)
            number, lasting = self._vocabulary.orders[name](constant)
        except ValueError as error:
            raise self._error(text, str(error)) from None
        self.resolved.append((text.col_offset, text.end_col_offset or 0, lasting))
        return ast.Constant(number)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name, arguments = self._function(node), node.args
        fewest, most = _FUNCTIONS[name][1:]
        if not fewest <= len(arguments) <= most:
            wanted = fewest if fewest == most else f"{fewest} to {most}"
            raise self._error(node, f"`{name}` wants {wanted} argument(s), has {len(arguments)}")
        function = self._search(arguments.pop()) if name == "matches" else name
        given = self._path(name, arguments.pop(0)) if name in ("get", "has") else []
        given += map(self.visit, arguments)
        call = ast.Call(ast.Name(function, ast.Load()), given, [])
        if name in ("has", "matches"):
            return ast.Compare(call, [ast.IsNot()], [ast.Constant(None)])
        return call

    def _function(self, call: ast.Call) -> str:
        """The name of the function that is called."""
        node = call.func
        if isinstance(node, ast.Name) and node.id in _FUNCTIONS:
            return node.id
        if isinstance(node, ast.Attribute) and node.attr in _FUNCTIONS:
            given = ", ".join(map(ast.unparse, (node.value, *call.args)))
            given = "value.a.b" if node.attr in ("get", "has") else f"{given:.40}"
            raise self._error(node, f"values have no methods; write `{node.attr}({given})`")
        shown = ast.get_source_segment(self._text, node) or ""
        near = did_you_mean(shown, _FUNCTIONS)
        known = f"Functions: {', '.join(_FUNCTIONS)}"
        said = f"; {near} {known}" if near else f". {known}"
        raise self._error(node, f"`{shown:.40}` is not a function{said}")

    def _path(self, name: str, node: ast.expr) -> list[ast.expr]:
        """Where a path begins, and its parts as a tuple."""
        parts: list[ast.expr] = []
        at = node
        while isinstance(at, ast.Attribute | ast.Subscript):
            parts.insert(0, ast.Constant(at.attr) if isinstance(at, ast.Attribute) else at.slice)
            at = at.value
        if not isinstance(at, ast.Name) or any(isinstance(part, ast.Slice) for part in parts):
            raise self._error(node, f"`{name}` takes a field: `{name}(value.a.b)`")
        if name == "get" and not parts and at.id in ("value", "headers"):
            raise self._error(node, "`get` takes a field, then what to give where it is missing")
        self.asks_null |= at.id == "value" and not parts
        known = self._field(at, parts[0]) if parts else None
        if known is not None:
            return [known, ast.Tuple(list(map(self.visit, parts[1:])), ast.Load())]
        return [self.visit(at), ast.Tuple(list(map(self.visit, parts)), ast.Load())]

    def _search(self, pattern: ast.expr) -> str:
        """The name of a search with the regular expression, which is compiled here and now."""
        if not isinstance(pattern, ast.Constant) or not isinstance(pattern.value, str):
            raise self._error(pattern, "the regular expression must be a constant text")
        if "\b" in pattern.value:
            raise self._error(pattern, "`\\b` is a backspace here; write the text as r'...'")
        name = f"_search_{len(self.globals)}"
        try:
            self.globals[name] = re.compile(pattern.value).search
        except (re.error, OverflowError, RecursionError, Warning) as error:
            raise self._error(pattern, f"not a regular expression: {error}") from None
        return name

    def _error(self, node: ast.AST, message: str) -> ExpressionError:
        start = self._text.encode()[: getattr(node, "col_offset", 0)]
        return ExpressionError(message, len(start.decode()) + 1)
