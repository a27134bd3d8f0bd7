"""The label of a sink: the guarantee that it holds with its settings, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass

from kafka_etl.contracts.settings import Guarantee


@dataclass(frozen=True, slots=True)
class Label:
    """What a sink promises to the readers of its target.

    Attributes:
        guarantee: The strongest guarantee that holds.
        because: The reason in a few words, such as "rows and offsets in one transaction".
        window: What bounds the guarantee, such as "2 minutes"; empty: nothing does.
    """

    guarantee: Guarantee
    because: str
    window: str = ""

    def __str__(self) -> str:
        within = f", within {self.window}" if self.window else ""
        return f"{self.guarantee} ({self.because}{within})"
