"""Converts orders to euros."""

from __future__ import annotations

from dataclasses import dataclass

from kafka_etl import Permanent


@dataclass
class Order:
    """An order as the topic has it; a record that is no order becomes a dead letter."""

    id: int
    amount: float
    currency: str


@dataclass
class Converted(Order):
    """An order with its amount in euros."""

    amount_eur: float


def to_eur(order: Order, *, rates: dict[str, float]) -> Converted:
    """Add the amount in euros; `rates` is a setting of the pipeline file."""
    if order.amount < 0:
        raise Permanent("the amount is negative")
    if order.currency not in rates:
        raise Permanent(f"there is no rate for {order.currency}")
    amount_eur = round(order.amount * rates[order.currency], 2)
    return Converted(order.id, order.amount, order.currency, amount_eur)
