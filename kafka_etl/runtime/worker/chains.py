"""The chain of a pipeline: decoding, the operators, and a last stage for its sink."""

from __future__ import annotations

from collections.abc import Callable

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment
from kafka_etl.engine.attempt.chain import Chain, LastStage
from kafka_etl.engine.attempt.decode import decode_for
from kafka_etl.engine.attempt.encode import Encode
from kafka_etl.engine.attempt.operate import operate_all
from kafka_etl.engine.attempt.output_fields import LookUp
from kafka_etl.engine.attempt.routing import Routing
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.shape.shape import Shape
from kafka_etl.kafka.settings import KafkaSinkSettings, OutputSettings
from kafka_etl.routed_settings import RowSettings
from kafka_etl.table_settings import TableSettings, mapped_columns


def make_chain(
    pipeline: Pipeline,
    deployment: Deployment,
    entering: Callable[[int], None],
    pools: Pools,
    last_stage: LastStage | None = None,
) -> Chain:
    """Make the chain of the pipeline: decoding, the operators, encoding.

    Args:
        pipeline: The pipeline.
        deployment: Where the pipeline runs.
        entering: Called with the number of a stage before the stage begins.
        pools: The pools in which operators with concurrency or isolation run.
        last_stage: The last stage; None: that of the pipeline's sink.
    """
    codecs = pipeline.codecs
    is_table = isinstance(pipeline.sink_settings, TableSettings)
    routing = routing_of(pipeline)
    return Chain(
        decode=decode_for(
            pipeline.operators,
            codecs.source_value,
            codecs.source_key,
            converts=codecs.converts or is_table,
            converts_keys=codecs.converts_keys or is_table,
            wants_values=routing is not None and routing.needs_values,
            wants_keys=routing is not None and routing.needs_keys,
        ),
        operators=operate_all(pipeline.operators, pools),
        encode=last_stage or make_last_stage(pipeline, deployment),
        entering=entering,
    )


def make_last_stage(pipeline: Pipeline, deployment: Deployment) -> LastStage:
    """Make the last stage: rows for a sink of a table, else encoded values.

    Before anybody has looked at the table, as in `kafka-etl try`, values are encoded as they came.
    """
    settings, codecs = pipeline.sink_settings, pipeline.codecs
    operator = pipeline.operators[-1].name if pipeline.operators else ""
    if isinstance(settings, TableSettings) and deployment.columns:
        columns = mapped_columns(settings, deployment.columns)
        return Shape(settings, columns, operator, routing_of(pipeline))
    topics, limits = settings.topics, deployment.size_limits
    size_limits = {topic: limits[topic] for topic in topics if topic in limits}
    partitions = dict(deployment.partitions)
    look_up: LookUp | None = None
    if isinstance(settings, KafkaSinkSettings) and settings.patterns:
        from kafka_etl.kafka.sink.found_topics import FoundTopics  # noqa: PLC0415 - imports the client

        found = FoundTopics(settings, pipeline.source_settings, deployment, size_limits, partitions)
        look_up = found.refused
    return Encode(
        value=codecs.sink_value,
        key=codecs.sink_key,
        topic=topics[0] if topics else None,
        routes=frozenset(topics[1:]),
        places=settings.destinations,
        look_up=look_up,
        size_limits=size_limits,
        source_timestamp=settings.source_timestamp,
        operator=operator,
        schema_ids=codecs.name_schemas,
        routing=routing_of(pipeline),
        partitions=partitions,
    )


def routing_of(pipeline: Pipeline) -> Routing | None:
    """Return the expressions for topic, key, partition and headers; None: there are none."""
    wanted = getattr(pipeline.sink_settings, "set", None)
    if isinstance(wanted, RowSettings):
        return Routing(wanted.to)
    if isinstance(wanted, OutputSettings):
        return Routing(wanted.topic, wanted.key, wanted.partition, wanted.headers)
    return None
