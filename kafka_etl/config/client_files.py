"""Files that settings of Kafka's clients and of the schema registry's name, such as certificates.

A relative path begins at the folder of the pipeline file, as everywhere in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kafka_etl.config.parse import is_mapping
from kafka_etl.config.report import CLIENTS, Loc

CERTIFICATE: Final = "ssl.certificate.location"
KEY: Final = "ssl.key.location"
FOLDERS_TOO: Final = frozenset({"ssl.ca.location", "ssl.crl.location", "https.ca.location"})
FILES: Final = (*FOLDERS_TOO, CERTIFICATE, KEY, "ssl.keystore.location")
SYSTEM: Final = "probe"
"""A value of certificate settings: Kafka's client finds the system's certificates itself."""

_LONGEST: Final = 255


def names_file(loc: Loc, value: str) -> bool:
    """Whether a value is the path of a file, which is no secret.

    A certificate or a key that stands in a path's place is none.
    """
    is_setting = len(loc) == 2 and loc[0] in CLIENTS and loc[1] in FILES  # noqa: PLR2004
    return (
        is_setting and value.isprintable() and len(value) <= _LONGEST and "-----BEGIN" not in value
    )


def with_whole_paths(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a pipeline file, with relative paths in settings of clients made absolute."""

    def whole(section: str, name: str, value: Any) -> Any:
        given = isinstance(value, str) and value not in {"", SYSTEM}
        return str(folder / value) if given and names_file((section, name), value) else value

    return {
        section: {name: whole(section, name, value) for name, value in settings.items()}
        if section in CLIENTS and is_mapping(settings)
        else settings
        for section, settings in data.items()
    }
