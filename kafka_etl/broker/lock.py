"""Writes `kafka.lock`: `python -m kafka_etl.broker.lock [KAFKA_VERSION]`.

A program for maintainers. The program resolves Kafka and all its run-time dependencies in an empty
folder, and writes the size and the SHA-256 of each jar, so that users get exactly these files.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from kafka_etl.broker.jars import KAFKA, LOCK_FILE, Jar, kafka_version
from kafka_etl.broker.maven import MAVEN_CENTRAL, Repository

# Kafka's own jars have no log backend: without this jar a failed start would log nothing.
_LOGGING: Final = "org.slf4j:slf4j-simple:1.7.36"
_HEAD: Final = "# Written by `python -m kafka_etl.broker.lock`: coordinate, SHA-256, bytes.\n"


def resolve(version: str) -> list[Jar]:
    with tempfile.TemporaryDirectory() as empty, ThreadPoolExecutor(4) as pool:
        repository = Repository(MAVEN_CENTRAL, Path(empty), lambda _name, _received: None)
        coordinates = sorted(repository.closure(f"{KAFKA}:{version}", _LOGGING))
        return [
            Jar(coordinate, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
            for coordinate, file in zip(
                coordinates, pool.map(repository.fetch, coordinates), strict=True
            )
        ]


def main() -> None:
    jars = resolve(sys.argv[1] if len(sys.argv) > 1 else kafka_version())
    lines = [f"{jar.coordinate} {jar.sha256} {jar.size}\n" for jar in jars]
    LOCK_FILE.write_text(_HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
