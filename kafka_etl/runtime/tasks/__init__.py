"""Attempts at tasks: the keeper, and the runners, which are its processes.

The keeper has no Kafka client and runs no user code. It talks to owners over a Unix socket, see
`kafka_etl.tasks.keeping`; a runner is a process that runs the operator for one attempt at a time.
"""
