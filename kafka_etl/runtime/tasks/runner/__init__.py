"""The process of an attempt: what runs in it, from importing the operator to its last answer."""
