"""Makes the parts that one worker runs, such as source, sink and invoker, of a built pipeline."""

from __future__ import annotations

import os
import platform
import random
import socket
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final, cast

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment, Guarantee, Preflight, Pulse, Sink, Source, Writer
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.attempt.decode import decode_for
from kafka_etl.engine.attempt.encode import Encode
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.attempt.operate import operate_all
from kafka_etl.engine.poison.breaker import Breaker
from kafka_etl.engine.poison.crash_suspects import CrashSuspects, Evidence
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.stream.followed_sink import FollowedSink
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.allowed_settings import MAX_POLL, poll_interval
from kafka_etl.kafka.ledger import Ledger

_SLICE: Final = 1.0


def deployment_of(
    pipeline: Pipeline, member: str, preflight: Preflight, stdout: int = 1
) -> Deployment:
    """Make the deployment of a worker: its ids, client settings, and the results of preflight.

    Args:
        pipeline: The worker's pipeline.
        member: Member id in the group, and transactional id.
        preflight: Results of preflight; empty while preflight itself runs.
        stdout: Descriptor of the real standard output.
    """
    spec = pipeline.spec
    timeouts = [operator.timeout or 0.0 for operator in pipeline.operators]
    letters = spec.dead_letter
    return Deployment(
        pipeline=spec.name,
        member=member,
        kafka=spec.kafka,
        consumer={MAX_POLL: poll_interval(timeouts), **spec.consumer},
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
        stdout=stdout,
    )


def make_chain(
    pipeline: Pipeline,
    size_limits: Mapping[str, int],
    entering: Callable[[int], None],
    pools: Pools,
) -> Chain:
    """Make the chain of the pipeline: decoding, the operators, encoding.

    Args:
        pipeline: The pipeline.
        size_limits: Topic -> largest record, in bytes, that its broker accepts.
        entering: Called with the number of a stage before the stage begins.
        pools: The pools in which operators with concurrency or isolation run.
    """
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


def make_invoker(
    pipeline: Pipeline,
    size_limits: Mapping[str, int],
    entering: Callable[[int], None],
    pools: Pools,
    now_ms: Callable[[], int],
) -> Invoker:
    """Make the invoker: the chain of `make_chain`, with the pipeline's retry policies."""
    return Invoker(
        chain=make_chain(pipeline, size_limits, entering, pools),
        policy=pipeline.retry,
        policies=pipeline.retries,
        now_ms=now_ms,
        random=random.random,
    )


def make_breaker(pipeline: Pipeline) -> Breaker:
    """Make the breaker; without a dead-letter topic the breaker never trips.

    Without such a topic the first failure stops the pipeline.
    """
    letters = pipeline.spec.dead_letter
    return Breaker(letters.limit.max_consecutive if letters else sys.maxsize)


def make_quarantine(pipeline: Pipeline, evidence: Evidence | None) -> Quarantine:
    """Make the quarantine, with the evidence of a predecessor's death, if there is any."""
    operators = pipeline.operators
    return Quarantine(
        CrashSuspects(
            evidence,
            max_deaths=pipeline.retry.max_attempts,
            by_range=any(operator.shape.mixes for operator in operators),
            together=max((operator.concurrency for operator in operators), default=1),
        )
    )


def make_pace(pipeline: Pipeline, *, cautious: bool) -> Pace:
    """Make the pace: the source's settings limit batches, the operators' timeouts limit slices."""
    batch = pipeline.source_settings.batch
    pace = Pace(batch.max_records, slice_seconds(pipeline), smallest_slice(pipeline))
    if cautious:
        pace.failed(1)
    return pace


def slice_seconds(pipeline: Pipeline) -> float:
    """Return the intended seconds of a slice: a quarter of the shortest timeout, at most 1 s.

    Slices much shorter than the timeout let the daemon tell a stuck operator from a slow slice.
    """
    timeouts = [operator.timeout for operator in pipeline.operators if operator.timeout]
    return min([_SLICE, *(timeout / 4 for timeout in timeouts)])


def smallest_slice(pipeline: Pipeline) -> int:
    """Return the least records of a slice: as many as the operators run at the same time.

    With an operator that mixes records, a slice is a whole batch.
    """
    if any(operator.shape.mixes for operator in pipeline.operators):
        return pipeline.source_settings.batch.max_records
    return max([1, *(operator.concurrency for operator in pipeline.operators)])


def make_source(pipeline: Pipeline, deployment: Deployment, pulse: Pulse) -> Source:
    return pipeline.source.build(pipeline.source_settings, deployment, pulse)


def make_sink(
    pipeline: Pipeline, deployment: Deployment, pulse: Pulse, *, patience: float | None
) -> Sink:
    """Make the sink; a sink that is not exactly-once is a writer, and is wrapped here.

    The wrapper commits offsets once the writer has acknowledged the outputs.

    Args:
        pipeline: The pipeline.
        deployment: The worker's deployment.
        pulse: Called several times a second while the sink waits.
        patience: Seconds to wait for a writer's target that cannot be opened; None: no limit.
    """
    built = pipeline.sink.build(pipeline.sink_settings, deployment, pulse)
    if pipeline.sink.guarantee is Guarantee.EXACTLY_ONCE:
        return cast("Sink", built)
    ledger = Ledger(deployment, pulse)
    return FollowedSink(cast("Writer", built), ledger, pulse, patience=patience)
