"""Calling an operator for many records at once: threads, asyncio tasks, processes."""
