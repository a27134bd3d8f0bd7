"""Files of secure connections: found missing, or to be something else, before anything connects."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.cli.cluster import find_cluster
from kafka_etl.config.load import load
from kafka_etl.errors import Code
from tests.kit.listener import CERTIFICATE, KEY
from tests.unit.config.project import findings_in, pipeline, place_of, places

LOCKED_CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBbTCCAROgAwIBAgIUASWjlNWH0SLkrOQ6MiCzMDDd6hkwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeTAeFw0yNjExMjcyMTM2MzZaFw0zNjExMjQyMTM2MzZaMAwx
CjAIBgNVBAMMAXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARyZORPU2MSFOYF
oMF82mB/fFFicsA26EpyrdCiQ7i3FZcSRYQTaVblciyq8kBeECQmySPB59N+7VZR
dhuzoqiCo1MwUTAdBgNVHQ4EFgQUUHbsx8UhxZ46v2ER15qAhBylnbYwHwYDVR0j
BBgwFoAUUHbsx8UhxZ46v2ER15qAhBylnbYwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNIADBFAiBy4pJ8GIvBP1mqQFxSflCev5BkOOKN43TCPpul5DJIvAIh
AOMyhLG6yiMI37oG8pSZgnR0J1CscgXCGBVBh0xhsg2T
-----END CERTIFICATE-----
"""
LOCKED_KEY = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAjriWcRaThVWAICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIdNTc4vI0N6kEgZANyy5RiDJciGAF
h+tEaxdcQ9PANIQ/ddAKLfDD604+XiM5wa67KkiHl+igFMQQIoyHJyCgEG/9qgKF
ymbDWoz64lpcSjWNLbS1Vpi1D/SosslBtNw4UGA1aGiNaNONN8pWGJlOiMVqHERQ
b86XXmU5b2hDNrWazc6DyCK6LgpXjWx9aWrMiwHINugMk+CBFy8=
-----END ENCRYPTED PRIVATE KEY-----
"""
"""Made for this test, of nobody; the second pair is locked with `hush`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "a.pem": CERTIFICATE,
        "a.key": KEY,
        "b.pem": LOCKED_CERTIFICATE,
        "b.key": LOCKED_KEY,
        "both.pem": CERTIFICATE + KEY,
        "text": "hello",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "none").mkdir()
    return tmp_path


CLIENTS = {
    "registry": "registry: {url: 'http://127.0.0.1:9', %s}",
    "kafka": "kafka: {bootstrap.servers: 'x:1', security.protocol: SASL_SSL, %s}",
    "producer": "kafka: {bootstrap.servers: 'x:1', security.protocol: ssl}\nproducer: {%s}",
}
MISTAKES = [
    ("ssl.ca.location: »nope.pem", "`ssl.ca.location`: @/nope.pem cannot be read: No such file"),
    ("ssl.ca.location: »text", "`ssl.ca.location`: @/text holds no certificate in PEM"),
    ("ssl.ca.location: »a.key", "`ssl.ca.location`: @/a.key holds no certificate in PEM"),
    ("ssl.certificate.location: »nope.pem", "@/nope.pem cannot be read: No such file"),
    ("ssl.certificate.location: »none", "@/none is a folder, not a file"),
    ("ssl.certificate.location: a.pem, ssl.key.location: »nope.key", "@/nope.key cannot be read"),
    (
        "ssl.certificate.location: b.pem, ssl.key.location: »a.key",
        "@/a.key does not hold the key of the certificate in @/b.pem",
    ),
    ("ssl.certificate.location: b.pem, ssl.key.location: »b.key", "@/b.key does not hold the key"),
    (
        "ssl.certificate.location: b.pem, ssl.key.password: secret, ssl.key.location: »b.key",
        "or `ssl.key.password` does not open it",
    ),
]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("given", "says"), MISTAKES)
def test_a_file_that_will_not_do_is_named(folder: Path, client: str, given: str, says: str) -> None:
    text = pipeline(*(CLIENTS[client] % given).splitlines())
    found = findings_in(folder, text)
    assert [place_of(finding) for finding in found] == places(text)
    assert found[0].code == Code.INVALID_VALUE
    assert says.replace("@", str(folder)) in found[0].message
    assert "secret" not in found[0].message


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "given",
    [
        "ssl.ca.location: a.pem",
        "ssl.ca.location: none",
        "ssl.certificate.location: a.pem, ssl.key.location: a.key",
        "ssl.certificate.location: b.pem, ssl.key.location: b.key, ssl.key.password: hush",
        "ssl.certificate.location: both.pem",
    ],
)
def test_files_that_will_do(folder: Path, client: str, given: str) -> None:
    assert findings_in(folder, pipeline(*(CLIENTS[client] % given).splitlines())) == []


def test_the_client_of_the_registry_needs_a_key(folder: Path) -> None:
    text = pipeline(CLIENTS["registry"] % "ssl.certificate.location: »a.pem")
    (found,) = findings_in(folder, text)
    assert (
        f"{folder}/a.pem does not hold the key of the certificate in {folder}/a.pem"
        in found.message
    )


@pytest.mark.parametrize(
    "kafka",
    [
        "ssl.ca.location: nope.pem",
        "security.protocol: ssl, ssl.ca.location: probe",
        "security.protocol: ssl, ssl.ca.location: ''",
    ],
)
def test_files_that_kafkas_client_does_not_open(folder: Path, kafka: str) -> None:
    text = pipeline(f"kafka: {{bootstrap.servers: 'x:1', {kafka}}}")
    assert findings_in(folder, text) == []


def test_the_path_of_a_variable_is_shown_as_it_was_tried(tmp_path: Path) -> None:
    text = pipeline(CLIENTS["kafka"] % "ssl.ca.location: '${KAFKA_CA}'")
    (found,) = findings_in(tmp_path, text, {"KAFKA_CA": "certificates/ca.pem"})
    assert f"{tmp_path}/certificates/ca.pem cannot be read: No such file" in found.message
    (found,) = findings_in(tmp_path, text, {"KAFKA_CA": "/nowhere/ca.pem"})
    assert "`ssl.ca.location`: /nowhere/ca.pem cannot be read: No such file" in found.message


@pytest.mark.parametrize("content", [KEY, "-----BEGIN PRIVATE KEY----- x", "MC4CAQAw" * 50])
def test_a_key_in_place_of_its_path_is_not_shown(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    for given in ("${KEY}", "${file:key}"):
        text = pipeline(CLIENTS["kafka"] % f"ssl.key.location: '{given}'")
        (found,) = findings_in(tmp_path, text, {"KEY": content})
        assert content.strip() not in found.render()


def test_every_command_and_process_reads_the_file_beside_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    (tmp_path / "p.yaml").write_text(
        pipeline(CLIENTS["kafka"] % "ssl.ca.location: ca.pem", "registry: {ssl.ca.location: false}")
    )
    cluster = find_cluster(None, tmp_path / "p.yaml")
    assert cluster.consumer["ssl.ca.location"] == str(tmp_path / "ca.pem")
    (document,) = load([tmp_path / "p.yaml"], env={}).documents
    assert document.data["registry"]["ssl.ca.location"] is False
