"""The examples of long tasks on real Kafka: their READMEs' commands, run as they stand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from kafka_etl.broker import Cluster
from tests.kit.console import Console, commands
from tests.kit.daemon import command
from tests.kit.kafka import Kafka
from tests.kit.seaweedfs import KEY, SECRET, SeaweedFs

EXAMPLES = Path(__file__).parents[2] / "examples"
BUCKET = "films"


@pytest.fixture
def seaweedfs(tmp_path: Path) -> Iterator[SeaweedFs]:
    server = SeaweedFs(tmp_path / "seaweedfs")
    try:
        server.start()
        server.make_bucket(BUCKET)
        yield server
    finally:
        server.stop()


def play(
    name: str,
    tmp_path: Path,
    cluster: Cluster,
    check: Callable[[Path], None],
    **env: str,
) -> None:
    """Run the commands of an example's README; `check` is called before a daemon is stopped."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    listed = commands((folder / "README.md").read_text())
    assert listed[-1].line == "kill %1"
    with Console(folder, {"KAFKA": cluster.bootstrap, **env}) as console:
        console.play(listed, kill=lambda: check(folder))


def test_films_are_transcoded_and_a_stopped_one_leaves_nothing(
    tmp_path: Path, cluster: Cluster, seaweedfs: SeaweedFs
) -> None:
    films = S3Store(
        BUCKET,
        endpoint=seaweedfs.endpoint,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
    )

    def check(folder: Path) -> None:
        found = {each["path"]: each["size"] for page in obstore.list(films) for each in page}
        made = {f"{form}/raw/clip.mp4.{form}" for form in ("mp4", "avi", "flv", "webm")}
        assert found.keys() == {"raw/clip.mp4", "raw/lecture.mp4", "raw/notes.txt"} | made
        for form, begin in (("mp4", b"ftyp"), ("avi", b"RIFF"), ("flv", b"FLV"), ("webm", b"webm")):
            film = obstore.get(films, f"{form}/raw/clip.mp4.{form}").bytes()
            assert begin in bytes(film)[:64], form
        assert processes_of(folder) == []
        assert files_of_attempts(folder) == []

    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    server = {"AWS_ENDPOINT_URL": seaweedfs.endpoint, "AWS_ALLOW_HTTP": "true"}
    play("06-transcode-videos", tmp_path, cluster, check, FILMS=f"s3://{BUCKET}", **env, **server)


def test_a_training_goes_on_where_it_was_stopped(tmp_path: Path, cluster: Cluster) -> None:
    found: list[dict[str, Any]] = []

    def check(folder: Path) -> None:
        (file,) = (folder / "models").iterdir()
        found.append(json.loads(file.read_text()))

    play("07-train-nightly", tmp_path, cluster, check)
    stopped, trained = found
    assert 0 < stopped["epoch"] < trained["epoch"] == 400
    # What the deliveries were made of; features are in tens.
    assert trained["weights"] == pytest.approx([8, 40, 15, 60], rel=0.1)
    kafka = Kafka(cluster.bootstrap)
    (record,) = kafka.read("models.trained")
    result = json.loads(record.value or b"")
    assert result["resumed_at"] == stopped["epoch"]
    assert result["records"] == 500
    assert 1000 <= sum(kafka.ends("deliveries").values()) <= 1500  # today is not over


def test_a_fleet_is_reported_once_hosts_are_back_and_logs_are_mended(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA", cluster.bootstrap)
    name, topic = "08-slow-queries-of-a-fleet", "fleet.slow-statements"

    def check(folder: Path) -> None:
        tried = command("try", "pipeline.yaml", "--from-kafka", "4", cwd=folder)
        assert "4 records in, 6 out, 0 dropped, 0 dead letters" in tried.stderr
        refused = command("dlq", "replay", "pipeline.yaml", "fleet.failed/0/0", cwd=folder)
        assert refused.returncode == 2
        assert "kafka-etl tasks retry pipeline.yaml" in refused.stderr

    play(name, tmp_path, cluster, check)
    kafka = Kafka(cluster.bootstrap)
    found = [json.loads(record.value or b"") for record in kafka.read(topic)]
    text = (EXAMPLES / name / "expected" / f"{topic}.jsonl").read_text()
    expected = [json.loads(line) for line in text.splitlines()]
    assert sorted(found, key=place) == expected
    (letter,) = kafka.read("fleet.failed")
    assert json.loads(letter.value or b"")["requestContext"]["condition"] == "OperatorError"


def place(statement: dict[str, Any]) -> tuple[str, int]:
    return statement["database"], statement["rank"]


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that work on a file in the folder."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile
            continue
        if "-i" in line.split() and str(folder) in line:
            found.append(line)
    return found


def files_of_attempts(folder: Path) -> list[Path]:
    """Files in the folders of attempts."""
    return [path for path in (folder / "state").glob("**/scratch/**/*") if path.is_file()]
