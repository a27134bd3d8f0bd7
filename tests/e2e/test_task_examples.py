"""The examples of long tasks on real Kafka: their READMEs' commands, run as they stand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from kafka_etl.broker import Cluster
from tests.kit.console import Console, commands
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
    """Run the commands of an example's README; `check` is called before the daemon is stopped."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    listed = commands((folder / "README.md").read_text())
    assert [step.line for step in listed if step.line.startswith("kill")] == ["kill %1"]
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
