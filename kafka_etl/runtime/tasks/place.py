"""Where the keeper of a pipeline listens."""

from __future__ import annotations

from pathlib import Path


def socket_of(folder: Path, pipeline: str) -> Path:
    """The socket of a pipeline's keeper, in the state folder of its daemon."""
    return folder / f"{pipeline}.keeper.sock"
