"""Makes the parts that one worker runs, such as source, sink and invoker, of a built pipeline."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kafka_etl.config.build import Pipeline
from kafka_etl.config.model import LimitSpec
from kafka_etl.contracts import (
    Deployment,
    Guarantee,
    Pulse,
    Reconnect,
    Sender,
    Sink,
    SinkPlugin,
    Source,
    Store,
    Writer,
)
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.poison.breaker import Breaker, BreakerLimits
from kafka_etl.engine.poison.crash_suspects import CrashSuspects, Evidence
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.sinks.claim_check import ClaimCheck
from kafka_etl.engine.sinks.flaws import flaws_of
from kafka_etl.engine.sinks.followed import FollowedSink
from kafka_etl.engine.sinks.lanes import Lanes
from kafka_etl.engine.sinks.letters import LetterDelivery, LetterTable
from kafka_etl.engine.sinks.stored import StoredSink, StoreIdentity
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.envelope import Encoded, encode_failure, encode_letter
from kafka_etl.errors import BrokenPlugin, BrokersUnreachable, KafkaEtlError, SinkFailed
from kafka_etl.invocation import DeadLetter
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings, TaskInboxSettings
from kafka_etl.kafka.transactions.ledger import Ledger
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import SourceRecord, offset_of, partition_of
from kafka_etl.runtime.tasks.deliverer import make_deliverer, outcomes_of
from kafka_etl.runtime.tasks.owner import make_owner
from kafka_etl.runtime.worker.chains import make_chain
from kafka_etl.runtime.worker.deployments import letter_deployment
from kafka_etl.runtime.worker.notices import Notices, make_hook
from kafka_etl.units import show_duration

_SLICE: Final = 1.0
_ANY_SIZE: Final = 2**31


def make_invoker(
    pipeline: Pipeline,
    deployment: Deployment,
    entering: Callable[[int], None],
    pools: Pools,
    now_ms: Callable[[], int],
) -> Invoker:
    """Make the invoker: the chain of `make_chain`, with the pipeline's retry policies."""
    return Invoker(
        chain=make_chain(pipeline, deployment, entering, pools),
        policy=pipeline.retry,
        policies=pipeline.retries,
        now_ms=now_ms,
        random=random.random,
    )


def make_breaker(pipeline: Pipeline, kinds: Kinds) -> Breaker:
    """Make the breaker; without a place for dead letters nobody asks the breaker.

    Without such a place the first failure stops the pipeline.
    """
    letters = pipeline.spec.dead_letter
    limit = letters.limit if letters else LimitSpec()
    return Breaker(
        BreakerLimits(
            max_consecutive=limit.max_consecutive,
            max_ratio=limit.max_ratio,
            window=limit.window,
            min_records=limit.min_records,
            new_kinds=show_duration(limit.new_kinds_within or 0),
        ),
        kinds,
    )


def make_kinds(
    pipeline: Pipeline,
    deployment: Deployment,
    folder: Path,
    now_ms: Callable[[], int],
    notices: Notices,
) -> Kinds:
    """Make the kinds of dead letters; those of earlier dead letters are still to be learnt.

    Args:
        pipeline: The pipeline.
        deployment: Where the pipeline runs.
        folder: Folder in which this host keeps when this version began.
        now_ms: Present time, in milliseconds since the epoch.
        notices: Told of each new kind.
    """
    letters = pipeline.spec.dead_letter
    seconds = letters.limit.new_kinds_within if letters else None
    if seconds is None:
        return Kinds(tell=notices.new_kind)
    from kafka_etl.runtime.worker.known_kinds import began_ms  # noqa: PLC0415 - few watch kinds

    path = folder / f"{pipeline.spec.name}.version"
    until = began_ms(path, deployment.provenance, now_ms()) + seconds * 1000
    return Kinds(lambda: now_ms() < until, notices.new_kind)


def make_notices(pipeline: Pipeline, deployment: Deployment, now_ms: Callable[[], int]) -> Notices:
    """Make the notices, with the hooks of the pipeline file."""
    spec = pipeline.spec
    letters = spec.dead_letter
    settings = {"log_level": 0, **spec.kafka, **spec.producer}
    hooks = [make_hook(hook, spec.name, settings) for hook in (letters.hooks if letters else ())]
    topic = deployment.dead_letter_topic
    return Notices(hooks, deployment.provenance, topic, now_ms)


def kinds_so_far(pipeline: Pipeline) -> set[str]:
    """Read the kinds of earlier dead letters, where the breaker or a hook must know them.

    Raises:
        Reconnect: No broker answers.
        KafkaEtlError: This user may not read the topic of dead letters, as the breaker must.
    """
    letters = pipeline.spec.dead_letter
    if letters is None or letters.topic is None:
        return set()
    watches = letters.limit.new_kinds_within is not None
    if not watches and not any("new_kind" in (hook.only or ["new_kind"]) for hook in letters.hooks):
        return set()
    from kafka_etl.runtime.worker.known_kinds import known_kinds  # noqa: PLC0415 - as above

    settings = {"log_level": 0, **pipeline.spec.kafka, **pipeline.spec.consumer}
    try:
        return known_kinds(settings, letters.topic, pipeline.spec.name)
    except BrokersUnreachable as away:
        raise Reconnect(away.what) from away
    except KafkaEtlError as error:
        if watches:
            raise
        get_logger("worker").warning("each kind is new to the hooks", error=error.what)
        return set()


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


