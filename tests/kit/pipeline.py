"""Writing a pipeline into a test's folder."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from tests.kit.kafka import Kafka

PICKY = """
    def picky(order: dict) -> dict:
        if order["id"] % 10 == 3:
            raise ValueError("no")
        return order
"""
"""An operator that refuses the orders 3, 13, 23, …"""


class Project:
    """A folder with one pipeline: its topics, its file, its operators.

    `code` is the text of `ops.py`; `operators` names them as the pipeline file does.
    """

    def __init__(
        self,
        folder: Path,
        kafka: Kafka,
        *,
        code: str = "",
        operators: list[Any] | None = None,
        partitions: int = 4,
        dead_letters: bool = True,
        source: dict[str, Any] | None = None,
        sink: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.folder = folder
        self.kafka = kafka
        self.name = kafka.name()
        self.source = kafka.topic(partitions)
        self.sink = kafka.topic(partitions)
        self.letters = f"{self.sink}.dlq"
        self.file = folder / "pipeline.yaml"
        self.spec: dict[str, Any] = {
            "name": self.name,
            "kafka": {"bootstrap.servers": kafka.bootstrap, **kafka.settings},
            "source": {
                "use": "kafka",
                "with": {"topics": [self.source], "value": "json", **(source or {})},
            },
            "operators": operators or [],
            "sink": {"use": "kafka", "with": {"topic": self.sink, "value": "json", **(sink or {})}},
            "retry": {"max_attempts": 3, "backoff": {"initial": "10ms"}},
        }
        if dead_letters:
            self.spec["dead_letter"] = {"topic": self.letters}
        self.spec.update(more)
        self.write_code(code)
        self.write()

    def write(self) -> None:
        self.file.write_text(json.dumps(self.spec, indent=2))  # JSON is YAML

    def write_code(self, code: str) -> None:
        (self.folder / "ops.py").write_text(textwrap.dedent(code))

    def produce(self, records: Any, **settings: Any) -> None:
        self.kafka.produce(self.source, records, **settings)

    def outputs(self) -> list[Any]:
        """Values of the sink topic, decoded, partition by partition."""
        return [
            None if r.value is None else json.loads(r.value) for r in self.kafka.read(self.sink)
        ]

    def dead_letters(self) -> list[Any]:
        return self.kafka.read(self.letters)

    def lag(self) -> int:
        """Records, markers included, that the group has not committed."""
        ends = self.kafka.ends(self.source)
        committed = self.kafka.committed(self.name, self.source)
        return sum(end - max(0, committed.get(n, 0)) for n, end in ends.items())


def orders(count: int, keys: int = 50) -> list[tuple[str, str]]:
    """(key, JSON) of `count` orders with ids 0, 1, 2, …"""
    return [
        (f"k{i % keys}", json.dumps({"id": i, "amount": i % 100 + 0.5, "currency": "USD"}))
        for i in range(count)
    ]
