from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from kafka_etl.contracts import Deployment, Guarantee, Kind, Move, StoredOffset, Unreachable
from kafka_etl.envelope import Provenance
from kafka_etl.errors import ExtraMissing, SinkFailed
from kafka_etl_connectors.objects import PARQUET, SINK
from kafka_etl_connectors.objects.bucket import Bucket
from kafka_etl_connectors.objects.errors import unreachable
from kafka_etl_connectors.objects.read import committed_objects
from tests.kit.daemon import free_port
from tests.sinks.objects.system import OTHER, TP, World, nothing, take

PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"


def deployment(folder: Path = Path(), **more) -> Deployment:
    provenance = Provenance("orders", "0", "group", "worker", "host", 1, "0", "3", {})
    return Deployment("orders", "m", {}, {}, {}, provenance, folder=folder, **more)


def lines(**more):
    return SINK.settings.model_validate({"url": "memory://plugin", **more})


def parquet(**more):
    given = {"url": "memory://plugin", "table": "orders", "types": {"id": "int64"}, **more}
    return PARQUET.settings.model_validate(given)


def test_the_label_says_for_whom():
    label = SINK.label(lines())
    assert label.guarantee is Guarantee.EXACTLY_ONCE
    assert "manifests" in label.because
    assert "list folders" in label.because
    assert PARQUET.label(parquet()) == label


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "ftp://x/y"}, "should begin with one of s3://"),
        ({"url": "s3://"}, "should begin with"),
        ({"url": "s3://key:secret@bucket"}, "credentials"),
        ({"url": "https://account.blob.core.windows.net/c?sig=abc"}, "should begin with"),
        ({"url": "s3://bucket/x?X-Amz-Signature=abc"}, "credentials"),
        ({"endpoint": "https://key:hush@host"}, "credentials"),
        ({"endpoint": "host:9000"}, "HOST:PORT"),
        ({"path": "{nobody}/"}, "nobody"),
        ({"path": "_offsets/"}, "none beginning with"),
        ({"offsets": {"name": "a/b"}}, "letters, digits"),
        ({"compression": "lz4"}, "zstd"),
        ({"roll": {"every": 0}}, "greater than 0"),
    ],
)
def test_wrong_settings_say_what_is_right(wrong, said):
    with pytest.raises(ValidationError, match=said):
        lines(**wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "upsert", "key": ["id"]}, "only added"),
        ({"create": True}, "leave out"),
        ({"types": {"id": "number"}}, "column id: `number` should be one of bool"),
        ({"types": {}}, "at least 1"),
        ({"columns": {"id": "value.id", "name": "value.name"}}, "same columns: name"),
    ],
)
def test_wrong_settings_of_parquet_say_what_is_right(wrong, said):
    with pytest.raises(ValidationError, match=said):
        parquet(**wrong)


def test_secrets_are_not_shown():
    settings = lines(credentials={"access_key_id": "AKIA", "secret_access_key": "hush"})
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()


