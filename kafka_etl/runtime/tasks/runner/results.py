"""How the process of an attempt encodes results: for each of the pipeline's destinations."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from kafka_etl.config.build import Pipeline, build_sink
from kafka_etl.contracts import Preflight
from kafka_etl.engine.attempt.every_sink import EverySink
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.plugins import PluginRegistry
from kafka_etl.runtime.messages import RunnerTask
from kafka_etl.runtime.worker.chains import make_chain, make_last_stage
from kafka_etl.runtime.worker.deployments import deployment_of


def make_invoker_of(
    task: RunnerTask,
    pipeline: Pipeline,
    entering: Callable[[int], None],
    pools: Pools,
    now_ms: Callable[[], int],
) -> Invoker:
    """Make the invoker of attempts, whose results are encoded for every destination.

    Args:
        task: The runner's task.
        pipeline: The pipeline of the run document, whose sink is the first destination.
        entering: Called with the number of a stage before the stage begins.
        pools: The pools in which operators run.
        now_ms: Present time, in milliseconds since the epoch.

    Raises:
        ConfigError: A destination cannot be built in this process.
    """
    deployment = deployment_of(pipeline, task.executor, Preflight())
    registry = PluginRegistry.installed()
    all_of = [pipeline]
    for sink in task.sinks:
        settings, codecs = build_sink(
            replace(task.document, data={**task.document.data, "sink": sink}), registry
        )
        all_of.append(replace(pipeline, sink_settings=settings, codecs=codecs))
    stages = [(one.sink_settings.topics[0], make_last_stage(one, deployment)) for one in all_of]
    if task.sinks:
        # A decoded value that an operator gives back is encoded anew for a sink that names a codec.
        codecs = replace(
            pipeline.codecs,
            converts=any(one.codecs.converts for one in all_of),
            converts_keys=any(one.codecs.converts_keys for one in all_of),
        )
        pipeline = replace(pipeline, codecs=codecs)
    return Invoker(
        chain=make_chain(pipeline, deployment, entering, pools, EverySink(stages)),
        policy=pipeline.retry,
        policies=pipeline.retries,
        now_ms=now_ms,
        random=random.random,
    )
