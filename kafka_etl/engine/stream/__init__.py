"""The loop of a stream pipeline: gather, run, settle, commit, advance."""
