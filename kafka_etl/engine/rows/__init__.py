"""The ground of an attempt: records as columns of equal length, and the loop over them."""
