"""Transactions: outputs, dead letters and offsets that become durable together."""
