"""Connectors shipped with kafka-etl: one package for each system, loaded by its entry point."""
