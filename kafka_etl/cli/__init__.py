"""The command line. Importing this costs nothing: workers are started from the same program."""

from __future__ import annotations


def main() -> None:
    """Entry point of `kafka-etl`."""
    from kafka_etl.cli.app import run_app

    run_app()
