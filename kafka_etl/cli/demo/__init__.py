"""`kafka-etl demo`: what works, shown on a real Kafka."""