def make_door(pipeline: Pipeline, deployment: Deployment) -> Sink | Sender | Writer | Store:
    """Let the sink's plug-in build its door.

    Raises:
        BrokenPlugin: The plug-in built no door, one with wrong attributes, or one that cannot hold
            what the label of the plug-in promises.
    """
    if isinstance(pipeline.source_settings, TaskDeliverySettings):
        deployment = outcomes_of(pipeline.source_settings, deployment)
    door = pipeline.sink.build(pipeline.sink_settings, deployment)
    if isinstance(door, Sink) and not isinstance(door, (Sender, Writer, Store)):
        return door
    flaws = flaws_of(door)
    if pipeline.label.guarantee is Guarantee.EXACTLY_ONCE and not isinstance(door, Store):
        flaws.append("the label promises exactly_once, which of the doors only a Store can hold")
    if flaws:
        raise _broken(pipeline.spec.sink.use, door, flaws)
    return door


def _broken(use: str, door: object, flaws: Sequence[str]) -> BrokenPlugin:
    return BrokenPlugin(
        f"sink {use} built {type(door).__name__}: {'; '.join(flaws)}",
        "The author of the sink has to mend it; only pipelines that use it are affected.",
    )


def make_sink(
    pipeline: Pipeline,
    deployment: Deployment,
    *,
    patience: float | None,
    folder: Path,
    counters: Counters,
) -> Sink:
    """Make the sink of the door that the plug-in has built, the owner of tasks, or a deliverer.

    Args:
        pipeline: The pipeline.
        deployment: The worker's deployment.
        patience: Seconds to wait for a target that cannot be reached; None: no limit.
        folder: State folder of the daemon.
        counters: The worker's counters.
    """
    if isinstance(pipeline.source_settings, TaskInboxSettings):
        return make_owner(pipeline, pipeline.source_settings, deployment, folder, counters)
    door = make_door(pipeline, deployment)
    identity = identity_of(pipeline, deployment)
    if isinstance(pipeline.source_settings, TaskDeliverySettings):
        return make_deliverer(
            door,
            pipeline.source_settings,
            deployment,
            identity,
            has_letter_table=pipeline.sink.letters == "table",
            patience=patience,
        )
    pulse = deployment.pulse
    if isinstance(door, Sender):
        door = Lanes(door)
    if isinstance(door, Writer):
        return FollowedSink(
            door,
            Ledger(deployment),
            lambda record: _name_of(record, identity, 0),
            pulse,
            patience=patience,
        )
    if not isinstance(door, Store):
        return door

    def identify(record: SourceRecord) -> str:
        return _name_of(record, identity, sink.generations.get(partition_of(record), 0))

    sink = StoredSink(
        door,
        Ledger(deployment),
        identity,
        identify,
        pulse,
        patience=patience,
        encode_letter=letter_encoder(deployment) if deployment.letter_table else None,
    )
    return sink


def make_letter_door(
    plugin: SinkPlugin[Any], pipeline: Pipeline, deployment: Deployment
) -> Sender | Writer:
    """Let a plug-in build the door to which dead letters go.

    Raises:
        BrokenPlugin: The plug-in built no door, or one with wrong attributes.
        SinkFailed: The sink keeps offsets of its own, so that nothing else can be written there.
    """
    spec = pipeline.spec.dead_letter
    use = (spec and spec.use) or ""
    door = plugin.build(pipeline.letters_settings, letter_deployment(pipeline, deployment))
    if isinstance(door, Store) and plugin.letters == "table":
        door = LetterTable(door)
    if isinstance(door, (Store, Sink)) and not isinstance(door, (Sender, Writer)):
        raise SinkFailed(
            f"dead letters cannot go to the sink {use}, which takes rows and offsets together only",
            "Name a queue, `http`, a store with tables, or a topic: `dead_letter: {topic: NAME}`.",
        )
    flaws = flaws_of(door)
    if flaws:
        raise _broken(use, door, flaws)
    return door


def make_letters(
    pipeline: Pipeline, deployment: Deployment, *, patience: float | None
) -> LetterDelivery | None:
    """Make the delivery of dead letters to a sink of their own; None: they go elsewhere."""
    if pipeline.letters is None:
        return None
    door = make_letter_door(pipeline.letters, pipeline, deployment)
    writer = Lanes(door) if isinstance(door, Sender) else door
    identity = identity_of(pipeline, deployment)
    limit = writer.limits.row_bytes or _ANY_SIZE
    provenance = deployment.provenance
    spec = pipeline.spec.dead_letter
    url = spec.claim_check if spec else None
    claim = ClaimCheck(url, deployment.pulse, patience=patience) if url else None

    def encode(letter: DeadLetter) -> Encoded:
        return encode_letter(letter, provenance, deployment.letter_format, limit, claim)

    return LetterDelivery(
        writer,
        encode,
        lambda record: _name_of(record, identity, 0),
        deployment.pulse,
        patience=patience,
    )


def letter_encoder(deployment: Deployment) -> Callable[[DeadLetter], bytes]:
    """Return the function that makes the document of a dead letter for a store's table."""
    return lambda letter: encode_failure(letter, deployment.provenance, _ANY_SIZE)


def identity_of(pipeline: Pipeline, deployment: Deployment) -> StoreIdentity:
    """Return whose offsets a store of this pipeline keeps."""
    offsets = getattr(pipeline.sink_settings, "offsets", None)
    return StoreIdentity(
        kind=pipeline.spec.sink.use,
        name=getattr(offsets, "name", None) or deployment.group,
        group=deployment.group,
        topic_ids=deployment.topic_ids,
    )


def _name_of(record: SourceRecord, identity: StoreIdentity, generation: int) -> str:
    """`NAME/TOPIC-ID/GENERATION/PARTITION/OFFSET`: the same in every run, and for no other record.

    The topic's name stands in for an id that is not known.
    """
    topic, number = partition_of(record)
    topic_id = identity.topic_ids.get(topic, topic)
    return f"{identity.name}/{topic_id}/{generation}/{number}/{offset_of(record)}"
