"""Documents that are kept until they are claimed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kafka_etl.config.model import DeadLetterSpec
from kafka_etl.engine.sinks.claim_check import ClaimCheck
from kafka_etl.errors import ExtraMissing, SinkFailed


def test_a_document_is_kept_under_its_digest(tmp_path: Path) -> None:
    claim = ClaimCheck(f"file://{tmp_path}/new/folder/", lambda _: None)
    assert claim(b"whole") == claim(b"whole")
    (found,) = (tmp_path / "new/folder").iterdir()
    assert found.name == hashlib.sha256(b"whole").hexdigest() + ".json"
    assert claim(b"whole") == f"file://{found}"
    assert found.read_bytes() == b"whole"


def test_a_place_that_is_away_is_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "place"
    said: list[str] = []
    place.write_text("a file where a folder should be")

    def pulse(reason: str) -> None:
        said.append(reason)
        place.unlink(missing_ok=True)

    uri = ClaimCheck(f"file://{place}", pulse)(b"whole")
    assert Path(uri.removeprefix("file://")).read_bytes() == b"whole"
    assert said[0].startswith("claim check: the sink: ")


def test_patience_ends(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("")
    with pytest.raises(SinkFailed, match="stays away"):
        ClaimCheck(f"file://{place}", lambda _: None, patience=0.1)(b"whole")


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr("kafka_etl.extras.find_spec", nothing)
    with pytest.raises(ExtraMissing, match="obstore"):
        ClaimCheck("file:///x", lambda _: None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"use": "mns", "claim_check": "http://host/x"},
        {"use": "mns", "claim_check": "file://x"},
        {"use": "mns", "claim_check": "s3://"},
        {"topic": "t", "claim_check": "s3://bucket"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="claim_check"):
        DeadLetterSpec.model_validate(wrong)
