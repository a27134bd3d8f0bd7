"""The Kafka source, the Kafka sink and the ledger; only this package imports the Kafka client."""
