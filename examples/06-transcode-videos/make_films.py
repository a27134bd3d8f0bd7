"""Makes the example's films with ffmpeg, and puts them into the object store."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import obstore
from obstore.store import from_url

SECONDS: Final = {"raw/clip.mp4": 2, "raw/lecture.mp4": 300}
"""Object -> length of the film."""


def film(path: Path, seconds: int) -> Path:
    """A test pattern with a tone."""
    picture = f"testsrc=size=160x120:rate=4:duration={seconds}"
    tone = f"sine=frequency=440:duration={seconds}"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
    ffmpeg = os.environ.get("FFMPEG", "ffmpeg")
    command = [ffmpeg, "-v", "error", *inputs, "-preset", "ultrafast", "-shortest", str(path)]
    subprocess.run(command, check=True)  # noqa: S603 - our own command
    return path


if __name__ == "__main__":
    store = from_url(os.environ.get("FILMS", "s3://films"))
    with TemporaryDirectory() as folder:
        for name, seconds in SECONDS.items():
            obstore.put(store, name, film(Path(folder) / Path(name).name, seconds))
        obstore.put(store, "raw/notes.txt", b"this is no film")
