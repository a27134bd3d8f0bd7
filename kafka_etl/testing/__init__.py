"""For tests of pipelines and plug-ins: pipelines on records in memory, and suites of tests.

`run_pipeline` and `run_operator` run a pipeline file, or one operator, on records of a test. For
plug-ins there are a broker in memory, and the suites that every plug-in must pass.

A suite is a class of tests. To run a suite, subclass it in a test module and define a fixture
`system` that returns the suite's access to the plug-in under test::

    class TestMySink(SinkContract):
        @pytest.fixture
        def system(self) -> Iterator[SinkSystem]:
            yield MySinkSystem()

Under pytest a failure shows the compared values; this package does not need pytest, though.
"""
# ruff: noqa: E402 - pytest is told of the suites before they are imported

import pkgutil
import sys

_running = sys.modules.get("pytest")
if _running is not None:
    _suites = (module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    _running.register_assert_rewrite(*_suites)

from kafka_etl.testing.codec_contract import CodecContract, CodecSystem
from kafka_etl.testing.deployment import deployment
from kafka_etl.testing.memory import Answer, MemoryBroker, MemorySink, MemorySource
from kafka_etl.testing.memory_doors import (
    Kept,
    Lost,
    MemoryRollingStore,
    MemorySender,
    MemoryStore,
    MemoryTarget,
    MemoryWriter,
)
from kafka_etl.testing.pipelines import FailedRecord, PipelineRun, run_operator, run_pipeline
from kafka_etl.testing.row_contract import RowContract, RowSystem
from kafka_etl.testing.rows import rows
from kafka_etl.testing.sender_contract import SenderContract, SenderSystem
from kafka_etl.testing.sink_contract import SinkContract, SinkSystem
from kafka_etl.testing.source_contract import SourceContract, SourceSystem
from kafka_etl.testing.store_contract import RollingStoreContract, StoreContract, StoreSystem
from kafka_etl.testing.writer_contract import WriterContract, WriterSystem
from kafka_etl.trial.clock import Clock, FakeClock, Waited
from kafka_etl.trial.stored_record import StoredRecord

__all__ = [
    "Answer",
    "Clock",
    "CodecContract",
    "CodecSystem",
    "FailedRecord",
    "FakeClock",
    "Kept",
    "Lost",
    "MemoryBroker",
    "MemoryRollingStore",
    "MemorySender",
    "MemorySink",
    "MemorySource",
    "MemoryStore",
    "MemoryTarget",
    "MemoryWriter",
    "PipelineRun",
    "RollingStoreContract",
    "RowContract",
    "RowSystem",
    "SenderContract",
    "SenderSystem",
    "SinkContract",
    "SinkSystem",
    "SourceContract",
    "SourceSystem",
    "StoreContract",
    "StoreSystem",
    "StoredRecord",
    "Waited",
    "WriterContract",
    "WriterSystem",
    "deployment",
    "rows",
    "run_operator",
    "run_pipeline",
]
