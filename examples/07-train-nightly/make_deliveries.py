"""Writes deliveries of three days to Kafka: of the day that is given, and of those around it."""

from __future__ import annotations

import json
import os
import random
import sys
from datetime import date, timedelta
from typing import Any, Final

from confluent_kafka import Producer
from day_records import milliseconds

DELIVERIES: Final = 500
DAY_MS: Final = 86_400_000


def delivery(chance: random.Random) -> dict[str, Any]:
    """One delivery: 8 minutes, 4 for each kilometre, 1.5 for each item, 6 more if rain falls."""
    km, items = round(chance.uniform(0.5, 10), 1), chance.randint(1, 9)
    rain = int(chance.random() < 0.3)  # noqa: PLR2004 - the weather
    minutes = 8 + 4 * km + 1.5 * items + 6 * rain + chance.gauss(0, 1)
    return {"km": km, "items": items, "rain": rain, "minutes": round(minutes, 1)}


def main(middle: date) -> None:
    """Write the deliveries."""
    client: dict[str, Any] = {"bootstrap.servers": os.environ.get("KAFKA", "localhost:9092")}
    chance = random.Random(str(middle))  # noqa: S311 - the same deliveries each time
    producer = Producer(client)
    for days in (-1, 0, 1):
        begin = milliseconds(middle + timedelta(days))
        for number in range(DELIVERIES):
            at = begin + number * DAY_MS // DELIVERIES
            value = json.dumps(delivery(chance))
            producer.produce("deliveries", value, timestamp=at)
    if producer.flush(60):
        sys.exit("Kafka has not taken all deliveries within a minute")


if __name__ == "__main__":
    main(date.fromisoformat(sys.argv[1]))
