"""Processes: the daemon, its workers, and what they leave behind for each other."""
