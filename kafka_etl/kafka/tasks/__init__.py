"""Inbox, journal and logs of tasks, in Kafka."""
