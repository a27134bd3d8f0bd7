"""Records that kill their worker, records the sink refuses, and long runs of dead letters."""
