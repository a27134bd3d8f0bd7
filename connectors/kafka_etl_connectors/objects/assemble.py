"""The store of a pipeline, from its settings."""

from __future__ import annotations

from kafka_etl.contracts import Deployment
from kafka_etl_connectors.objects.bucket import Bucket
from kafka_etl_connectors.objects.formats import Columns, Format, Lines
from kafka_etl_connectors.objects.manifests import Chains
from kafka_etl_connectors.objects.settings import ObjectsSettings, ParquetSettings
from kafka_etl_connectors.objects.store import ObjectStore


class ParquetStore(ObjectStore):
    """The store of the sink `parquet`."""

    kind = "parquet"


def store(settings: ObjectsSettings | ParquetSettings, deployment: Deployment) -> ObjectStore:
    """Make the store; connects to nothing."""
    spool = None if settings.spool is None else deployment.folder / settings.spool
    form: Format
    if isinstance(settings, ParquetSettings):
        kind: type[ObjectStore] = ParquetStore
        form = Columns(settings.table_columns, settings.compression, spool)
    else:
        kind, form = ObjectStore, Lines(settings.format, settings.compression, spool)
    name = settings.offsets.name or deployment.group or deployment.pipeline
    cluster = deployment.cluster
    if deployment.replay:
        # Readers of the pipeline's name find the objects of its replays, too.
        mark = f".replay.{deployment.replay}"
        name, cluster = name.removesuffix(mark), f"{cluster}{mark}"

    def chains() -> Chains:
        return Chains(Bucket(settings, deployment.folder), name, cluster)

    return kind(chains, form, settings.folders, settings.roll)
