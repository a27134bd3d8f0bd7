"""Operators of a shop: orders get one form, and foreign ones a topic of their own."""

from decimal import Decimal
from typing import Any, TypedDict

from kafka_etl import Permanent, Record


class Order(TypedDict):
    """An order as all readers downstream know it."""

    id: str
    customer: str
    country: str
    cents: int
    currency: str


def normalise(order: dict[str, Any], *, currency: str = "EUR") -> Order:
    """Give every order the same fields in the same form; `currency` is for orders without one."""
    amount = Decimal(str(order["amount"]))  # "19.90" from the web shop, 19.9 from the app
    if amount < 0:
        raise Permanent(f"the amount is {amount}: refunds belong on their own topic")
    return {
        "id": str(order["id"]),
        "customer": order["customer"].strip().lower(),
        "country": order["country"].upper(),
        "cents": int(amount * 100),
        "currency": order.get("currency", currency).upper(),
    }


def route(record: Record, *, home: str, abroad: str) -> Record:
    """Send orders from other countries than `home` to the topic `abroad`."""
    return record if record.value["country"] == home else record.to(abroad)
