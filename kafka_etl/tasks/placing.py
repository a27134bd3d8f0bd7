"""Where the words of a task go: every writer names the partition itself, by one rule."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Literal
from zlib import crc32

Order = Literal["none", "key"]
"""`key`: tasks whose records have the same key run one after the other."""

_LONGEST_ROUTE: Final = 256


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
        route: The task's id; or the route of its record's key, where tasks of one key run in order.
        partitions: Number of partitions, which is fixed for life.
    """
    return crc32(route.encode("utf-8", "surrogatepass")) % partitions


def route_of(key: bytes | None) -> str:
    """What the tasks of one key have in common; empty: a record without a key waits for no other.

    A key that is a short text stands for itself, and any other by its digest.
    """
    if key is None:
        return ""
    text = key.decode("utf-8", "replace") if len(key) <= _LONGEST_ROUTE else ""
    if text and text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text:
        return text
    return f"sha256:{sha256(key).hexdigest()}"
