"""`python -m tests.kit.pictures` draws docs/pictures/ from the descriptions below.

Sizes are pixels. A picture brings its own background, and follows the colours of the reader's
system, so that it can be read on any page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
Point = tuple[int, int]
Kind = Literal["part", "yours", "kafka", "frame"]

_LINE = 18
_WIDEST_LETTER = 7.6
"""Pixels of a letter on average, in the widest of the fonts that readers have."""

_STYLE = """
text{font:13px system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#1f2328}
.title{font-weight:600}
.note{fill:#59636e}
.paper{fill:#ffffff;stroke:#d1d9e0}
.part{fill:#f3f5f8;stroke:#8c959f}
.yours{fill:#ddf4e4;stroke:#2da44e}
.kafka{fill:#dceafd;stroke:#3b7dd8}
.frame{fill:none;stroke:#8c959f;stroke-dasharray:5 4}
.arrow{fill:none;stroke:#59636e;stroke-width:1.5}
.head{fill:#59636e}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.note{fill:#9ea7b3}
.paper{fill:#151b23;stroke:#3d444d}
.part{fill:#262c36;stroke:#6e7681}
.yours{fill:#173b26;stroke:#3fb950}
.kafka{fill:#16305a;stroke:#4c8ee8}
.frame{stroke:#6e7681}
.arrow{stroke:#9ea7b3}
.head{fill:#9ea7b3}
}
"""


@dataclass(frozen=True)
class Box:
    """A part with its name, and lines about it; a frame has its name at the top."""

    x: int
    y: int
    width: int
    height: int
    name: str
    lines: tuple[str, ...] = ()
    kind: Kind = "part"

    def svg(self) -> Iterator[str]:
        yield (
            f'<rect class="{self.kind}" x="{self.x}" y="{self.y}" width="{self.width}" '
            f'height="{self.height}" rx="8"/>'
        )
        self._check_width()
        if self.kind == "frame":
            yield _text(self.x + 12, self.y + 20, self.name, "title")
            return
        middle = self.x + self.width // 2
        first = self.y + (self.height - len(self.lines) * _LINE) // 2 + 5
        yield _text(middle, first, self.name, "title", middle=True)
        for number, line in enumerate(self.lines, 1):
            yield _text(middle, first + number * _LINE, line, "note", middle=True)

    def _check_width(self) -> None:
        longest = max(self.name, *self.lines, key=len)
        if len(longest) * _WIDEST_LETTER > self.width:
            raise ValueError(f"the box is too narrow for {longest!r}")


@dataclass(frozen=True)
class Arrow:
    """A way over corners, with a head at its end."""

    way: tuple[Point, ...]

    def svg(self) -> Iterator[str]:
        points = " ".join(f"{x},{y}" for x, y in self.way)
        yield f'<polyline class="arrow" points="{points}" marker-end="url(#head)"/>'
        for (x, y), (to_x, to_y) in pairwise(self.way):
            if x != to_x and y != to_y:
                raise ValueError(f"an arrow goes aslant: {self.way}")


@dataclass(frozen=True)
class Note:
    """A text beside an arrow or a box."""

    x: int
    y: int
    text: str
    middle: bool = False

    def svg(self) -> Iterator[str]:
        yield _text(self.x, self.y, self.text, "note", middle=self.middle)


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        title: The picture in a sentence, for those who do not see it.
        width: Pixels.
        height: Pixels.
        parts: Whatever is drawn, that behind other things first.
    """

    title: str
    width: int
    height: int
    parts: Sequence[Box | Arrow | Note]

    def svg(self) -> str:
        shapes = "\n".join(line for part in self.parts for line in part.svg())
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" \
width="{self.width}" height="{self.height}" role="img">
<title>{escape(self.title)}</title>
<style>{_STYLE}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" \
markerUnits="userSpaceOnUse" orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>
<rect class="paper" x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="10"/>
{shapes}
</svg>
"""


def _text(x: int, y: int, text: str, kind: str, *, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text class="{kind}" x="{x}" y="{y}"{anchor}>{escape(text)}</text>'


PICTURES = {
    "overview": Picture(
        "A pipeline reads topics, calls your functions, and commits outputs, dead letters and "
        "offsets in one transaction; a daemon runs many pipelines.",
        800,
        256,
        [
            Box(172, 30, 378, 196, "a daemon runs many pipelines", kind="frame"),
            Box(20, 98, 112, 60, "topics", ("of your Kafka",), "kafka"),
            Box(196, 98, 140, 60, "your functions", ("in Python",), "yours"),
            Box(378, 98, 150, 60, "commit", ("one transaction",)),
            Box(598, 36, 182, 52, "outputs", ("topic, database, HTTP",), "kafka"),
            Box(598, 102, 182, 52, "dead letters", ("mended and put back",), "kafka"),
            Box(598, 168, 182, 52, "offsets", ("nothing lost or doubled",), "kafka"),
            Arrow(((132, 128), (196, 128))),
            Arrow(((336, 128), (378, 128))),
            Arrow(((528, 128), (598, 128))),
            Arrow(((574, 128), (574, 62), (598, 62))),
            Arrow(((574, 128), (574, 194), (598, 194))),
        ],
    ),
    "processes": Picture(
        "The daemon reads the files, and starts and watches workers; each worker is a member of "
        "its pipeline's consumer group; an operator may have a process of its own.",
        800,
        348,
        [
            Box(
                20,
                20,
                500,
                78,
                "daemon",
                (
                    "reads the files; starts, watches and restarts workers",
                    "answers /live, /ready and /metrics; runs no code of yours",
                ),
            ),
            Box(600, 20, 180, 78, "kafka-etl", ("status, pause,", "resume, restart")),
            Arrow(((600, 59), (520, 59))),
            Box(20, 132, 352, 112, "pipeline orders-eur, workers: 2", kind="frame"),
            Box(36, 166, 152, 60, "worker 0", ("your operators",), "yours"),
            Box(204, 166, 152, 60, "worker 1", ("your operators",), "yours"),
            Box(392, 132, 388, 112, "pipeline late-orders", kind="frame"),
            Box(408, 166, 152, 60, "worker 0"),
            Box(612, 166, 152, 60, "operator", ("isolation: process",), "yours"),
            Arrow(((196, 98), (196, 132))),
            Arrow(((484, 98), (484, 132))),
            Arrow(((560, 196), (612, 196))),
            Box(
                20,
                284,
                760,
                48,
                "Kafka",
                ("each worker is a member of its pipeline's group, with partitions of its own",),
                "kafka",
            ),
            Arrow(((112, 226), (112, 284))),
            Arrow(((280, 226), (280, 284))),
            Arrow(((484, 226), (484, 284))),
        ],
    ),
    "batch": Picture(
        "A batch is fetched, decoded, given to the operators, encoded, and committed; what fails "
        "goes to the dead letters, which are in the same transaction.",
        800,
        246,
        [
            Box(20, 62, 112, 76, "fetch", ("up to 10,000", "records")),
            Box(172, 62, 112, 76, "decode", ("bytes", "to values")),
            Box(324, 62, 112, 76, "operators", ("your", "functions"), "yours"),
            Box(476, 62, 112, 76, "encode", ("values", "to bytes")),
            Box(
                632,
                53,
                148,
                94,
                "commit",
                ("outputs, letters", "and offsets in one", "transaction"),
            ),
            Arrow(((132, 100), (172, 100))),
            Arrow(((284, 100), (324, 100))),
            Arrow(((436, 100), (476, 100))),
            Arrow(((588, 100), (632, 100))),
            Box(172, 178, 416, 50, "dead letters", ("what still fails after its attempts",)),
            Arrow(((228, 138), (228, 178))),
            Arrow(((380, 138), (380, 178))),
            Arrow(((532, 138), (532, 178))),
            Arrow(((588, 203), (706, 203), (706, 147))),
            Arrow(((706, 53), (706, 34), (76, 34), (76, 62))),
            Note(391, 26, "meanwhile the next batch is fetched and worked on", middle=True),
        ],
    ),
    "task": Picture(
        "Records and commands become words in the inbox; the owner of a partition decides, and "
        "writes journal and results; the keeper runs the attempts.",
        800,
        330,
        [
            Box(20, 36, 124, 60, "source topic", kind="kafka"),
            Box(184, 36, 124, 60, "accept", ("makes tasks",)),
            Box(348, 36, 140, 60, "inbox", ("what is said",), "kafka"),
            Box(528, 36, 100, 60, "owner", ("decides",)),
            Box(668, 20, 112, 42, "journal", kind="kafka"),
            Box(668, 70, 112, 52, "results", ("dead letters",), "kafka"),
            Arrow(((144, 66), (184, 66))),
            Arrow(((308, 66), (348, 66))),
            Arrow(((488, 66), (528, 66))),
            Arrow(((628, 66), (648, 66), (648, 41), (668, 41))),
            Arrow(((648, 66), (648, 96), (668, 96))),
            Note(724, 142, "one transaction", middle=True),
            Box(
                20,
                146,
                288,
                60,
                "kafka-etl tasks, or HTTP",
                ("submit, stop, retry",),
            ),
            Arrow(((308, 176), (388, 176), (388, 96))),
            Box(518, 156, 120, 60, "keeper", ("runs attempts",)),
            Arrow(((578, 96), (578, 156))),
            Note(590, 122, "grants,"),
            Note(590, 140, "halts"),
            Arrow(((518, 186), (448, 186), (448, 96))),
            Note(392, 206, "started, progress,"),
            Note(392, 224, "result, ended"),
            Box(498, 258, 160, 56, "runner", ("your function",), "yours"),
            Arrow(((578, 216), (578, 258))),
            Note(590, 242, "starts, stops"),
        ],
    ),
}


def pictures() -> dict[str, str]:
    """File name -> the picture as it should be."""
    return {f"{name}.svg": picture.svg() for name, picture in PICTURES.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text)
