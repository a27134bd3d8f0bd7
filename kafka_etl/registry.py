"""What is installed: sources, sinks, codecs and operators, found by entry point."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Literal, cast

from kafka_etl.contracts import Codec, SinkPlugin, SourcePlugin
from kafka_etl.errors import BrokenPlugin, UnknownPlugin
from kafka_etl.invocation import ErrorInfo

Kind = Literal["sources", "operators", "sinks", "codecs"]
KINDS: Final[tuple[Kind, ...]] = ("sources", "operators", "sinks", "codecs")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed plug-in; nothing of it is imported before `load`."""

    kind: Kind
    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


class Registry:
    """Plug-ins by kind and name. A value: a test makes one with two plug-ins only."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins: dict[tuple[Kind, str], Plugin] = {(p.kind, p.name): p for p in plugins}

    @classmethod
    def installed(cls) -> Registry:
        """Everything that distributions of this environment declare."""
        return cls(_discover())

    def __iter__(self) -> Iterator[Plugin]:
        return iter(sorted(self._plugins.values(), key=lambda p: (KINDS.index(p.kind), p.name)))

    def source(self, name: str) -> SourcePlugin[Any]:
        return cast("SourcePlugin[Any]", self._typed("sources", name, SourcePlugin))

    def sink(self, name: str) -> SinkPlugin[Any]:
        return cast("SinkPlugin[Any]", self._typed("sinks", name, SinkPlugin))

    def codec(self, name: str) -> Codec:
        return cast("Codec", self._typed("codecs", name, Codec))

    def operator(self, use: str) -> tuple[Callable[..., Any], str]:
        """The target and version of an installed operator, or of `module:function`.

        Raises:
            UnknownPlugin: There is none of that name.
            BrokenPlugin: Importing it failed.
        """
        if ":" in use:
            return _import_target(use), ""
        plugin = self._find("operators", use)
        return _load(plugin), plugin.version

    def summary(self, plugin: Plugin) -> str:
        """One line about a plug-in, which is loaded for it; raises BrokenPlugin."""
        loaded = _load(plugin)
        text = getattr(loaded, "summary", None) or inspect.getdoc(loaded) or ""
        return str(text).strip().partition("\n")[0] if plugin.kind != "codecs" else ""

    def _typed(self, kind: Kind, name: str, expected: type) -> Any:
        loaded = _load(self._find(kind, name))
        if not isinstance(loaded, expected):
            raise BrokenPlugin(
                f"{kind[:-1]} {name} is a {type(loaded).__name__}, not a {expected.__name__}",
                f"Its entry point must name a kafka_etl.contracts.{expected.__name__}.",
            )
        return loaded

    def _find(self, kind: Kind, name: str) -> Plugin:
        found = self._plugins.get((kind, name))
        if found is not None:
            return found
        names = sorted(n for k, n in self._plugins if k == kind)
        raise UnknownPlugin(
            f"there is no {kind[:-1]} called `{name}`; installed: {', '.join(names)}",
            _did_you_mean(name, names),
        )


@contextmanager
def importable(folder: Path) -> Generator[None]:
    """Make the modules of a pipeline file's folder importable, for `module:function`.

    They are forgotten afterwards: two pipelines may both have an `ops.py`.
    """
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            source = getattr(sys.modules[name], "__file__", None)
            if source and Path(source).is_relative_to(folder):
                del sys.modules[name]


def _discover() -> Iterator[Plugin]:
    for kind in KINDS:
        for entry in entry_points(group=f"kafka_etl.{kind}"):
            distribution = entry.dist
            yield Plugin(
                kind,
                entry.name,
                distribution.name if distribution else "",
                distribution.version if distribution else "",
                entry.load,
            )


def _load(plugin: Plugin) -> Any:
    try:
        return plugin.load()
    except BaseException as error:
        what = f"{plugin.kind[:-1]} {plugin.name} of {plugin.distribution}"
        raise _broken(what, error) from error


def _import_target(use: str) -> Callable[..., Any]:
    module_name, _, attribute = use.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise _broken(f"module {module_name}", error) from error
        raise UnknownPlugin(
            f"there is no module `{error.name}` (looked beside the pipeline file and in the "
            "installed packages)",
            "Put the module beside the pipeline file, or install its package.",
        ) from error
    except BaseException as error:
        raise _broken(f"module {module_name}", error) from error
    target: Any = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = [n for n in dir(target) if not n.startswith("_")]
            raise UnknownPlugin(
                f"module {module_name} has no `{attribute}`", _did_you_mean(part, names)
            )
        target = getattr(target, part)
    return cast("Callable[..., Any]", target)


def _broken(what: str, error: BaseException) -> BrokenPlugin:
    info = ErrorInfo.of(error)
    frames = info.traceback.splitlines()
    where = next((f.strip() for f in reversed(frames) if "importlib" not in f), "")
    place = f" at {where}" if where else ""
    return BrokenPlugin(f"importing {what} failed{place}: {info.type}: {info.message}")


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean `{close[0]}`?" if close else ""
