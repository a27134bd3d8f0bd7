"""The operator of the demo: a plain function; its keyword-only parameters are its settings."""

from typing import Any

from kafka_etl import Permanent


def to_eur(order: dict[str, Any], *, rates: dict[str, float]) -> dict[str, Any]:
    """Add the amount in euros."""
    if order["amount"] < 0:
        raise Permanent(f"order {order['id']} has a negative amount")
    return order | {"amount_eur": round(order["amount"] * rates[order["currency"]], 2)}
