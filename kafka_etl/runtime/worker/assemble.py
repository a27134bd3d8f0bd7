"""From a built pipeline to the parts that one worker runs."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final, cast

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment, Guarantee, Preflight, Pulse, Sink, Source, Writer
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.attempt.decode import decode_for
from kafka_etl.engine.attempt.encode import Encode
from kafka_etl.engine.attempt.operate import operate_all
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.sink import FollowedSink

_SLACK: Final = 60.0
_SLICE: Final = 1.0


def deployment_of(pipeline: Pipeline, member: str, preflight: Preflight) -> Deployment:
    """Where and as whom this worker runs."""
    spec = pipeline.spec
    patience = _SLACK + sum(operator.timeout or 0.0 for operator in pipeline.operators)
    letters = spec.dead_letter
    return Deployment(
        pipeline=spec.name,
        member=member,
        kafka=spec.kafka,
        # A slow operator is bounded by its timeout, not by the client throwing the worker out.
        consumer={"max.poll.interval.ms": int(max(300.0, patience) * 1000), **spec.consumer},
        producer=spec.producer,
        provenance=Provenance(
            pipeline=spec.name,
            config_hash=pipeline.config_hash,
            group=str(getattr(pipeline.source_settings, "group", None) or spec.name),
            worker=member,
            host=socket.gethostname(),
            pid=os.getpid(),
            kafka_etl=version("kafka-etl"),
            python=platform.python_version(),
            versions={operator.name: operator.version for operator in pipeline.operators},
        ),
        dead_letter_topic=letters.topic if letters else None,
        size_limits=preflight.size_limits,
        partitions=preflight.partitions,
    )


def make_chain(
    pipeline: Pipeline,
    size_limits: Mapping[str, int],
    entering: Callable[[int], None],
    pools: Pools,
) -> Chain:
    """The stages of the pipeline, with what the brokers allow."""
    settings = pipeline.sink_settings
    topics = settings.topics
    codecs = pipeline.codecs
    return Chain(
        decode=decode_for(
            pipeline.operators,
            codecs.source_value,
            codecs.source_key,
            converts=codecs.converts,
            converts_keys=codecs.converts_keys,
        ),
        operators=operate_all(pipeline.operators, pools),
        encode=Encode(
            value=pipeline.codecs.sink_value,
            key=pipeline.codecs.sink_key,
            topic=topics[0] if topics else None,
            routes=frozenset(topics[1:]),
            size_limits={topic: size_limits[topic] for topic in topics if topic in size_limits},
            source_timestamp=settings.source_timestamp,
            operator=pipeline.operators[-1].name if pipeline.operators else "",
            schema_ids=codecs.name_schemas,
        ),
        entering=entering,
    )


def slice_seconds(pipeline: Pipeline) -> float:
    """How long a slice may take: so short that one that stands still is told from a slow one."""
    timeouts = [operator.timeout for operator in pipeline.operators if operator.timeout]
    return min([_SLICE, *(timeout / 4 for timeout in timeouts)])


def smallest_slice(pipeline: Pipeline) -> int:
    """Records that are always run at once: as many as the operators take, or see, at a time."""
    if any(operator.shape.mixes for operator in pipeline.operators):
        return pipeline.source_settings.batch.max_records
    return max([1, *(operator.concurrency for operator in pipeline.operators)])


def make_source(pipeline: Pipeline, deployment: Deployment, pulse: Pulse) -> Source:
    return pipeline.source.build(pipeline.source_settings, deployment, pulse)


def make_sink(pipeline: Pipeline, deployment: Deployment, pulse: Pulse) -> Sink:
    """The sink; a writer is wrapped, so that the offsets follow what it acknowledged."""
    built = pipeline.sink.build(pipeline.sink_settings, deployment, pulse)
    if pipeline.sink.guarantee is Guarantee.EXACTLY_ONCE:
        return cast("Sink", built)
    return FollowedSink(cast("Writer", built), deployment, pulse)
