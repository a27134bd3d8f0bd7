"""The checks of `kafka-etl doctor`: pure functions from facts to results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from kafka_etl.doctor.facts import Facts, TopicFacts, TopicNeeds
from kafka_etl.kafka.cluster.acls import Grant
from kafka_etl.units import show_duration

Status = Literal["ok", "warn", "fail", "skip"]

_OLDEST_CLIENT: Final = (2, 16)
_FIRST_UNTRIED_CLIENT: Final = (3, 0)
_LEAST_FREE: Final = 1 << 30
_DAY_MS: Final = 86_400_000
_WEEK_MS: Final = 7 * _DAY_MS
_CLOCK_SLACK_MS: Final = 60_000
_DEFAULT_LIMIT: Final = 1_048_588
"""Bytes: Kafka's own default of `max.message.bytes`."""

_ASSIGNOR: Final = "cooperative-sticky"
_NEEDED: Final[Mapping[tuple[int, int], str]] = {
    (11, 5): "static members (Kafka 2.3)",
    (3, 8): "rights of topics (Kafka 2.3)",
    (28, 3): "offsets that are fenced with their group (Kafka 2.5)",
}
"""(number of a request, version) -> what kafka-etl uses it for."""

_PARTITIONS_FIX: Final = "set `topics.partitions` to the number that the topic has"
_RELEASES: Final = (
    ("4.0", 0, 12),
    ("3.9", 1, 17),
    ("3.7", 1, 16),
    ("3.5", 1, 15),
    ("3.1", 1, 13),
    ("2.7", 1, 12),
    ("2.5", 28, 3),
)
"""(release of Kafka, number of a request, version that came with the release), newest first."""

