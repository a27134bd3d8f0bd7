"""What a worker makes of a pipeline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_etl.runtime.worker.assemble import smallest_slice


def pipeline(*operators: tuple[bool, int]) -> Any:
    return SimpleNamespace(
        source_settings=SimpleNamespace(batch=SimpleNamespace(max_records=500)),
        operators=[
            SimpleNamespace(shape=SimpleNamespace(mixes=mixes), concurrency=concurrency)
            for mixes, concurrency in operators
        ],
    )


@pytest.mark.parametrize(
    ("operators", "size"),
    [([], 1), ([(False, 1), (False, 64)], 64), ([(False, 1), (True, 1)], 500)],
)
def test_what_operators_see_at_once_is_run_at_once(
    operators: list[tuple[bool, int]], size: int
) -> None:
    assert smallest_slice(pipeline(*operators)) == size
