from __future__ import annotations

from itertools import count

import pytest

from tests.sinks.objects.system import World

_numbers = count()


@pytest.fixture
def world():
    """A store of objects in memory, new for each test."""
    return World(f"memory://world-{next(_numbers)}")
