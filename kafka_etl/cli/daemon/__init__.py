"""Commands that run a daemon, and that ask a running one."""
