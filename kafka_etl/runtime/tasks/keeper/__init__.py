"""The keeper of a pipeline's attempts, and what it is made of."""
