"""The command line; importing this package is cheap, because only `main` imports the commands."""

from __future__ import annotations


def main() -> None:
    """Run `kafka-etl`; the entry point of the program."""
    from kafka_etl.cli.app import run_app

    run_app()
