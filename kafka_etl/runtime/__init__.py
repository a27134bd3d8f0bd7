"""Processes: the daemon, its workers, and the files and values they exchange."""
