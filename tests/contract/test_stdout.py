"""Standard output, as the model for every other writer."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from kafka_etl.testing import WriterContract, WriterSystem
from kafka_etl_connectors.stdout.sink import StdoutSettings, StdoutWriter


class StdoutSystem(WriterSystem):
    def __init__(self) -> None:
        self.out = io.BytesIO()

    def writer(self) -> StdoutWriter:
        return StdoutWriter(StdoutSettings(), self.out)

    def written(self) -> Sequence[bytes | None]:
        return [None if line == b"null" else line for line in self.out.getvalue().splitlines()]


class TestStdoutWriter(WriterContract):
    @pytest.fixture
    def system(self) -> StdoutSystem:
        return StdoutSystem()
