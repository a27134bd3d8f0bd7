"""The operator `fields`: keeps, drops and renames the fields of a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import Field

Value = dict[str, Any]


def fields(
    *,
    keep: list[str] | None = None,
    drop: Annotated[list[str] | None, Field(examples=[["password"]])] = None,
    rename: dict[str, str] | None = None,
) -> Callable[[Value], Value]:
    """Keep, drop and rename fields of values that are objects; top-level fields only.

    A field that a value does not have is ignored.

    Args:
        keep: The fields that stay, in this order; all others go. Excludes `drop`.
        drop: The fields that go; all others stay. Excludes `keep`.
        rename: Old name -> new name, of fields that stay. Without `keep`, renamed fields move to
            the end, and a record in which another field already has the new name fails.

    Raises:
        ValueError: The settings are empty, or contradict each other.
    """
    _check_given({"keep": keep, "drop": drop, "rename": rename})
    renamed = rename or {}
    _check_new_names(renamed, stay=keep, go=drop or ())
    if keep is not None:
        return _keeping([(name, renamed.get(name, name)) for name in keep])
    if rename is None:
        return _dropping(drop or [])
    return _renaming(list(rename.items()), drop or [])


def _check_given(settings: dict[str, list[str] | dict[str, str] | None]) -> None:
    given = [name for name, names in settings.items() if names is not None]
    if not given:
        raise ValueError("set at least one of `keep`, `drop` and `rename`")
    if "keep" in given and "drop" in given:
        raise ValueError("`keep` and `drop` exclude each other: what is not kept is dropped")
    for name in given:
        if not settings[name]:
            raise ValueError(f"`{name}` names no field")


def _check_new_names(rename: dict[str, str], stay: list[str] | None, go: Iterable[str]) -> None:
    """Refuse renamings that would fail, or have no effect, for every value."""
    _check_distinct(rename.values())
    for old, new in rename.items():
        if old in go or (stay is not None and old not in stay):
            raise ValueError(f"`rename` names `{old}`, which does not stay")
        if stay is not None and new in stay and new not in rename:
            raise ValueError(f"`{old}` is renamed to `{new}`, which is kept as well")


def _check_distinct(names: Iterable[str]) -> None:
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ValueError(f"renaming gives {count} fields the name `{name}`")


def _keeping(names: list[tuple[str, str]]) -> Callable[[Value], Value]:
    def keep_fields(value: Value) -> Value:
        _check_object(value)
        return {new: value[old] for old, new in names if old in value}

    return keep_fields


def _dropping(names: list[str]) -> Callable[[Value], Value]:
    # Copying and removing takes a fifth of the time of a comprehension over all fields.
    def drop_fields(value: Value) -> Value:
        _check_object(value)
        kept = value.copy()
        for name in names:
            kept.pop(name, None)
        return kept

    return drop_fields


def _renaming(names: list[tuple[str, str]], dropped: list[str]) -> Callable[[Value], Value]:
    dropping = _dropping(dropped)

    def rename_fields(value: Value) -> Value:
        kept = dropping(value)
        moved = [(new, kept.pop(old)) for old, new in names if old in kept]
        for new, field in moved:
            if new in kept:
                raise ValueError(f"`rename` gives the name `{new}` to a second field")
            kept[new] = field
        return kept

    return rename_fields


def _check_object(value: object) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"`fields` takes an object with fields, not {type(value).__name__}")
