"""Every error of the framework, each with a stable code, one sentence and the next step.

::

    Exception
    ├── Permanent            an operator says: do not try this record again
    ├── Retry                an operator says: try this record again
    ├── RecordErrors         a batch operator names its bad records
    ├── OperatorTimeout      a call was cancelled, or killed with its process (a TimeoutError)
    ├── OperatorDied         an operator's own process died in a call
    └── KafkaEtlError        what a user meets; has a code and a next step
        ├── ConfigError              E100  findings of E101-E119, all at once
        ├── UnknownPlugin            E201
        ├── BrokenPlugin             E202
        ├── OperatorSignatureError   E203
        ├── BrokersUnreachable       E301
        ├── TopicMissing             E302
        ├── NotAuthorized            E303
        ├── OffsetsLost              E304
        ├── TopicNotCreated          E305
        ├── KafkaRefused             E306
        ├── UnreadableBatch          E307
        ├── SchemaMissing            E308
        ├── RegistryRefused          E309
        ├── SchemaRefused            E310
        ├── GroupTaken               E320
        ├── TopicGone                E321
        ├── ClientUnsupported        E322
        ├── RecordsNotSent           E330
        ├── GroupInUse               E331
        ├── GroupUnknown             E332
        ├── NoSuchLetter             E333
        ├── NotKafka                 E334
        ├── OffsetsUnclear           E335
        ├── TryEnded                 E336
        ├── StatusesTaken            E337
        ├── SelectionRefused         E338
        ├── IndexUnusable            E339
        ├── NoSuchTask               E340
        ├── JournalUnreadable        E341
        ├── TaskTopicsUnfit          E342
        ├── NoAttempt                E346
        ├── AttemptSilent            E347
        ├── TasksFull                E348
        ├── RecordFailed             E401
        ├── DeadLetterRefused        E402
        ├── Fenced                   E403
        ├── BreakerTripped           E404
        ├── WorkerUnstable           E405
        ├── SinkFailed               E406
        ├── SinkBlocked              E407
        ├── StoreOffsetsUnclear      E408
        ├── TaskHistoryLost          E409
        ├── WordsUnreadable          E410
        ├── InstanceInUse            E501
        ├── StateFolderUnusable      E502
        ├── AddressInUse             E503
        ├── DaemonUnreachable        E504
        ├── UnknownPipeline          E505
        ├── OrderRefused             E506
        ├── NameChanged              E507
        ├── OutcomeOpen              E508
        ├── RequestRefused           E509
        ├── ClerkBusy                E510
        ├── DownloadFailed           E601
        ├── BrokerNotStarted         E602
        └── ExtraMissing             E603
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

_ONCE: Final = "after `--until-end`, run it again."
"""Of what pauses: such a run is over, and nothing is there that could resume."""


class Permanent(Exception):
    """Raised by an operator: the record is bad for good, do not try it again."""


class Retry(Exception):
    """Raised by an operator: try the record again, though its error class says otherwise.

    Args:
        message: Why; ends up in the dead letter when the attempts run out.
        after: Seconds to wait before the next attempt, at most 300, as the other records of the
            slice wait along (a task waits alone, up to a year); default, and where it is no number:
            the pipeline's back-off.
    """

    def __init__(self, message: str = "", *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class OperatorTimeout(TimeoutError):
    """An operator took longer than its `timeout`, and was cancelled or killed with its process."""


class OperatorDied(Exception):
    """The process of an operator with `isolation: process` died."""


class Stopped(Exception):
    """Raised by `Context.check` and `Context.run`: the attempt has been told to stop."""

    def __init__(self) -> None:
        super().__init__("the attempt has been told to stop")


class ProgramFailed(Exception):
    """Raised by `Context.run`: an external program has failed.

    Args:
        program: Name or path of the program.
        exit_status: The program's exit status, or minus the signal that has killed the program.
        stderr: The last of what the program has written to its standard error.
    """

    def __init__(self, program: str, exit_status: int, stderr: str) -> None:
        how = (
            f"exit status {exit_status}" if exit_status >= 0 else f"killed by signal {-exit_status}"
        )
        said = stderr.strip()
        super().__init__(f"{program}: {how}\n{said}" if said else f"{program}: {how}")
        self.program = program
        self.exit_status = exit_status
        self.stderr = stderr


class RecordErrors(Exception):
    """Raised by a batch operator: the records at these positions are bad, the others are not.

    The batch is run again without the named records.

    Args:
        errors: Position of a record in the batch, from 0 -> the record's error, which also decides
            whether the record is tried again.
    """

    def __init__(self, errors: Mapping[int, BaseException]) -> None:
        super().__init__(f"{len(errors)} records failed")
        self.errors: dict[int, BaseException] = dict(errors)


class Code(StrEnum):
    """Codes of findings in pipeline files; `ConfigError` carries any number of them."""

    UNREADABLE_FILE = "E101"
    INVALID_YAML = "E102"
    NO_PIPELINE = "E103"
    UNKNOWN_KEY = "E104"
    MISSING_KEY = "E105"
    INVALID_VALUE = "E106"
    VARIABLE_NOT_SET = "E107"
    KAFKA_SETTING_REFUSED = "E108"
    GUARANTEE_NOT_HELD = "E109"
    TOPIC_LOOP = "E110"
    DUPLICATE_NAME = "E111"
    OPERATORS_DO_NOT_FIT = "E112"
    OPERATOR_TYPES_DIFFER = "E113"
    UNKNOWN_PLUGIN = "E201"
    BROKEN_PLUGIN = "E202"
    OPERATOR_SIGNATURE = "E203"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a value: it crosses processes, logs and HTTP unchanged."""

    code: str
    what: str
    next_step: str

    def __str__(self) -> str:
        return f"error[{self.code}]: {self.what}\n  next: {self.next_step}"


