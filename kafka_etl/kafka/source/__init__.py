"""The Kafka source, and its membership in a group."""