_READ, _WRITE, _BOTH = frozenset({"READ"}), frozenset({"WRITE"}), frozenset({"READ", "WRITE"})
_RIGHTS: Final[Mapping[str, frozenset[str]]] = {
    "source": _READ,
    "sink": _WRITE,
    "dead letters": _WRITE,
    "inbox": _BOTH,
    "journal": _BOTH,
    "deliveries": _BOTH,
    "logs": _WRITE,
}
_TASKS: Final[Mapping[str, str]] = {
    "inbox": "the inputs and orders of tasks",
    "deliveries": "outcomes that their target has not taken yet",
}
"""Topic of tasks, by its use -> what is in it as long as a task is open."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check.

    Attributes:
        check: Name of the check.
        status: Whether all is well, something may hurt, the pipeline cannot run, or nothing could
            be checked.
        what: What was found.
        fix: What to do about it; empty: nothing.
    """

    check: str
    status: Status
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        judge: Yields what the check finds.
        name: Name of a check that yields only what is wrong; empty: it also says what is well.
        fine: What such a check says if nothing is wrong with topics whose settings are known.
        of_tasks: Whether the check is about topics of tasks only.
    """

    judge: Callable[[Facts], Iterator[Result]]
    name: str = ""
    fine: str = ""
    of_tasks: bool = False

    def results(self, facts: Facts) -> list[Result]:
        found = list(self.judge(facts))
        known = [topic for topic in facts.topics if topic.settings]
        if self.of_tasks:
            known = [topic for topic in known if topic.needs != TopicNeeds()]
        if found or not self.name or not known:
            return found
        return [Result(self.name, "ok", self.fine)]


def diagnose(facts: Facts) -> list[Result]:
    """Return the results of all checks, in the order in which one depends on another."""
    return [result for check in CHECKS for result in check.results(facts)]


def check_client(facts: Facts) -> Iterator[Result]:
    """The Kafka client is of a release that kafka-etl is tested with."""
    host = facts.host
    found = tuple(int(part) for part in re.findall(r"\d+", host.client)[:2])
    what = f"confluent-kafka {host.client}, librdkafka {host.librdkafka}, Python {host.python}"
    fix = "pip install 'confluent-kafka>=2.16,<3'"
    if found < _OLDEST_CLIENT:
        yield Result("client", "fail", f"{what}: too old", fix)
    elif found >= _FIRST_UNTRIED_CLIENT:
        yield Result("client", "warn", f"{what}: newer than kafka-etl was tested with", fix)
    else:
        yield Result("client", "ok", what)


def check_plugins(facts: Facts) -> Iterator[Result]:
    """Installed plug-ins can be imported, and those of the pipeline have what they need."""
    for name, why in facts.host.broken.items():
        fix = f"upgrade or uninstall its distribution; `kafka-etl plugins` shows {name}"
        yield Result("plugins", "warn", f"{name} cannot be used: {why}", fix)
    for name, command in facts.host.missing.items():
        yield Result("plugins", "fail", f"{name} needs packages that are not installed", command)
    if not facts.host.broken and not facts.host.missing:
        yield Result("plugins", "ok", "all can be used")


def check_state_folder(facts: Facts) -> Iterator[Result]:
    """A daemon can write its state folder, and its disk has room."""
    host = facts.host
    if host.state_problem:
        what = f"{host.state_folder} cannot be used: {host.state_problem}"
        yield Result("state folder", "fail", what, "choose another one with --state-dir")
    elif host.free_bytes < _LEAST_FREE:
        what = f"{host.state_folder} has {host.free_bytes >> 20:,} MiB left"
        yield Result("state folder", "warn", what, "make room on its disk")
    else:
        yield Result(
            "state folder", "ok", f"{host.state_folder}: {host.free_bytes >> 30:,} GiB free"
        )


def check_file(facts: Facts) -> Iterator[Result]:
    """The pipeline can be built from its file."""
    if facts.problem is not None:
        yield Result("pipeline file", "fail", facts.problem.what, facts.problem.next_step)
    elif facts.pipeline:
        yield Result("pipeline file", "ok", f"{facts.pipeline} is valid")


def check_reach(facts: Facts) -> Iterator[Result]:
    """A broker answers, and takes the login."""
    cluster = facts.cluster
    if cluster is None:
        return
    if cluster.problem is not None:
        yield Result("brokers", "fail", cluster.problem.what, cluster.problem.next_step)
    else:
        count = f"{cluster.brokers:,} broker{'' if cluster.brokers == 1 else 's'}"
        yield Result("brokers", "ok", f"{cluster.servers} answers: {count}")


def check_broker_version(facts: Facts) -> Iterator[Result]:
    """The brokers know the requests that kafka-etl makes."""
    if not _answers(facts) or facts.cluster is None:
        return
    versions = facts.cluster.versions
    if versions is None:
        what = "no broker tells which requests it knows"
        yield Result("Kafka version", "warn", what, "see that the brokers are Kafka 2.5 or newer")
        return

    def knows(request: int, version: int) -> bool:
        return versions.get(request, (0, -1))[1] >= version

    lacking = [use for (request, version), use in _NEEDED.items() if not knows(request, version)]
    if lacking:
        what = f"the brokers do not know {', '.join(lacking)}"
        yield Result("Kafka version", "fail", what, "upgrade the brokers to Kafka 2.5 or newer")
        return
    release = next((name for name, *needs in _RELEASES if knows(*needs)), "2.5")
    yield Result("Kafka version", "ok", f"Kafka {release} or newer")


def check_topics(facts: Facts) -> Iterator[Result]:
    """The topics exist, or the pipeline creates them."""
    for topic in facts.topics:
        if not topic.partitions and topic.rights != frozenset() and not topic.creates:
            what = f"topic {topic.name} ({_uses(topic)}) does not exist"
            near = f" (did you mean {topic.nearest}?)" if topic.nearest else ""
            fix = f"correct its name{near}, or create it: "
            if "source" in topic.uses:
                fix += f"`kafka-etl send {topic.name} FILE --create --partitions N`"
            else:
                fix += "`create: {partitions: N}` beside it"
            yield Result("topics", "fail", what, fix)
    there = [topic for topic in facts.topics if topic.partitions]
    if there:
        yield Result("topics", "ok", ", ".join(f"{t.name}[{t.partitions}]" for t in there))


def check_rights(facts: Facts) -> Iterator[Result]:
    """This user may do what the pipeline does, as far as the brokers tell."""
    lacking: list[Result] = []
    told = False
    for topic in facts.topics:
        if topic.rights is None or (not topic.partitions and topic.rights):
            continue
        told = True
        needed = {right for use in topic.uses for right in _RIGHTS[use]}
        lacking += [_lacks(right, f"topic {topic.name}") for right in sorted(needed - topic.rights)]
    group = facts.group
    if group is not None and group.rights is not None:
        told = True
        if "READ" not in group.rights:
            lacking.append(_lacks("READ", f"group {group.name}"))
    yield from lacking
    if told and not lacking:
        yield Result("rights", "ok", "to its topics and its group")


def check_transactional_id(facts: Facts) -> Iterator[Result]:
    """This user may write with the transactional ids of the pipeline, as far as the ACLs tell."""
    name = "transactional id"
    wanted = f"WRITE on transactional id {facts.transactional_id}"
    fix = f"grant WRITE on transactional ids that begin with kafka-etl.{facts.pipeline}."
    match facts.grant:
        case Grant.UNKNOWN:
            return
        case Grant.OPEN | Grant.GRANTED:
            yield Result(name, "ok", facts.grant.value)
        case Grant.DENIED:
            yield Result(name, "fail", f"{wanted}: {facts.grant.value}", fix)
        case Grant.MISSING | Grant.HIDDEN:
            what = f"{wanted} cannot be known: {facts.grant.value}"
            yield Result(name, "warn", what, f"without it, {fix}")


def check_retention(facts: Facts) -> Iterator[Result]:
    """Records outlast a stop of the pipeline, and dead letters wait until somebody looks."""
    for topic in facts.topics:
        keeps = topic.number("retention.ms")
        if keeps is None or keeps < 0 or "delete" not in topic.settings.get("cleanup.policy", ""):
            continue
        kept = f"topic {topic.name} keeps records for {show_duration(keeps / 1000)}"
        if "source" in topic.uses and keeps < _DAY_MS:
            what = f"{kept}: a longer stop of the pipeline loses some"
            yield Result("retention", "warn", what, "raise its retention.ms to a day or more")
        if "dead letters" in topic.uses and keeps < _WEEK_MS:
            what = f"{kept}, dead letters that nobody has seen included"
            yield Result("retention", "warn", what, "raise its retention.ms to a week or more")


def check_task_topics(facts: Facts) -> Iterator[Result]:
    """The topics of tasks have the partitions and the settings without which no owner starts."""
    for topic in facts.topics:
        if not topic.partitions:
            continue
        wanted = topic.needs.partitions
        if wanted and topic.partitions != wanted:
            what = (
                f"topic {topic.name} ({_uses(topic)}) has {topic.partitions:,} partitions, and the "
                f"pipeline wants {wanted:,}: tasks are found by that number"
            )
            yield Result("task topics", "fail", what, _PARTITIONS_FIX)
        for setting, value in topic.needs.settings.items():
            found = topic.settings.get(setting, value)
            if found != value:
                what = f"topic {topic.name} ({_uses(topic)}) has {setting}={found}"
                yield Result("task topics", "fail", what, f"set its {setting} to {value}")


def check_history(facts: Facts) -> Iterator[Result]:
    """The topics of tasks are those with which the pipeline began, with partitions as then."""
    if facts.history is not None:
        yield Result("task history", "fail", facts.history.what, facts.history.next_step)


def check_task_retention(facts: Facts) -> Iterator[Result]:
    """What is in the topics of tasks stays as long as the pipeline's history and open tasks."""
    for topic in facts.topics:
        needed = topic.needs.keeps_ms
        keeps, room = topic.number("retention.ms"), topic.number("retention.bytes")
        held = next((held for use, held in _TASKS.items() if use in topic.uses), "its records")
        if needed and keeps is not None and 0 <= keeps < needed:
            what = (
                f"topic {topic.name} keeps {held} for {show_duration(keeps / 1000)}, and the "
                f"pipeline needs them for {show_duration(needed / 1000)}: open tasks lose theirs"
            )
            yield Result("task retention", "warn", what, f"set its retention.ms to {needed}")
        if needed and room is not None and room >= 0:
            what = (
                f"topic {topic.name} keeps {room:,} bytes of {held} in each partition: "
                "open tasks lose theirs when there are more"
            )
            yield Result("task retention", "warn", what, "set its retention.bytes to -1")


