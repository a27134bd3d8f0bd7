"""Commands on topics, records and offsets."""
