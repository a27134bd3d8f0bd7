"""Reads, checks and builds pipelines from YAML files."""
