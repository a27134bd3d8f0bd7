"""Operators shipped with kafka-etl: one file each, found by entry point."""
