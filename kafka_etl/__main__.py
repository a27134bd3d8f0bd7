"""`python -m kafka_etl`, the same as `kafka-etl`."""

from kafka_etl.cli import main

if __name__ == "__main__":
    main()
