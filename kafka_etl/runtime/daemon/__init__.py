"""The daemon: one process that starts, watches and answers for workers."""
