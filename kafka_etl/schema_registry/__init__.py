"""The schema registry: its client, its settings, its wire format."""
