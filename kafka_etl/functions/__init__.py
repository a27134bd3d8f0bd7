"""Operator functions: how they are declared, read and bound."""
