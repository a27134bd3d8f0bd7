"""The guarantee of a pipeline: what source, sink and dead letters hold together, and why."""

from __future__ import annotations

from kafka_etl.contracts import Guarantee, Label


def combined(sink: Label, *, letters_apart: bool) -> Label:
    """The label of a pipeline.

    Args:
        sink: What the sink promises.
        letters_apart: Whether dead letters are written outside of the sink's own transaction:
            before it, and so at least once.
    """
    if letters_apart and sink.guarantee is not Guarantee.AT_LEAST_ONCE:
        return Label(
            sink.guarantee,
            f"{sink.because}; dead letters are written before: at least once",
            sink.window,
        )
    return sink