def check_compaction(facts: Facts) -> Iterator[Result]:
    """No topic that is written loses records to compaction, or refuses those without a key."""
    for topic in facts.topics:
        if "compact" not in topic.settings.get("cleanup.policy", ""):
            continue
        if "dead letters" in topic.uses:
            what = f"topic {topic.name} is compacted: it keeps one dead letter of each key"
            fix = "set its cleanup.policy to delete"
            yield Result("compaction", "fail", f"{what}, and refuses those without", fix)
        elif "sink" in topic.uses:
            what = f"topic {topic.name} is compacted: it refuses records without a key"
            if facts.atomic:
                what += ", each of which costs the transaction of its batch"
            fix = "see that each output has a key, or set its cleanup.policy to delete"
            yield Result("compaction", "warn", what, fix)


def check_replication(facts: Facts) -> Iterator[Result]:
    """The loss of one broker loses no records."""
    brokers = facts.cluster.brokers if facts.cluster else 0
    for topic in facts.topics:
        if topic.replicas == 1 and brokers > 1:
            what = f"topic {topic.name} has one copy on {brokers:,} brokers"
            fix = "give it three replicas with kafka-reassign-partitions"
            yield Result("replication", "warn", f"{what}: it is lost with a disk", fix)


def check_min_insync(facts: Facts) -> Iterator[Result]:
    """`min.insync.replicas` protects acknowledged records, and leaves room for a restart."""
    for topic in facts.topics:
        least = topic.number("min.insync.replicas")
        if least is None or not _is_written(topic) or not topic.replicas:
            continue
        name, said = topic.name, f"min.insync.replicas={least} with {topic.replicas} replicas"
        if topic.in_sync < least:
            what = f"topic {name} has a partition with {topic.in_sync} copies in sync: {said}"
            fix = "bring the missing brokers back: until then no record is taken"
            yield Result("in-sync replicas", "fail", what, fix)
        elif least == 1 and topic.replicas > 1:
            what = f"topic {name} has {said}: what one broker has acknowledged can be lost"
            fix = "set its min.insync.replicas to 2"
            yield Result("in-sync replicas", "warn", what, fix)
        elif least == topic.replicas > 1:
            what = f"topic {name} has {said}: the restart of one broker stops the pipeline"
            fix = f"set its min.insync.replicas to {least - 1}, or add a replica"
            yield Result("in-sync replicas", "warn", what, fix)


