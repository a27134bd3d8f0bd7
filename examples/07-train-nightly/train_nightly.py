"""Fits a model of delivery times to the records of one day."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, TypedDict

from day_records import records_of

from kafka_etl import Context, Permanent

FEATURES: Final = ("km", "items", "rain")
EPOCHS: Final = 400
RATE: Final = 0.02
SAVE_EVERY: Final = 20

Sample = tuple[list[float], float]
"""The features of a delivery, with a 1 before them, and the minutes that the delivery took."""


class Trained(TypedDict):
    """What came of a night."""

    day: str
    records: int
    model: str
    error: float
    resumed_at: int


@dataclass
class Model:
    """Minutes as a sum of weighted features, and how long the weights have been trained.

    Attributes:
        weights: The weight of the 1, and one of each feature.
        epoch: Epochs so far.
        error: Mean error of the last epoch, in minutes.
    """

    weights: list[float] = field(default_factory=lambda: [0.0] * (len(FEATURES) + 1))
    epoch: int = 0
    error: float = 0.0

    @classmethod
    def read(cls, file: Path) -> Model:
        """The model in a file; a new one if there is none."""
        return cls(**json.loads(file.read_text())) if file.exists() else cls()

    def write(self, file: Path) -> None:
        """Write the model; whoever reads meanwhile finds the old file or the new one."""
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(file)

    def learn(self, samples: list[Sample]) -> None:
        """Go once through all samples."""
        total = 0.0
        for features, minutes in samples:
            guess = sum(w * x for w, x in zip(self.weights, features, strict=True))
            off = guess - minutes
            total += abs(off)
            self.weights = [w - RATE * off * x for w, x in zip(self.weights, features, strict=True)]
        self.epoch += 1
        self.error = total / len(samples)


def train(  # noqa: PLR0913 - the settings of the pipeline file
    night: dict[str, Any],
    context: Context,
    *,
    kafka: str,
    topic: str,
    folder: str,
    rest: float = 0,
) -> Trained:
    """Train the model of a day, from where an earlier attempt has stopped.

    Args:
        night: Names the day.
        context: Of the attempt.
        kafka: Bootstrap servers.
        topic: The topic of deliveries.
        folder: Where models are, and checkpoints of models that are not trained yet; one that all
            hosts see, if there are several.
        rest: Seconds to rest after each epoch, for hosts that have something else to do.
    """
    day = date.fromisoformat(night["day"])
    if day >= datetime.now(UTC).date():
        raise Permanent(f"{day} is not over yet")
    context.progress(0, f"reading {topic}")
    samples = [sample(record) for record in records_of(day, topic, kafka, context)]
    if not samples:
        raise Permanent(f"{topic} has no records of {day}")
    models = Path(folder)
    models.mkdir(parents=True, exist_ok=True)
    file, checkpoint = models / f"{day}.json", models / f"{day}.checkpoint"
    model = Model.read(checkpoint)
    resumed_at = model.epoch
    while model.epoch < EPOCHS:
        model.learn(samples)
        context.progress(model.epoch / EPOCHS, f"epoch {model.epoch}, error {model.error:.2f} min")
        if context.stopped.wait(rest) or model.epoch % SAVE_EVERY == 0:
            model.write(checkpoint)
        context.check()
    model.write(file)
    checkpoint.unlink(missing_ok=True)
    return {
        "day": str(day),
        "records": len(samples),
        "model": str(file),
        "error": round(model.error, 3),
        "resumed_at": resumed_at,
    }


def sample(record: dict[str, Any]) -> Sample:
    """A delivery as numbers of about the same size."""
    return [1.0, *(record[name] / 10 for name in FEATURES)], record["minutes"]
