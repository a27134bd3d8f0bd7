"""Packages that come with an extra of the project: whether they are installed."""

from __future__ import annotations

from importlib.util import find_spec

from kafka_etl.errors import ExtraMissing


def require_extra(extra: str, needs: str, *modules: str) -> None:
    """Check that the modules of an extra are installed, without importing them.

    Args:
        extra: Name of the extra.
        needs: Who needs the modules, as the beginning of a sentence that their names end.
        modules: Names of the modules.

    Raises:
        ExtraMissing: A module is not installed.
    """
    missing = [module for module in modules if not _is_installed(module)]
    if missing:
        raise ExtraMissing(
            f"{needs} {', '.join(missing)}",
            f"Install what is missing: pip install 'kafka-etl[{extra}]'",
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that should hold the module
        return False
