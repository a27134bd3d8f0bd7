"""Operators shipped with kafka-etl, each loaded by its entry point."""