class KafkaEtlError(Exception):
    """Base of every error a user meets.

    Attributes:
        pauses: Whether a running pipeline waits for `resume`, rather than stops.

    Args:
        what: One sentence: what happened, with the names involved.
        next_step: What to do about it; default: the class's own advice.
    """

    code: ClassVar[str] = "E000"
    exit_status: ClassVar[int] = 1
    pauses: ClassVar[bool] = False
    advice: ClassVar[str] = "Please report this: it should have a code of its own."

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what, next_step)
        self.what = what
        self.next_step: str = next_step or self.advice

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def problem(self) -> Problem:
        return Problem(self.code, self.what, self.next_step)


def error_of(problem: Problem) -> KafkaEtlError:
    """The error that was told elsewhere as this problem."""
    return _classes().get(problem.code, OrderRefused)(problem.what, problem.next_step)


def advice_of(code: str) -> str:
    """The advice of an error's class; empty: findings of this code have hints instead."""
    found = _classes().get(code)
    return found.advice if found else ""


def _classes() -> dict[str, type[KafkaEtlError]]:
    return {str(cls.code): cls for cls in KafkaEtlError.__subclasses__()}


class ConfigError(KafkaEtlError):
    """A pipeline cannot be built from its file; `what` lists every finding."""

    code = "E100"
    exit_status = 2
    advice = "Correct the lines named above; `kafka-etl validate PATH` checks them without Kafka."


class UnknownPlugin(KafkaEtlError):
    code: ClassVar[str] = Code.UNKNOWN_PLUGIN
    exit_status = 2
    advice = "`kafka-etl plugins` lists what is installed."


class BrokenPlugin(KafkaEtlError):
    code: ClassVar[str] = Code.BROKEN_PLUGIN
    exit_status = 2
    advice = "Fix the import named above; only pipelines that use this plug-in are affected."


class OperatorSignatureError(KafkaEtlError):
    code: ClassVar[str] = Code.OPERATOR_SIGNATURE
    exit_status = 2
    advice = "Annotate the first parameter with what the operator takes, for example `dict`."


class BrokersUnreachable(KafkaEtlError):
    code = "E301"
    advice = (
        "Check bootstrap.servers, the port, `security.protocol` and the network; "
        "`kafka-etl broker start` runs one."
    )


class TopicMissing(KafkaEtlError):
    code = "E302"
    advice = (
        "Create the topic, or let kafka-etl create it: `create: {partitions: N}` next to the "
        "`topic` of the sink or of `dead_letter`."
    )


class NotAuthorized(KafkaEtlError):
    code = "E303"
    advice = "Grant the missing right to this pipeline's Kafka user and start the pipeline again."


class OffsetsLost(KafkaEtlError):
    code = "E304"
    advice = (
        "Records were deleted before they were read. `kafka-etl offsets show FILE` says how "
        "many. Decide where to continue, stop the pipeline's daemons, run `kafka-etl offsets "
        "reset FILE --to earliest` (or an offset, or a time), and start the pipeline again."
    )


class TopicNotCreated(KafkaEtlError):
    code = "E305"
    advice = "Create the topic by hand, or correct the `create` settings."


class KafkaRefused(KafkaEtlError):
    code = "E306"
    advice = "Correct the setting or the right named above and start the pipeline again."


class UnreadableBatch(KafkaEtlError):
    code = "E307"
    advice = (
        "The broker's copy of this batch cannot be decompressed. Find out who wrote it. To "
        "continue without it, stop the pipeline's daemons, run `kafka-etl offsets reset FILE "
        "--topic TOPIC:PARTITION --to OFFSET` with an offset past it, and start the pipeline "
        "again."
    )


