"""Requests to a cluster outside of pipelines, for preflight and for commands."""
