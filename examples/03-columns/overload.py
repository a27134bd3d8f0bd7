"""An operator on columns: it is called once for a batch, not once for a record."""

import polars as pl


def judge(readings: pl.DataFrame, *, limit_watts: float, alarms: str) -> pl.DataFrame:
    """Say how near each meter is to the limit, and send what is above it to `alarms`."""
    load = pl.col("watts") / limit_watts
    return readings.with_columns(
        load=load.round(2),
        _to=pl.when(load > 1).then(pl.lit(alarms)),  # null: the sink's own topic
    )
