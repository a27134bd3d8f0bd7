"""Transcodes films of an object store with ffmpeg, and says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypedDict

import obstore
from obstore.store import ObjectStore, from_url

from kafka_etl import Context, Permanent
from kafka_etl.errors import ProgramFailed

ENCODERS: Final = {
    "mp4": "-c:v libx264 -preset veryfast -c:a aac -movflags +faststart",
    "avi": "-c:v mpeg4 -c:a libmp3lame",
    "flv": "-c:v flv -c:a libmp3lame -ar 44100",
    "webm": "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus",
}
"""Format -> the options of ffmpeg that make it."""
QUIET: Final = ["-v", "error", "-nostdin"]
PROGRESS: Final = ["-progress", "pipe:1", "-nostats"]


class Transcoded(TypedDict):
    """Where a film is in its new format."""

    object: str
    format: str
    seconds: float
    bytes: int


def transcode(
    upload: dict[str, Any],
    context: Context,
    *,
    store: str,
    ffmpeg: str = "ffmpeg",
    pace: float = 0,
) -> Transcoded:
    """Make another format of a film.

    Files are in the attempt's own folder, and the object is written last, in one piece: an attempt
    that is stopped, or dies, leaves nothing.

    Args:
        upload: The object of the film, and the format.
        context: Of the attempt.
        store: URL of a bucket or a folder; keys and endpoint are those of the environment.
        ffmpeg: The program.
        pace: How many seconds of film may be read in a second; 0: as many as the host can.
    """
    source, form = upload["object"], upload["format"]
    if form not in ENCODERS:
        raise Permanent(f"no encoder makes {form}; there are {', '.join(ENCODERS)}")
    objects = from_url(store)
    film, made = context.folder / "film", context.folder / f"made.{form}"
    download(objects, source, film, context)
    seconds = length(film, context, ffmpeg)

    def show(done: float) -> None:
        context.progress(done / seconds, f"{done:.0f} of {seconds:.0f} s")

    command = [ffmpeg, *QUIET, *PROGRESS, "-readrate", str(pace), "-i", str(film)]
    context.run([*command, *ENCODERS[form].split(), str(made)], on_line=at(show))
    context.check()
    target = f"{form}/{source}.{form}"
    obstore.put(objects, target, made)
    return {"object": target, "format": form, "seconds": seconds, "bytes": made.stat().st_size}


def download(objects: ObjectStore, source: str, film: Path, context: Context) -> None:
    """Copy an object to a file."""
    with film.open("wb") as file:
        for chunk in obstore.get(objects, source):
            context.check()
            file.write(chunk)


def length(film: Path, context: Context, ffmpeg: str) -> float:
    """How long the film is, in seconds; one that ffmpeg cannot read is not tried again."""
    times = [0.0]
    command = [ffmpeg, *QUIET, *PROGRESS, "-i", str(film), "-c", "copy", "-f", "null", "-"]
    try:
        context.run(command, on_line=at(times.append))
    except ProgramFailed as error:
        why = error.stderr.strip().rpartition("\n")[2]
        raise Permanent(f"ffmpeg cannot read this film: {why}") from error
    return max(0.001, *times)


def at(tell: Callable[[float], None]) -> Callable[[str], None]:
    """A reader of ffmpeg's progress, which tells at which second of the film ffmpeg is."""

    def read(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "out_time_us" and value.isdigit():
            tell(int(value) / 1e6)

    return read
