"""Prepares readings of sensors for their files."""

from __future__ import annotations

from typing import Any

from kafka_etl import Permanent


def in_celsius(reading: dict[str, Any]) -> dict[str, Any]:
    """Give every reading in one unit."""
    value, unit = float(reading["value"]), reading["unit"]
    if unit not in {"C", "F"}:
        raise Permanent(f"nobody knows unit {unit}")
    celsius = value if unit == "C" else (value - 32) / 1.8
    return {"sensor": reading["sensor"], "celsius": round(celsius, 3), "at": reading["at"]}
