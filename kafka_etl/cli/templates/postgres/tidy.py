"""Prepares orders for their table."""

from __future__ import annotations

from typing import Any

from kafka_etl import Permanent

COLUMNS = ("id", "customer", "amount", "placed")


def tidy(order: dict[str, Any]) -> dict[str, Any]:
    """Keep the table's columns; amounts are text, because a float would round them."""
    row = {name: order[name] for name in COLUMNS}
    row["customer"] = str(row["customer"]).strip()
    if not row["customer"]:
        raise Permanent("the order has no customer")
    return row
