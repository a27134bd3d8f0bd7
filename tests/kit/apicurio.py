"""A real schema registry out of a package registry: Apicurio, which speaks Confluent's API, too."""

from __future__ import annotations

import hashlib
import os
import signal
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from jgo.parse import Coordinate

from kafka_etl.broker import process
from kafka_etl.broker.jars import cache_folder
from kafka_etl.broker.java import QUICK, find_java
from kafka_etl.broker.maven import MAVEN_CENTRAL, Repository
from kafka_etl.broker.ports import LOOPBACK, free_ports

COORDINATE = Coordinate(
    "io.apicurio", "apicurio-registry-app", "3.3.3", classifier="all", packaging="tar.gz"
)
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
START_S = 60


def installed() -> Path:
    """Its folder; it is downloaded, checked and unpacked when it is not there."""
    folder = cache_folder() / f"apicurio-{SHA256[:12]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apicurio-", dir=folder.parent) as private:
        url = os.environ.get("KAFKA_ETL_MAVEN", MAVEN_CENTRAL).rstrip("/")
        repository = Repository(url, Path(private), lambda _name, _received: None)
        archive = repository.fetch(COORDINATE)
        with archive.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        assert found == SHA256, f"the answer has the SHA-256 {found} instead of {SHA256}"
        unpacked = Path(private) / "unpacked"
        with tarfile.open(archive) as opened_archive:
            opened_archive.extractall(unpacked, filter="data")
        if not folder.exists():  # meanwhile another process has got it
            unpacked.rename(folder)
    return folder


class Apicurio:
    """A registry of one's own; what it holds is in memory."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "apicurio.log"
        self.port, self._management = free_ports(2)
        self._marker = f"-Dkafka-etl.test={folder}"
        self._process: process.Process | None = None

    @property
    def url(self) -> str:
        """Of the API that Confluent's clients speak."""
        return f"http://{LOOPBACK}:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        home = installed()
        command = [
            str(find_java()),
            *QUICK,
            "-XX:-UsePerfData",
            "-Xshare:auto",
            "-Xmx400m",
            self._marker,
            "-jar",
            str(home / "quarkus-run.jar"),
        ]
        environment = {
            **os.environ,
            "QUARKUS_HTTP_HOST": LOOPBACK,
            "QUARKUS_HTTP_PORT": str(self.port),
            "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
            "QUARKUS_MANAGEMENT_PORT": str(self._management),
        }
        self._process = process.spawn(command, self._marker, environment, self._log)
        self._guard = process.guard(self._process, self._marker)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.running, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.05)

    def suspend(self) -> None:
        """It is there and does not answer."""
        if self._process:
            self._process.suspend()

    def resume(self) -> None:
        if self._process:
            self._process.signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._guard.kill()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False


@contextmanager
def running(folder: Path) -> Iterator[Apicurio]:
    registry = Apicurio(folder)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


if __name__ == "__main__":
    installed()
