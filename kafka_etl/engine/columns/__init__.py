"""Operators on tables: Arrow in, Arrow out."""
