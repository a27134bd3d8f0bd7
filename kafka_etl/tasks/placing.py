"""Where the words of a task go: every writer names the partition itself, by one rule."""

from __future__ import annotations

from zlib import crc32


def inbox_of(pipeline: str) -> str:
    """Topic of the words for a pipeline's tasks."""
    return f"{pipeline}.inbox"


def journal_of(pipeline: str) -> str:
    """Topic of the states of a pipeline's tasks."""
    return f"{pipeline}.journal"


def owners_of(pipeline: str) -> str:
    """Consumer group of the owners of a pipeline's tasks, and the name of their own pipeline."""
    return f"{pipeline}.tasks"


def deliveries_of(pipeline: str, destination: str) -> str:
    """Topic of what is on its way to a destination outside of the cluster."""
    return f"{pipeline}.deliveries.{destination}"


def undelivered_of(pipeline: str) -> str:
    """Topic of dead letters: what a destination outside of the cluster has refused."""
    return f"{pipeline}.undelivered"


def partition_of(route: str, partitions: int) -> int:
    """The partition of a task.

    Args:
        route: The task's id; or, where tasks of one key run in order, the key.
        partitions: Number of partitions, which is fixed for life.
    """
    return crc32(route.encode("utf-8", "surrogatepass")) % partitions
