"""Sinks made of what authors write: a writer or a store, and the group's offsets beside them."""
