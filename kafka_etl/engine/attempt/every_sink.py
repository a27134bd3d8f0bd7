"""The last stage of an attempt whose results go to several sinks: each encodes all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from kafka_etl.engine.attempt.chain import LastStage
from kafka_etl.engine.rows.flow import Extras, Flow
from kafka_etl.invocation import Outputs


@dataclass(frozen=True, slots=True)
class EverySink:
    """The stages of several sinks as one; see `kafka_etl.engine.attempt.chain.LastStage`.

    Attributes:
        stages: (topic of the sink, its stage) for each sink.
    """

    stages: Sequence[tuple[str, LastStage]]

    def apply(self, flow: Flow) -> Outputs:
        """Make the outputs for every sink; a record that one cannot write goes to none."""
        parts = [_named(stage.apply(_copy(flow)), topic) for topic, stage in self.stages]
        sound = [
            part.take([at for at, origin in enumerate(_origins(part)) if origin not in flow.faults])
            for part in parts
        ]
        outputs = Outputs.joined(sound)
        outputs.origins = list(chain.from_iterable(map(_origins, sound)))
        return outputs


def _copy(flow: Flow) -> Flow:
    """The same entries, for a stage that changes them; faults are noted in the one place."""
    extras = Extras(*(None if c is None else list(c) for c in flow.extras.columns))
    sheet = None if flow.sheet is None else replace(flow.sheet)
    return replace(flow, values=list(flow.values), extras=extras, sheet=sheet)


def _named(outputs: Outputs, topic: str) -> Outputs:
    """The outputs, each with the topic that it goes to."""
    outputs.topics = [own or topic for own in outputs.topics or [None] * len(outputs)]
    return outputs


def _origins(outputs: Outputs) -> Sequence[int]:
    return range(len(outputs)) if outputs.origins is None else outputs.origins
