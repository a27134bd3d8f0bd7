"""`python -m tests.bench`: see README.md."""

from __future__ import annotations

import argparse
import sys
import time

from tests.bench import paced, report
from tests.bench.bench import bench
from tests.bench.scenarios import BY_NAME, SCENARIOS

LATENCY = "latency"


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [*BY_NAME, LATENCY]
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, help="default: each scenario's own number")
    parser.add_argument("--table", action="store_true", help="only rewrite docs/performance.md")
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(names)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.table:
        report.rewrite_page()
        return
    chosen = options.scenarios or names
    with bench(say) as running:
        for scenario in SCENARIOS:
            if scenario.name in chosen:
                records = options.records or scenario.records
                report.save(running.run(scenario, options.rounds, records))
    if LATENCY in chosen:
        with bench(say, pin=False) as running:
            _latency(running)
    report.rewrite_page()
    sys.stdout.write(report.table())


def _latency(running: paced.Bench, rate: int = 2000, seconds: float = 10.0) -> None:
    for name, figures in (
        ("ours", paced.ours(running, rate, seconds)),
        ("ours, max_wait 5ms", paced.ours(running, rate, seconds, "5ms")),
        ("loop, 20 ms", paced.loop(running, rate, seconds, 0.02)),
        ("loop, 5 ms", paced.loop(running, rate, seconds, 0.005)),
    ):
        say(
            f"latency at {rate} records/s, {name}: p50 {figures.p50:.0f} ms, "
            f"p99 {figures.p99:.0f} ms, p99.9 {figures.p999:.0f} ms, {figures.cpu:.0f} us a record"
        )


if __name__ == "__main__":
    main()
