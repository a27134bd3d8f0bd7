"""What `kafka-etl broker start` says of the port."""

from __future__ import annotations

import pytest

from kafka_etl.broker import local
from kafka_etl.cli.broker import start


@pytest.mark.parametrize(
    ("port", "said"), [(9092, ""), (19093, "9092 is taken, so 19093. For pipelines with ${KAFKA")]
)
def test_another_port_than_the_usual_one_is_told(
    port: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = local.LocalBroker(1, port, "4.1.0", "broker.log")
    monkeypatch.setattr(local, "start", lambda *_: broker)
    start()
    told = capsys.readouterr()
    assert told.out == f"127.0.0.1:{port}\n"
    assert said in told.err
    assert bool(told.err.strip()) == bool(said)