def test_plugins_load_without_their_clients():
    code = (
        "import sys; from kafka_etl_connectors.objects import SINK, PARQUET\n"
        "assert not {'obstore', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_client_names_the_extra(monkeypatch):
    monkeypatch.setattr("kafka_etl.extras.find_spec", lambda _name: None)
    with pytest.raises(ExtraMissing, match="obstore, pyarrow") as missing:
        SINK.build(lines(), deployment())
    assert "kafka-etl[objects]" in str(missing.value.next_step)


@pytest.mark.parametrize("settings", [lines(), parquet()])
def test_what_is_built_keeps_offsets_under_the_group(settings):
    plugin = PARQUET if hasattr(settings, "types") else SINK
    store = plugin.build(settings, deployment(group="g/1", cluster="c-1"))
    assert store.kind == ("parquet" if plugin is PARQUET else "objects")
    store.connect()
    store.place({TP: StoredOffset(5)}, overwrite=True)
    paths = Bucket(settings, Path()).paths(f"_offsets/g~2F1/c-1/{TP.topic}/{TP.number}/")
    assert paths[0].endswith(".json")


@pytest.mark.parametrize(
    ("url", "credentials", "shown"),
    [
        ("s3://b/a/b", {"access_key_id": "k", "secret_access_key": "s"}, 'S3Store(bucket="b"'),
        ("gs://b/a/b", {"service_account": "key.json"}, 'GCSStore(bucket="b"'),
        ("az://b/a/b", {"account_name": "me", "account_key": "a2V5"}, "AzureStore(container"),
        ("az://b/a/b", {"account_name": "me", "sas_token": "sv=1&sig=2"}, "AzureStore(container"),
    ],
)
def test_clients_of_all_providers_are_made(tmp_path, url, credentials, shown):
    key = {
        "type": "service_account",
        "client_email": "me@x",
        "private_key_id": "1",
        "private_key": PRIVATE_KEY,
        "gcs_base_url": "https://localhost:1",
        "disable_oauth": True,
    }
    (tmp_path / "key.json").write_text(json.dumps(key))
    made = Bucket(lines(url=url, credentials=credentials), tmp_path)
    assert repr(made._small).startswith(shown)
    assert made._small.prefix == "a/b"


def test_the_check_leaves_nothing_and_knows_the_columns(tmp_path):
    settings = parquet(
        url=f"file://{tmp_path}/new", types={"id": "int64 not null", "at": "timestamptz"}
    )
    found = PARQUET.check(settings, deployment(tmp_path))
    assert [(column.name, column.kind) for column in found.columns] == [
        ("id", Kind.INT),
        ("at", Kind.TIMESTAMP_TZ),
    ]
    assert found.notes == ()
    assert Bucket(settings, tmp_path).paths("") == []


def test_a_look_writes_nothing(tmp_path, monkeypatch):
    look = replace(deployment(tmp_path), looks_only=True)
    settings = parquet(url=f"file://{tmp_path}/new", types={"id": "int64"})
    assert PARQUET.check(settings, look).notes == (f"folder file://{tmp_path}/new would be made",)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Bucket, "create", None)
    there = settings.model_copy(update={"url": f"file://{tmp_path}"})
    assert PARQUET.check(there, look).notes == ()


def test_a_look_at_a_store_that_is_away_says_so(tmp_path):
    away = lines(
        url="s3://bucket/x",
        endpoint=f"http://127.0.0.1:{free_port()}",
        allow_http=True,
        credentials={"access_key_id": "k", "secret_access_key": "s"},
    )
    with pytest.raises(Unreachable):
        SINK.check(away, deployment(tmp_path, looks_only=True))


def test_a_store_that_ignores_conditions_is_refused(monkeypatch):
    def overwrite(self, path, content):
        self.put(path, content)
        return True

    monkeypatch.setattr(Bucket, "create", overwrite)
    with pytest.raises(SinkFailed, match="overwrites an object"):
        SINK.check(lines(), deployment())
    assert Bucket(lines(), Path()).paths("_offsets/_probes/") == []


def test_small_files_are_warned_of():
    few = SINK.check(lines(), deployment(partitions={"orders": 100}))
    assert few.notes == ()
    many = SINK.check(lines(), deployment(partitions={"orders": 1000, "other": 1000}))
    assert "5.1 MiB" in many.notes[0]
    small = SINK.check(lines(roll={"bytes": "1MiB"}), deployment(partitions={"orders": 1}))
    assert "1.0 MiB" in small.notes[0]


def test_a_folder_that_cannot_be_made_stops(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkFailed) as failed:
        SINK.check(lines(url=f"file://{tmp_path}/file/x"), deployment(tmp_path))
    assert str(tmp_path) in str(failed.value)


def test_a_spool_that_is_not_there_stops(tmp_path):
    with pytest.raises(SinkFailed, match="nowhere"):
        SINK.check(lines(spool="nowhere"), deployment(tmp_path))


