"""Preflight: a store that can be written, and that keeps an object which is there already."""

from __future__ import annotations

import tempfile
from typing import Final
from uuid import uuid4

from kafka_etl.contracts import Deployment, Preflight, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.objects.bucket import Bucket, is_missing
from kafka_etl_connectors.objects.settings import ObjectsSettings, ObjectTarget, ParquetSettings

_SMALL: Final = 8 * 1024 * 1024
_PROBES: Final = "_offsets/_probes"
_LIST: Final = "The account needs to list objects, and the store needs to list what it holds."


def check(settings: ObjectsSettings | ParquetSettings, deployment: Deployment) -> Preflight:
    """Write an object twice, and expect the second to be refused.

    With `looks_only` objects are listed, and none is written.

    A store that is away makes the pipeline wait, not fail; so that is a note here.

    Raises:
        Unreachable: The store is away, and the check only looks.
        SinkFailed: The store refuses the account, or ignores conditions; open files have no place.
    """
    _check_spool(settings, deployment)
    notes: list[str] = []
    try:
        if not deployment.looks_only:
            _probe(Bucket(settings, deployment.folder), settings.url)
        elif is_missing(settings.url):
            notes.append(f"folder {settings.url} would be made")
        else:
            Bucket(settings, deployment.folder).paths(f"{_PROBES}/")
    except Unreachable as error:
        if error.mend:
            raise SinkFailed(
                f"{settings.url}: {error.reason}",
                "Check `url`, `endpoint`, `region` and `credentials`; the account needs to list, "
                "read, write and delete objects there.",
            ) from error
        if deployment.looks_only:
            raise
        notes.append(f"{settings.url} cannot be reached now: {error.reason}; records wait")
    small = _smallness(settings, deployment)
    if small:
        notes.append(small)
    columns = settings.table_columns if isinstance(settings, ParquetSettings) else ()
    return Preflight(columns=columns, notes=tuple(notes))


def _probe(bucket: Bucket, url: str) -> None:
    path = f"{_PROBES}/{uuid4().hex}"
    first = bucket.create(path, b"1")
    try:
        second, kept = bucket.create(path, b"2"), bucket.get(path)
        listed = bucket.paths(f"{_PROBES}/")
    finally:
        bucket.delete([path])
    if path not in listed:
        raise SinkFailed(f"{url} does not list an object that was just written", _LIST)
    if second or not first or kept != b"1":
        raise SinkFailed(
            f"{url} overwrites an object that should have been created only if absent "
            "(`If-None-Match: *`), so that two workers could both count as the owner of a file",
            "Use a store that honours the condition (Amazon S3, Google, Azure, MinIO, SeaweedFS, "
            "Ceph, R2), or a folder.",
        )


def _check_spool(settings: ObjectTarget, deployment: Deployment) -> None:
    spool = None if settings.spool is None else deployment.folder / settings.spool
    try:
        with tempfile.TemporaryFile(dir=spool) as file:
            file.write(b"1")
    except OSError as error:
        place = spool or tempfile.gettempdir()
        raise SinkFailed(
            f"open files cannot be written in {place}: {error.strerror}",
            "Make `spool` a folder that this user may write.",
        ) from error


def _smallness(settings: ObjectTarget, deployment: Deployment) -> str:
    """What to say of limits that make small files; empty: nothing."""
    partitions = sum(deployment.partitions.values())
    if not partitions:
        return ""
    largest = min(settings.roll.bytes, settings.roll.disk // partitions)
    if largest >= _SMALL:
        return ""
    return (
        f"files will be smaller than {largest / 1024 / 1024:.1f} MiB, because `roll.bytes` or "
        f"`roll.disk` is shared by {partitions} partitions: readers are slow with many small "
        "files; raise them, use fewer partitions, or compact the files with a table format "
        "(Delta, Iceberg)"
    )
