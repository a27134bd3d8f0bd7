"""For readers: the objects that count, which the manifests name.

python -m kafka_etl_connectors.objects.read URL NAME
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kafka_etl.contracts import Unreachable
from kafka_etl_connectors.objects.bucket import Bucket, address, is_missing
from kafka_etl_connectors.objects.manifests import Chains
from kafka_etl_connectors.objects.settings import BucketSettings


def committed_objects(url: str, name: str, *, topic: str | None = None, **access: Any) -> list[str]:
    """List the objects whose rows count, each row exactly once.

    Args:
        url: The sink's `url`.
        name: The sink's `offsets.name`, by default the consumer group.
        topic: Only objects with records of this topic; None: of all topics.
        access: `endpoint`, `region`, `allow_http` and `credentials`, as in the sink's settings.

    Returns:
        Paths for a folder, URLs for a bucket; the oldest first within a partition. A reader that
        remembers what it has read finds what is new by the difference.

    Raises:
        Unreachable: The store is away, or refuses the account; or there is no such folder.
        ValidationError: An argument is wrong.
    """
    settings = BucketSettings.model_validate({"url": url, **access})
    if is_missing(url):
        raise Unreachable(f"there is no folder {address(url, '')}", mend=True)
    chains = Chains(Bucket(settings, Path()), name, "")
    return [address(url, held.path) for link in chains.all(topic) for held in link.objects]


def _main(arguments: Sequence[str]) -> int:
    try:
        url, name = arguments
    except ValueError:
        sys.stderr.write("usage: python -m kafka_etl_connectors.objects.read URL NAME\n")
        return 2
    try:
        found = committed_objects(url, name)
    except ValidationError as error:
        sys.stderr.write(f"{url}: {'; '.join(one['msg'] for one in error.errors())}\n")
        return 2
    except Unreachable as away:
        sys.stderr.write(f"{url}: {away.reason}\n")
        return 1
    sys.stdout.writelines(f"{path}\n" for path in found)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
