"""Tasks: long work that one can watch, stop, retry and not start twice; no I/O is here.

A task is changed by *words*, records of the pipeline's inbox. What a word does is in one table of
pure functions (`table.py`); its result, the task's *head*, is a record of the pipeline's journal.
"""
