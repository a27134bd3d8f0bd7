"""What the author of a plug-in imports besides the contracts themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl import contracts, record, testing, units


def test_types_of_settings_and_partitions_are_among_the_contracts() -> None:
    assert contracts.Partition is record.Partition
    assert contracts.Duration is units.Duration
    assert contracts.Size is units.Size


def test_a_deployment_for_tests_is_that_of_one_worker_and_takes_changes(tmp_path: Path) -> None:
    made = testing.deployment()
    assert (made.pipeline, made.group, made.provenance.worker) == ("test", "test", made.member)
    assert testing.deployment(folder=tmp_path, group="g").folder == tmp_path
    with pytest.raises(TypeError, match="colums"):
        testing.deployment(colums=())
