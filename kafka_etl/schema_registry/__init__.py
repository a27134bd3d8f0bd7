"""The schema registry: its client, the client's settings, and the wire format of payloads."""
