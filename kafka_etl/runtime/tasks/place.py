"""Where the keeper of a pipeline listens, and where its owners keep their archives."""

from __future__ import annotations

from pathlib import Path


def socket_of(folder: Path, pipeline: str) -> Path:
    """The socket of a pipeline's keeper, in the state folder of its daemon."""
    return folder / f"{pipeline}.keeper.sock"


def archives_of(folder: Path, member: str) -> Path:
    """The folder of an owner's archives, which no other owner uses at the same time."""
    return folder / "archives" / member