def check_sizes(facts: Facts) -> Iterator[Result]:
    """What the pipeline reads fits into where it writes."""
    sources = [topic for topic in facts.topics if "source" in topic.uses and topic.settings]
    largest = max((_limit(topic) for topic in sources), default=0)
    for topic in facts.topics:
        if topic.settings and "source" not in topic.uses and _limit(topic) < largest:
            what = (
                f"topic {topic.name} takes records of {_limit(topic):,} bytes, and the source's "
                f"have up to {largest:,}"
            )
            fix = f"set its max.message.bytes to {largest}"
            yield Result("record sizes", "warn", what, fix)


def check_result_sizes(facts: Facts) -> Iterator[Result]:
    """The largest results of tasks fit into the inbox, through which they come back."""
    for topic in facts.topics:
        needed = topic.needs.largest
        if topic.settings and _limit(topic) < needed:
            what = (
                f"topic {topic.name} takes records of {_limit(topic):,} bytes, and that of a "
                f"result may have {needed:,}"
            )
            fix = f"set its max.message.bytes to {needed}, or lower `max_result` of the operator"
            yield Result("result sizes", "warn", what, fix)


def check_targets(facts: Facts) -> Iterator[Result]:
    """The targets of outputs and dead letters outside of Kafka are there, and fit."""
    for target in facts.targets:
        if target.problem is not None:
            what = f"{target.name}: {target.problem.what}"
            yield Result("targets", "fail", what, target.problem.next_step)
        elif not target.notes:
            yield Result("targets", "ok", f"{target.name}: ready")
        for note in target.notes:
            yield Result("targets", "warn", f"{target.name}: {note}")


