"""The daemon: one process that starts and watches workers, and serves their status and metrics."""
