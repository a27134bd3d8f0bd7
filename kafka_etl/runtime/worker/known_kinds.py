"""What a worker knows of the past: the kinds of earlier dead letters, and when a version began.

The dead-letter topic itself tells which kinds there were: it is committed together with the
records, every worker on every host reads the same, and there is nothing beside it that could be
lost or disagree. A kind that the breaker has stopped is not in the topic, so that a restart of the
same version stops at the kind again; once a user has resumed the pipeline, it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.cluster.admin import reached
from kafka_etl.kafka.cluster.topics import existing_partitions, read_ranges, whole
from kafka_etl.log import get_logger

_NEWEST: Final = 10_000
"""Offsets of the dead-letter topic that are looked through, the newest of each partition."""


def known_kinds(settings: Mapping[str, Any], topic: str, pipeline: str) -> set[str]:
    """The fingerprints of a pipeline's newest dead letters.

    Args:
        settings: Settings of the client.
        topic: The dead-letter topic, in which other pipelines may have dead letters, too.
        pipeline: Name of the pipeline.

    Raises:
        TopicMissing: The topic does not exist.
        NotAuthorized: This user may not read the topic.
        BrokersUnreachable: No broker has answered for about 10 s.
    """
    admin = reached(settings)
    ranges = whole(admin, existing_partitions(admin, topic))
    share = -(-_NEWEST // len(ranges))
    newest = {tp: (max(begin, end - share), end) for tp, (begin, end) in ranges.items()}
    letters = map(decode_letter, read_ranges(settings, newest))
    return {letter.fingerprint for letter in letters if letter and letter.pipeline == pipeline}


def began_ms(path: Path, about: Provenance, now_ms: int) -> int:
    """When this host first ran this version of the pipeline, in milliseconds since the epoch.

    A version is the configuration and the versions of the operators. The file keeps the version
    and its time over restarts; without the file, which a new host does not have, it is now.

    Args:
        path: The file, one for all workers of the pipeline.
        about: Configuration and operators.
        now_ms: Present time.
    """
    parts = [about.config_hash, *sorted(about.versions.items())]
    version = hashlib.sha256(orjson.dumps(parts)).hexdigest()[:16]
    try:
        kept = orjson.loads(path.read_bytes())
        if kept["version"] == version:
            return min(int(kept["began_ms"]), now_ms)
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no file, or half a file: the version begins now
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        unfinished.write_bytes(orjson.dumps({"version": version, "began_ms": now_ms}))
        unfinished.rename(path)
    except OSError as error:
        get_logger("worker").warning("the time of this version cannot be kept", error=str(error))
    return now_ms