def check_clocks(facts: Facts) -> Iterator[Result]:
    """No record comes from the future: brokers do not tell their time, but records have one."""
    for topic in facts.topics:
        ahead = (topic.newest_ms or 0) - facts.now_ms
        if ahead > _CLOCK_SLACK_MS:
            by_broker = topic.settings.get("message.timestamp.type") == "LogAppendTime"
            whose = "a broker's" if by_broker else "a producer's"
            what = (
                f"the newest record of {topic.name} is {show_duration(ahead // 1000)} ahead of "
                f"this host's clock"
            )
            yield Result("clocks", "warn", what, f"synchronise this host's clock, or {whose}")


def check_group(facts: Facts) -> Iterator[Result]:
    """The group is free, or has members of kafka-etl, and its offsets are still there."""
    group = facts.group
    if group is None:
        return
    if group.members and group.assignor and group.assignor != _ASSIGNOR:
        what = f"group {group.name} has other members: {', '.join(group.members)}"
        fix = "stop them, or give the pipeline a group of its own with source.with.group"
        yield Result("group", "fail", f"{what} (they share by {group.assignor})", fix)
    elif group.members:
        what = f"group {group.name} is {group.state}: {', '.join(group.members)}"
        yield Result("group", "ok", what)
    else:
        yield Result("group", "ok", f"group {group.name} has no members")
    if group.deleted or group.beyond:
        what = f"group {group.name} stands at offsets that are not there"
        if group.deleted:
            what += f": {group.deleted:,} were deleted before they were read"
        fix = "`kafka-etl offsets show FILE`, then `kafka-etl offsets reset FILE --to PLACE`"
        yield Result("offsets", "fail", what, fix)


def check_skipped(facts: Facts) -> Iterator[Result]:
    """What could not be checked, and why not."""
    if facts.problem is not None:
        yield Result("cluster", "skip", "not looked at: first mend the pipeline file")
    elif facts.cluster is not None and facts.cluster.problem is not None:
        yield Result("topics", "skip", "not looked at: first mend what is said of brokers")
    elif facts.topics and not any(topic.settings for topic in facts.topics):
        names = ", ".join(check.name for check in CHECKS if check.name and not check.of_tasks)
        what = f"{names}: the settings of no topic are known"
        yield Result("further", "skip", what)


CHECKS: Final = (
    Check(check_client),
    Check(check_plugins),
    Check(check_state_folder),
    Check(check_file),
    Check(check_reach),
    Check(check_broker_version),
    Check(check_topics),
    Check(check_rights),
    Check(check_transactional_id),
    Check(check_group),
    Check(check_task_topics, "task topics", "partitions and settings as needed", of_tasks=True),
    Check(check_history, "task history", "whole, as far as the topics tell", of_tasks=True),
    Check(check_task_retention, "task retention", "open tasks lose nothing", of_tasks=True),
    Check(check_retention, "retention", "records stay long enough"),
    Check(check_compaction, "compaction", "no topic that is written is compacted"),
    Check(check_replication, "replication", "no topic has one copy on several brokers"),
    Check(check_min_insync, "in-sync replicas", "enough for a commit"),
    Check(check_sizes, "record sizes", "what is read fits into what is written"),
    Check(check_result_sizes, "result sizes", "the largest result fits", of_tasks=True),
    Check(check_targets),
    Check(check_clocks, "clocks", "no record is from the future"),
    Check(check_skipped),
)


def _answers(facts: Facts) -> bool:
    return facts.cluster is not None and facts.cluster.problem is None


def _is_written(topic: TopicFacts) -> bool:
    return any("WRITE" in _RIGHTS[use] for use in topic.uses)


def _uses(topic: TopicFacts) -> str:
    return " and ".join(sorted(topic.uses))


def _lacks(right: str, what: str) -> Result:
    fix = f"grant {right} on {what}"
    return Result("rights", "fail", f"this Kafka user lacks {right} on {what}", fix)


def _limit(topic: TopicFacts) -> int:
    limit = topic.number("max.message.bytes")
    return _DEFAULT_LIMIT if limit is None else limit
