"""Checks of a host, a cluster and a pipeline: gathers facts, and judges them."""
