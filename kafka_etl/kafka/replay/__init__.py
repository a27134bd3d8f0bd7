"""The source of a replay, and the statuses that move with its offsets."""
