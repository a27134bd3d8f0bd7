"""The tasks of a pipeline, as its journal tells of them: an index on this machine, and filters."""
