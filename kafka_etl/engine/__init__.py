"""The path of a batch between source and sink: attempts, slices, settlements."""
