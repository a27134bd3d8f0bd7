"""The owner of tasks: reads the inbox, is the only writer of the journal, and grants attempts."""
