"""For tests of pipelines and plug-ins: a broker in memory, and the suites every plug-in must pass.

A suite is a class of tests. To run a suite, subclass it in a test module and define a fixture
`system` that returns the suite's access to the plug-in under test::

    class TestMySink(SinkContract):
        @pytest.fixture
        def system(self) -> Iterator[SinkSystem]:
            yield MySinkSystem()

Call `pytest.register_assert_rewrite("kafka_etl.testing")` in `conftest.py`, so that failures show
the compared values.
"""

from kafka_etl.testing.codec_contract import CodecContract, CodecSystem
from kafka_etl.testing.memory import Answer, MemoryBroker, MemorySink, MemorySource, StoredRecord
from kafka_etl.testing.sink_contract import SinkContract, SinkSystem
from kafka_etl.testing.source_contract import SourceContract, SourceSystem
from kafka_etl.testing.writer_contract import WriterContract, WriterSystem

__all__ = [
    "Answer",
    "CodecContract",
    "CodecSystem",
    "MemoryBroker",
    "MemorySink",
    "MemorySource",
    "SinkContract",
    "SinkSystem",
    "SourceContract",
    "SourceSystem",
    "StoredRecord",
    "WriterContract",
    "WriterSystem",
]
