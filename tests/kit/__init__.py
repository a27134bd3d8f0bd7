"""What tests on real Kafka share."""
