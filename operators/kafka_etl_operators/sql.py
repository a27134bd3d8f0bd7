"""The operators `sql` and `polars`: polars runs queries and expressions over whole columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from pydantic import Field

from kafka_etl import operator
from kafka_etl.functions.declare import META_COLUMNS

_TABLE: Final = "batch"
_ROW: Final = "_row"
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_COMMENT: Final = re.compile(rf"({_QUOTED.pattern})|--[^\n]*|/\*.*?\*/", re.DOTALL)
_CLAUSES: Final = (
    r"(?:GROUP|ORDER)\s+BY|DISTINCT|LIMIT|OFFSET|JOIN|UNION|INTERSECT|EXCEPT|HAVING|OVER|QUALIFY"
)
_FUNCTIONS: Final = (
    "SUM|COUNT|AVG|MEAN|MIN|MAX|MEDIAN|FIRST|LAST|FIRST_VALUE|LAST_VALUE|STDDEV|STDEV|VARIANCE|VAR|"
    "QUANTILE|QUANTILE_CONT|QUANTILE_DISC|CORR|COVAR|COVAR_POP|ARRAY_AGG|STRING_AGG|LISTAGG|"
    "GROUP_CONCAT|ROW_NUMBER|RANK|DENSE_RANK|LAG|LEAD"
)
_MIXING: Final = re.compile(rf"\b({_CLAUSES})\b|\b({_FUNCTIONS})\s*\(", re.IGNORECASE)
_SELECT: Final = re.compile(r"^\s*SELECT\b", re.IGNORECASE)
_QUERY: Final = re.compile(r"^\s*(?:SELECT|WITH)\b", re.IGNORECASE)
_FILE: Final = re.compile(r"\b(READ_\w+)[\"`]?\s*\(", re.IGNORECASE)
_DECIMAL: Final = re.compile(
    r"\b(?:DECIMAL|DEC|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", re.IGNORECASE
)
_DIGITS: Final = 38
"""Most digits of a decimal; with more digits polars panics at the first record."""

_NO_COLUMN: Final = "no column named"
_NESTED: Final = re.compile(r"\bWITH\b|\bSELECT\b.*\bSELECT\b", re.IGNORECASE | re.DOTALL)


def sql(
    *,
    query: Annotated[str, Field(examples=["SELECT * FROM batch WHERE amount > 10"])],
    mixes: bool = False,
) -> Callable[[Any], Any]:
    """Run a query in SQL over the table `batch`, which has a row for each record.

    An example: `SELECT *, amount * 1.2 AS total FROM batch WHERE currency = 'EUR'`. Each row of the
    result is an output that keeps the key and the headers of its record. A query may also select
    the columns `_key`, `_timestamp`, `_partition`, `_offset` and `_headers`.

    A query that combines several rows (GROUP BY, ORDER BY, aggregates, …) combines the rows of one
    batch, and needs `mixes: true`: each output then belongs to all records of the batch.
    `batch` is the only table, and a query cannot open files. A query with an inner query needs
    `mixes: true`, or must select `_row`, which names the record of a row, in both.

    Args:
        query: A query in the SQL dialect of polars.
        mixes: Whether an output depends on more than one record.

    Raises:
        ValueError: The query is not valid SQL, or combines rows without `mixes: true`.
        ImportError: polars is missing: pip install 'kafka-etl[columnar]'.
    """
    pl = _polars()

    query = _without_comments(query)
    _check(pl, query)
    if not mixes:
        _check_rows(query)
    context = pl.SQLContext()
    statement = query

    @operator(takes="table", mixes=mixes, columns=[name for name in META_COLUMNS if name in query])
    def run(table: Any) -> Any:
        nonlocal statement
        context.register(_TABLE, _frame(pl, table))
        with _briefly(pl):
            plan = context.execute(statement)
            if not mixes and _ROW not in plan.collect_schema():
                statement = _SELECT.sub(f"SELECT {_ROW},", query, count=1)
                plan = context.execute(statement)
                if _ROW not in plan.collect_schema():
                    raise ValueError(f"the query does not select `{_ROW}` in its outermost part")
            return plan.collect()

    return run


def _check(pl: Any, query: str) -> None:
    """Refuse a query that does not parse, or names an unknown table, function or type.

    Unknown columns are not refused: the columns are known only from the first records on.
    """
    if not _QUERY.match(query):
        raise ValueError("a query begins with SELECT or WITH")
    _check_words(query)
    try:
        with _briefly(pl):
            pl.SQLContext({_TABLE: pl.LazyFrame()}).execute(query).collect_schema()
    except (pl.exceptions.SQLSyntaxError, pl.exceptions.SQLInterfaceError) as error:
        said = str(error)
        if not said.startswith(_NO_COLUMN):
            hint = f"; the records are the table `{_TABLE}`" if "relation" in said else ""
            raise ValueError(said + hint) from error
    except pl.exceptions.PolarsError:
        return  # the empty table has no columns


def _check_words(text: str) -> None:
    """Refuse functions that open files, and decimals that polars does not have."""
    opens = _FILE.search(_without_texts(text))
    if opens:
        raise ValueError(f"{opens[1].upper()} opens a file; the only table is `{_TABLE}`")
    for wanted in _DECIMAL.finditer(_QUOTED.sub("''", text)):
        digits, after_point = int(wanted[1]), int(wanted[2] or 0)
        if not max(1, after_point) <= digits <= _DIGITS:
            raise ValueError(
                f"there is no {wanted[0]}: it has 1 to {_DIGITS} digits, some of them after the "
                "point"
            )


def _check_rows(query: str) -> None:
    """Refuse a query whose rows cannot be traced to one record each."""
    found = _mixing_word(query)
    if found:
        raise ValueError(f"{found} looks at several records: say `mixes: true`")
    if _NESTED.search(_QUOTED.sub("''", query)) and _ROW not in query:
        raise ValueError(
            f"a query with another inside selects `{_ROW}` in both, or says `mixes: true`"
        )


def polars_expressions(
    *,
    filter: Annotated[  # noqa: A002 - its name in YAML
        str | None, Field(examples=["amount > 10"])
    ] = None,
    with_columns: dict[str, str] | None = None,
    select: dict[str, str] | None = None,
    drop: list[str] | None = None,
) -> Callable[[Any], Any]:
    """Filter records, and set, choose or leave out fields, by expressions over columns.

    Expressions are SQL expressions of `polars.sql_expr`: `amount * 1.2`, `currency = 'EUR'`,
    `UPPER(name)`, `CASE WHEN … END`. The settings are applied in the order below. Within
    `with_columns`, and within `select`, no expression sees a field that another expression sets.

    Args:
        filter: Condition of the records to keep.
        with_columns: Field -> expression for its value; the other fields stay.
        select: Field -> expression for its value; only these fields stay.
        drop: Fields to leave out.

    Raises:
        ValueError: An expression does not parse, or combines several records.
        ImportError: polars is missing: pip install 'kafka-etl[columnar]'.
    """
    pl = _polars()

    keep = None if filter is None else _expression(pl, filter)
    added = {name: _expression(pl, text) for name, text in (with_columns or {}).items()}
    chosen = {name: _expression(pl, text) for name, text in (select or {}).items()}
    texts = " ".join([filter or "", *(with_columns or {}).values(), *(select or {}).values()])
    wanted = [name for name in META_COLUMNS if name in texts]

    @operator(takes="table", columns=wanted)
    def compute(table: Any) -> Any:
        frame: Any = _frame(pl, table).lazy()
        if keep is not None:
            frame = frame.filter(keep)
        if added:
            frame = frame.with_columns(**added)
        if chosen:
            frame = frame.select(_ROW, **chosen)
        with _briefly(pl):
            return (frame.drop(drop) if drop else frame).collect()

    return compute


def _frame(pl: Any, table: Any) -> Any:
    """Convert the table to polars, and restore its names: polars renames a field without a name."""
    made = pl.from_arrow(table)
    made.columns = table.column_names
    return made


def _expression(pl: Any, text: str) -> Any:
    found = _mixing_word(text)
    if found:
        raise ValueError(
            f"`{text}`: {found} looks at several records; use `sql` with `mixes: true`"
        )
    _check_words(_without_comments(text))
    try:
        return pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"`{text}`: {_said(error)}") from error


@contextmanager
def _briefly(pl: Any) -> Generator[None]:
    """Cut the query plan, which may be pages long, from the errors of polars.

    A panic of polars becomes a RuntimeError.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise type(error)(_said(error)) from None
    except pl.exceptions.PanicException as panic:
        raise RuntimeError(f"polars gave up: {_said(panic)}") from None


def _said(error: BaseException) -> str:
    return str(error).split("\n\n", 1)[0]


def _polars() -> Any:
    """Import polars, which is an extra, only when an operator needs polars."""
    try:
        import polars as pl  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("polars is missing: pip install 'kafka-etl[columnar]'") from error
    return pl


def _without_comments(text: str) -> str:
    return _COMMENT.sub(lambda found: found[1] or " ", text)


def _without_texts(text: str) -> str:
    """Empty all texts in single quotes; names in double quotes stay."""
    return _QUOTED.sub(lambda found: found[0] if found[0].startswith('"') else "''", text)


def _mixing_word(text: str) -> str | None:
    """The first word that combines rows, outside quotes and comments; None: no such word."""
    found = _MIXING.search(_QUOTED.sub("''", _without_comments(text)))
    return None if found is None else (found[1] or found[2]).upper()
