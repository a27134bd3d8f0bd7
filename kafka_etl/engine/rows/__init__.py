"""The data structures of an attempt: records as columns, the loop over rows, and faults."""