class SchemaMissing(KafkaEtlError):
    code = "E308"
    pauses = True
    advice = (
        "Check that `registry.url` is the registry the records were written with, or register "
        f"the schema there (a sink does so with `register: true`), and resume; {_ONCE}"
    )

    def named_by(self, topic: str, partition: int, offset: int) -> SchemaMissing:
        """The same, with the record that names the schema, and how to go on without it."""
        return SchemaMissing(
            f"{self.what}; the record at {topic}[{partition}]@{offset} names it",
            f"{self.advice} A schema that never was: to go on without this record, stop the "
            "daemon, wait until the group has no members (10 s), set the offset behind it "
            f"(`kafka-etl offsets reset FILE --topic {topic}:{partition} --to {offset + 1}`), and "
            "start again.",
        )


class RegistryRefused(KafkaEtlError):
    code = "E309"
    pauses = True
    advice = (
        "Grant the right and resume, or correct the credentials under `registry` and restart; "
        + _ONCE
    )


class SchemaRefused(KafkaEtlError):
    code = "E310"
    pauses = True
    advice = (
        f"Correct the subject's compatibility rule and resume, or the schema and restart; {_ONCE}"
    )


class GroupTaken(KafkaEtlError):
    code = "E320"
    advice = (
        "Stop the other clients of this group, or give the pipeline its own group with "
        "source.with.group, and start it again."
    )


class TopicGone(KafkaEtlError):
    code = "E321"
    advice = "Create the topic again, or correct source.with.topics, and run it again."


class ClientUnsupported(KafkaEtlError):
    code = "E322"
    advice = "Install an earlier release of confluent-kafka, and report this."


class RecordsNotSent(KafkaEtlError):
    code = "E330"
    advice = (
        "Correct what is named above, and send only the lines that are not in the topic: "
        "`kafka-etl show TOPIC` shows the last ones that are."
    )


class GroupInUse(KafkaEtlError):
    code = "E331"
    advice = (
        "Stop the members named above, and reset again. After a daemon has stopped, its static "
        "members stay in the group for their session timeout: wait 10 s."
    )


class GroupUnknown(KafkaEtlError):
    code = "E332"
    advice = (
        "Give the pipeline file, or the name of the group: `source.with.group`, or by default "
        "`name`."
    )


class NoSuchLetter(KafkaEtlError):
    code = "E333"
    advice = "`kafka-etl dlq show` without an ID lists the newest dead letters."


class NotKafka(KafkaEtlError):
    code = "E334"
    advice = "Give a pipeline whose source is `kafka`."


class OffsetsUnclear(KafkaEtlError):
    code = "E335"
    exit_status = 2
    advice = (
        "Give `earliest`, `latest`, an offset, `+N` or `-N` records, `-1h`, or a time such as "
        "2026-05-17T08:00:00Z."
    )


class TryEnded(KafkaEtlError):
    """Raised by a run on records in memory: a system that the pipeline needs is away."""

    code = "E336"
    advice = "Nothing was written. Try again when the system named above answers."


class StatusesTaken(KafkaEtlError):
    code = "E337"
    advice = "Run the command again: what it has already done is kept."


class SelectionRefused(KafkaEtlError):
    code = "E338"
    exit_status = 2
    advice = "Nothing was changed. Look at the selection with `--dry-run`, and try again."


class IndexUnusable(KafkaEtlError):
    code = "E339"
    advice = (
        "Free some space, or let this user write there, or set KAFKA_ETL_CACHE to another "
        "folder; `--rebuild` of `kafka-etl dlq list` or `tasks list` rebuilds the index from "
        "the topic."
    )


class NoSuchTask(KafkaEtlError):
    code = "E340"
    exit_status = 2
    advice = "`kafka-etl tasks list PIPELINE` lists the tasks that the pipeline knows."


class JournalUnreadable(KafkaEtlError):
    code = "E341"
    advice = "Use the release of kafka-etl that runs the pipeline; it has written the journal."


class TaskTopicsUnfit(KafkaEtlError):
    code = "E342"
    advice = "Change the topic's settings with Kafka's own tools, and start again."


class NoAttempt(KafkaEtlError):
    code = "E346"
    exit_status = 2
    advice = "`kafka-etl tasks show PIPELINE ID` shows the task's attempts and its current state."


class AttemptSilent(KafkaEtlError):
    code = "E347"
    advice = (
        "Ask again with a larger --timeout; check with `kafka-etl status` on its host whether "
        "the pipeline runs. Tasks cannot answer if `history.logs` is off."
    )


class TasksFull(KafkaEtlError):
    code = "E348"
    exit_status = 5
    advice = "Submit the task again when others have ended, or raise `max_open` of the pipeline."


class RecordFailed(KafkaEtlError):
    code = "E401"
    advice = (
        "Add `dead_letter: {topic: NAME}` to the pipeline, or fix the operator, and start the "
        "pipeline again."
    )