# Readers


def test_readers_find_objects_by_topic(world):
    world.place(TP, OTHER)
    store = world.store()
    take(store, 0, 2)
    store.roll(final=True)
    store.commit(nothing(), {TP: Move(2, 5)}, [])
    store.roll(final=True)
    take(store, 5, 6)
    store.roll(final=True)
    assert len(world.files("orders")) == 2
    assert world.files("other") == []
    assert [row["id"] for row in world.rows(world.files()[1])] == [5]
    assert committed_objects(world.url, "nobody") == []


def test_an_object_that_no_manifest_names_is_not_read(world):
    world.place()
    store = world.store()
    take(store, 0, 2)
    store.roll(final=True)
    (path,) = world.data()
    orphan = path.replace("orders-0-", "orders-0-x")
    world.bucket().put(orphan, b"")
    assert world.files() == [f"{world.url}/{path}"]


def test_the_command_prints_paths(tmp_path):
    world = World(f"file://{tmp_path}/a lake")
    world.place()
    store = world.store()
    take(store, 0, 2)
    store.roll(final=True)
    command = [sys.executable, "-m", "kafka_etl_connectors.objects.read", world.url, "app"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    (path,) = done.stdout.splitlines()
    assert Path(path).exists()


def test_the_command_tells_mistakes_and_makes_no_folder(tmp_path):
    misspelt = tmp_path / "a lade"
    for url, status, said in (
        (f"file://{misspelt}", 1, f"there is no folder {misspelt}"),
        ("lake", 2, "should begin with one of"),
    ):
        command = [sys.executable, "-m", "kafka_etl_connectors.objects.read", url, "app"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (status, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not misspelt.exists()


# Errors


class PermissionDeniedError(Exception):
    pass


def test_errors_are_told_in_the_words_of_users():
    error = PermissionDeniedError(
        "The operation lacked the necessary privileges: <Code>AccessDenied</Code>"
        "<Message>You may not.</Message>\n\n"
        "Debug source:\nPermissionDenied { path: secret innards }"
    )
    told = unreachable(error)
    assert told.mend
    assert told.reason == "access is denied: AccessDenied: You may not."
    assert "innards" not in told.reason


def test_secrets_in_errors_are_hidden():
    text = "PUT https://h/x?X-Amz-Signature=abc123&sig=def456 failed, Authorization: Bearer xyz789"
    told = unreachable(Exception(text)).reason
    assert not [secret for secret in ("abc123", "def456", "xyz789") if secret in told]
    assert not unreachable(Exception(text)).mend


RECORDED = {
    "Generic S3 error: Error performing PUT http://127.0.0.1:13406/bkt/p/c in 394.659801ms, after "
    "3 retries, max_retries: 3, retry_timeout: 20s - HTTP error: error sending request\n\n"
    "Debug source:\nGeneric {": ("PUT http://127.0.0.1:13406/…: error sending request", False),
    "Generic S3 error: Error performing list request: Error performing GET "
    "http://127.0.0.1:13406/bkt?list-type=2&prefix=p%2Fl%2F in 44.516µs - HTTP error: error "
    "sending request\n\nDebug source:": (
        "GET http://127.0.0.1:13406/…: error sending request",
        False,
    ),
    "Generic S3 error: Error performing PUT http://127.0.0.1:14867/b in 2.158096ms - Server "
    'returned non-2xx status code: 400 Bad Request: <?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>InvalidBucketName</Code><Message>The specified bucket is not valid.</Message>"
    "<Resource>/b</Resource></Error>": (
        "InvalidBucketName: The specified bucket is not valid.",
        True,
    ),
}
"""Errors of the client on a real server -> what is told, and whether a user has to mend it."""


@pytest.mark.parametrize("text", RECORDED)
def test_recorded_errors(text):
    told = unreachable(Exception(text))
    assert (told.reason, told.mend) == RECORDED[text]
