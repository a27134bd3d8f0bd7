"""What an attempt may use: the limits of a task pipeline, and the errors of who exceeds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kafka_etl.tasks.head import Failure
from kafka_etl.units import show_duration

MEMORY_LIMIT: Final = "MemoryLimit"
CPU_LIMIT: Final = "CpuLimit"
MAX_RESULT: Final = 900_000
"""Bytes of the largest result, by default: its word fits where brokers take 1 MiB a record."""
AROUND_RESULT: Final = 2**16
"""Bytes of the word beside its result, at most."""
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one attempt, together with all processes that it starts.

    Attributes:
        memory: Bytes of memory; None: no limit.
        cpu: Seconds of CPU time; None: no limit.
    """

    memory: int | None = None
    cpu: float | None = None

    def __bool__(self) -> bool:
        return self.memory is not None or self.cpu is not None


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt uses.

    Attributes:
        memory: Bytes of memory.
        cpu: Seconds of CPU time since it began.
    """

    memory: int
    cpu: float


def excess(usage: Usage, limits: Limits) -> Failure | None:
    """The failure of an attempt that uses more than it may; None: it does not."""
    if limits.memory is not None and usage.memory > limits.memory:
        return out_of_memory(limits, f"used {_mib(usage.memory)}")
    if limits.cpu is not None and usage.cpu > limits.cpu:
        used, may = f"{usage.cpu:.1f}s", show_duration(limits.cpu)
        return Failure(
            CPU_LIMIT,
            f"the attempt used {used} of CPU time with its processes; `limits.cpu` is {may}",
        )
    return None


def out_of_memory(limits: Limits, said: str) -> Failure:
    """The failure of an attempt that has used too much memory."""
    may = "less" if limits.memory is None else _mib(limits.memory)
    return Failure(
        MEMORY_LIMIT,
        f"the attempt {said} of memory with its processes; `limits.memory` is {may}",
    )


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f}MiB"
