"""Connectors shipped with kafka-etl: one package per system, found by entry point."""
