"""What libraries alone take for the columns of a scenario: the least that any way around them does.

The same calls as the codecs make, on values that are known to be good, without keys, headers, or a
thought of what may go wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from tests.bench.scenarios import Scenario

Columns = Callable[[Sequence[bytes]], list[bytes]]


def columns(scenario: Scenario, operator: Callable[[Any], Any]) -> Columns:
    """From the values of records to those of outputs."""
    return (
        _json(operator) if scenario.schema is None else _avro(operator, json.dumps(scenario.schema))
    )


def _json(operator: Callable[[Any], Any]) -> Columns:
    import polars as pl  # noqa: PLC0415 - of the scenarios with columns
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow.json import ReadOptions, read_json  # noqa: PLC0415

    def run(values: Sequence[bytes]) -> list[bytes]:
        lines = b"\n".join(values)
        options = ReadOptions(use_threads=False, block_size=len(lines) + 1)
        table = read_json(pa.BufferReader(lines), read_options=options)
        frame = operator(pl.from_arrow(table))
        texts = frame.select(pl.struct(pl.all()).struct.json_encode().cast(pl.Binary))
        written: list[bytes] = texts.to_series().to_list()
        return written

    return run


def _avro(operator: Callable[[Any], Any], schema: str) -> Columns:
    import polars as pl  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyruhvro  # type: ignore[import-untyped] # noqa: PLC0415

    payload = itemgetter(slice(5, None))
    wanted = pyruhvro.avro_to_arrow_schema(schema)

    def run(values: Sequence[bytes]) -> list[bytes]:
        rows = pyruhvro.deserialize_array(list(map(payload, values)), schema)
        frame = operator(pl.from_arrow(pa.Table.from_batches([rows])))
        (batch,) = frame.to_arrow().cast(wanted).combine_chunks().to_batches()
        written: list[bytes] = pyruhvro.serialize_record_batch(batch, schema, 1)[0].to_pylist()
        return written

    return run
