"""`json` with other Python frameworks beside ours and the loop; each as its own pages advise.

They are installed into a folder of their own when they are run: only here are they wanted.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.bench import Bench, Result
from tests.bench.measure import Figures, Watched, measure
from tests.bench.scenarios import BY_NAME
from tests.bench.values import once_loop, once_ours, rounds_of

PROGRAMS = Path(__file__).with_name("peer_programs")
RECORDS = 200_000
PEERS = {  # by the names of their packages
    "quixstreams": ("quix.py", "exactly once"),
    "bytewax": ("bytewax_flow.py", "at least once"),
    "sentry-arroyo": ("arroyo_consumer.py", "at least once"),
    "faust-streaming": ("faust_worker.py", "at least once"),
}
SCENARIO = BY_NAME["json"]


def run(bench: Bench, name: str, rounds: int, records: int | None) -> Result:
    records = records or RECORDS
    with bench.filled(SCENARIO, records) as source, installed() as (python, versions):
        programs: dict[str, Callable[[], Figures]] = {
            "loop": partial(once_loop, bench, SCENARIO, "json", source, records),
            "ours": partial(once_ours, bench, SCENARIO, source, records),
            **{
                peer: partial(once_peer, bench, python, script, source, records)
                for peer, (script, _) in PEERS.items()
            },
        }
        figures = bench.in_turn(name, rounds, programs)
    return Result(name, "one operator on JSON", records, figures, {"versions": versions})


@contextmanager
def installed() -> Iterator[tuple[Path, dict[str, str]]]:
    """An interpreter that has them, and their versions."""
    wanted = PROGRAMS / "requirements.txt"
    uv = Path(sys.executable).with_name("uv")
    with TemporaryDirectory() as folder:
        python = Path(folder, "bin", "python")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", python, "-r", wanted]
        subprocess.run(install, check=True)
        lines = wanted.read_text().split()
        yield python, dict(line.split("==") for line in lines)


def once_peer(bench: Bench, python: Path, script: str, source: str, records: int) -> Figures:
    """None of them ends by itself: it is over when all outputs are there."""
    with bench.folder() as folder, bench.topics(1) as sinks:
        group = bench.kafka.name()
        arguments = [bench.kafka.bootstrap, source, group, *sinks]
        command = [str(python), "-W", "ignore", str(PROGRAMS / script), *arguments]
        written = partial(bench.written, *sinks)
        with Watched([command], folder, bench.core) as program:
            return measure(program, records=records, outputs=records, done=written, over=written)


def table(kept: Sequence[dict[str, Any]]) -> str:
    rows = [
        "| program | guarantee | records/s | CPU us | CPU to ours | MB |",
        "|---|---|---|---|---|---|",
    ]
    for result in kept:
        rounds = rounds_of(result)
        guarantees = {"loop": "exactly once", "ours": "exactly once"}
        guarantees |= {peer: guarantee for peer, (_, guarantee) in PEERS.items()}
        for name, figures in rounds.items():
            pairs = zip(figures, rounds["ours"], strict=True)
            ratio = statistics.median(f.cpu / ours.cpu for f, ours in pairs if ours.cpu)
            version = result["versions"].get(name)
            label = name if version is None else f"{name} {version}"
            rows.append(
                f"| {label} | {guarantees[name]} "
                f"| {statistics.median(f.rate for f in figures):,.0f} "
                f"| {statistics.median(f.cpu for f in figures):.2f} "
                f"| {ratio:.2f} | {max(f.memory for f in figures):.0f} |"
            )
    return "\n".join(rows) + "\n"
