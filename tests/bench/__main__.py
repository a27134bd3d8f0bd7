"""`python -m tests.bench`: see README.md."""

from __future__ import annotations

import argparse
import sys
import time

from tests.bench import report
from tests.bench.bench import bench
from tests.bench.kinds import KINDS, NAMES, USUAL, Kind, tables


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        help=f"of {', '.join(NAMES)}; default: all but peers".replace("%", "%%"),
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, help="default: each scenario's own number")
    parser.add_argument("--try", action="store_true", dest="trying", help="keep no figures")
    parser.add_argument("--table", action="store_true", help="only rewrite docs/performance.md")
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if not options.table:
        chosen = options.scenarios or USUAL
        for pin in (True, False):
            kinds = [k for k in KINDS if k.pin is pin and set(k.scenarios) & set(chosen)]
            if kinds:
                _run(kinds, chosen, pin, options)
    if not options.trying:
        report.PAGE.write_text(report.page_with(tables(), report.PAGE.read_text()))


def _run(kinds: list[Kind], chosen: list[str], pin: bool, options: argparse.Namespace) -> None:
    with bench(say, pin=pin) as running:
        for kind in kinds:
            for name in kind.scenarios:
                if name in chosen:
                    result = kind.run(running, name, options.rounds, options.records)
                    found = report.content(result)
                    sys.stdout.write(kind.table([found]))
                    if not options.trying:
                        report.save(found)


if __name__ == "__main__":
    main()
