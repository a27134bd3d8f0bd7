"""Plans the sizes of an image's thumbnails."""

from __future__ import annotations

from typing import Any

from kafka_etl import Permanent


def plan(request: dict[str, Any], *, largest: int) -> dict[str, Any]:
    """The sizes to make of an image, none of them larger than the image."""
    width, height = request["width"], request["height"]
    if max(width, height) > largest:
        raise Permanent(f"{width} x {height} is larger than {largest} x {largest}")
    sizes = [size for size in (64, 256, 1024) if size <= max(width, height)]
    return {"image": request["image"], "sizes": sizes}
