"""The sink passes the suite that every writer must pass."""

from __future__ import annotations

import pytest

from kafka_etl.testing import WriterContract
from kafka_etl_connectors.mns import SINK


class _System:
    """The suite's access to the stand-in service."""

    refused = b""
    tombstones = False

    def __init__(self, mns, settings, deployment):
        self._mns, self._settings, self._deployment = mns, settings, deployment

    def writer(self):
        return SINK.build(self._settings(), self._deployment)

    def written(self):
        return self._mns.decoded()

    def value(self, number):
        return b'{"id":%d}' % number

    def seen_ids(self):
        return None


class TestMns(WriterContract):
    @pytest.fixture
    def system(self, mns, settings, deployment):
        return _System(mns, settings, deployment)