class DeadLetterRefused(KafkaEtlError):
    code = "E402"
    pauses = True
    advice = f"Correct the dead-letter topic (size limit, compaction, rights) and resume; {_ONCE}"


class Fenced(KafkaEtlError):
    code = "E403"
    advice = "Another daemon uses the same instance name: give each its own `--instance`."


class BreakerTripped(KafkaEtlError):
    code = "E404"
    pauses = True
    advice = (
        "Fix the cause, then run `kafka-etl restart NAME`. `kafka-etl resume NAME` lets the "
        "current slice pass, about a second's work, and counts from zero again. After "
        "`--until-end`, run it again; a higher limit under `dead_letter.limit` lets it pass."
    )


class WorkerUnstable(KafkaEtlError):
    code = "E405"
    advice = "See the worker's log lines above for the reason of each death."


class SinkFailed(KafkaEtlError):
    """Raised by a sink: nobody but a person can mend this; the pipeline stops."""

    code = "E406"
    advice = "The offsets have not moved; fix the sink and start the pipeline again."


class SinkBlocked(KafkaEtlError):
    code = "E407"
    pauses = True
    advice = (
        "Nothing is lost, and no record became a dead letter for it: mend the target, then "
        "`kafka-etl resume NAME`; " + _ONCE
    )


class StoreOffsetsUnclear(KafkaEtlError):
    code = "E408"
    advice = (
        "Decide where to continue: `kafka-etl offsets show FILE` shows both offsets, `kafka-etl"
        " offsets reset FILE --to PLACE --yes` sets both and begins a new generation."
    )


class TaskHistoryLost(KafkaEtlError):
    code = "E409"
    advice = (
        "Nothing was run, because tasks that have ended might run again. Restore the topic; or "
        "start over, which forgets all tasks: delete the inbox, the journal and the consumer "
        "group of the tasks (the pipeline's name with `.tasks`) with Kafka's own tools."
    )


class WordsUnreadable(KafkaEtlError):
    code = "E410"
    advice = (
        "Find out who writes other records to the inbox: `on_failure` has these records, as "
        "they are. Then start the pipeline again, which continues after them."
    )


class InstanceInUse(KafkaEtlError):
    code = "E501"
    advice = (
        "Stop the other daemon, or give this one its own name and address: `--instance NAME "
        "--http HOST:PORT`. A run with `--until-end` needs neither."
    )


class StateFolderUnusable(KafkaEtlError):
    code = "E502"
    advice = "Make it a folder that this user may write, or choose another one with `--state-dir`."

    @classmethod
    def by(cls, error: OSError, what: str) -> StateFolderUnusable:
        """The error with its reason; only a full disk is told to make room."""
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        advice = "Free some space, or choose another folder with `--state-dir`." if full else ""
        return cls(f"{what}: {error.strerror}", advice)


class AddressInUse(KafkaEtlError):
    code = "E503"
    advice = (
        "If a daemon is there, `kafka-etl status` shows its pipelines. A second daemon needs "
        "its own address and name: `--http HOST:PORT` (or `off`) and `--instance NAME`. A run "
        "with `--until-end` needs neither."
    )


class DaemonUnreachable(KafkaEtlError):
    code = "E504"
    advice = (
        "Check that the daemon runs, and pass its `--state-dir DIR` or `--http HOST:PORT`. A "
        "daemon ends with its last pipeline: `kafka-etl run PATH` starts it again."
    )


class UnknownPipeline(KafkaEtlError):
    code = "E505"
    advice = "`kafka-etl status` lists the pipelines of the daemon."


class OrderRefused(KafkaEtlError):
    code = "E506"
    advice = "`kafka-etl status` shows what the daemon is doing."


class NameChanged(KafkaEtlError):
    code = "E507"
    advice = (
        "Restore the old name and restart, or stop the daemon and run it again: with a new name"
        " the pipeline reads in a new group, from `start` on, unless `source.with.group` is "
        "set."
    )


class OutcomeOpen(KafkaEtlError):
    code = "E508"
    advice = "The daemon continues with the order; `kafka-etl status` shows the result."


class RequestRefused(KafkaEtlError):
    code = "E509"
    exit_status = 2
    advice = "docs/tasks/http.md lists what a request may contain."


class ClerkBusy(KafkaEtlError):
    code = "E510"
    advice = "Ask again in a few seconds; lists of fewer tasks, and shorter waits, take less time."


class DownloadFailed(KafkaEtlError):
    code = "E601"
    advice = "Run the same command again: it continues where it stopped."


class BrokerNotStarted(KafkaEtlError):
    code = "E602"
    advice = "The broker's own log is in the folder named above."


class ExtraMissing(KafkaEtlError):
    code = "E603"
    advice = "Install the extra named above."
