"""Installed plug-ins: sources, sinks, codecs and operators, found by entry point."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Literal, cast

from kafka_etl.contracts import Codec, CodecPlugin, Settings, SinkPlugin, SourcePlugin
from kafka_etl.errors import BrokenPlugin, UnknownPlugin
from kafka_etl.invocation import ErrorInfo
from kafka_etl.spelling import did_you_mean

Kind = Literal["sources", "operators", "sinks", "codecs"]
KINDS: Final[tuple[Kind, ...]] = ("sources", "operators", "sinks", "codecs")

_EXPECTED: Final[Mapping[Kind, Any]] = {
    "sources": SourcePlugin,
    "operators": Callable,
    "sinks": SinkPlugin,
    "codecs": CodecPlugin,
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed plug-in, whose code is imported by `load` and not before."""

    kind: Kind
    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


class PluginRegistry:
    """Plug-ins by kind and name. A value: a test makes one with two plug-ins only."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self._plugins: dict[tuple[Kind, str], Plugin] = {(p.kind, p.name): p for p in plugins}

    @classmethod
    def installed(cls) -> PluginRegistry:
        """Everything that distributions of this environment declare."""
        return cls(_discover())

    def __iter__(self) -> Iterator[Plugin]:
        return iter(sorted(self._plugins.values(), key=lambda p: (KINDS.index(p.kind), p.name)))

    def source(self, name: str) -> SourcePlugin[Any]:
        return cast("SourcePlugin[Any]", self._typed(self._find("sources", name)))

    def sink(self, name: str) -> SinkPlugin[Any]:
        return cast("SinkPlugin[Any]", self._typed(self._find("sinks", name)))

    def codec(self, name: str) -> CodecPlugin[Any]:
        return cast("CodecPlugin[Any]", self._typed(self._find("codecs", name)))

    def operator(self, use: str) -> tuple[Callable[..., Any], str]:
        """The target and version of an installed operator, or of `module:function`.

        Raises:
            UnknownPlugin: There is none of that name.
            BrokenPlugin: Importing it failed.
        """
        if ":" in use:
            return cast("Callable[..., Any]", import_object(use)), ""
        plugin = self._find("operators", use)
        return self._typed(plugin), plugin.version

    def summary(self, plugin: Plugin) -> str:
        """Load a plug-in and return one line about the plug-in; raises BrokenPlugin."""
        loaded = self._typed(plugin)
        is_operator = plugin.kind == "operators"
        text = inspect.getdoc(loaded) if is_operator else getattr(loaded, "summary", "")
        return (text or "").strip().partition("\n")[0]

    def _typed(self, plugin: Plugin) -> Any:
        loaded = _load(plugin)
        if isinstance(loaded, Codec):
            return CodecPlugin(Settings, lambda _settings, _place: loaded, "")
        expected = _EXPECTED[plugin.kind]
        if not isinstance(loaded, expected):
            raise BrokenPlugin(
                f"{plugin.kind[:-1]} {plugin.name} is of type {type(loaded).__name__}, not "
                f"{expected.__name__}",
                f"{plugin.distribution} should correct its entry point.",
            )
        return loaded

    def _find(self, kind: Kind, name: str) -> Plugin:
        found = self._plugins.get((kind, name))
        if found is not None:
            return found
        names = sorted(n for k, n in self._plugins if k == kind)
        raise UnknownPlugin(
            f"there is no {kind[:-1]} called `{name}`; installed: {', '.join(names)}",
            did_you_mean(name, names),
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
            if _stands_in(folder, name):
                del sys.modules[name]


def _stands_in(folder: Path, name: str) -> bool:
    """Whether a module is the folder's own, not one of a virtual environment inside it."""
    module = sys.modules[name]
    source = getattr(module, "__file__", None)
    places = [source] if source else list(getattr(module, "__path__", ()))
    own = folder / name.partition(".")[0]
    return any(Path(place).is_relative_to(own) or Path(place).parent == folder for place in places)


def _discover() -> Iterator[Plugin]:
    declared = entry_points()  # once: it reads a file of every distribution
    for kind in KINDS:
        for entry in declared.select(group=f"kafka_etl.{kind}"):
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
    except (Exception, SystemExit) as error:
        what = f"{plugin.kind[:-1]} {plugin.name} of {plugin.distribution}"
        raise _broken(what, error) from error


def import_object(use: str) -> Any:
    """The object that `module:name` names.

    Raises:
        UnknownPlugin: The module does not exist, or has no such name.
        BrokenPlugin: Importing the module failed.
    """
    module_name, _, attribute = use.partition(":")
    if not all(part.isidentifier() for part in f"{module_name}.{attribute}".split(".")):
        raise UnknownPlugin(
            f"`{use}` is not `module:name`",
            "Write a module's name without `.py`, a colon, and the name of something in it.",
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise _broken(f"module {module_name}", error) from error
        raise UnknownPlugin(
            f"there is no module `{error.name}` (looked beside the pipeline file and in the "
            "installed packages)",
            did_you_mean(module_name, (found.name for found in pkgutil.iter_modules(sys.path[:1])))
            or "Put the module beside the pipeline file, or install its package.",
        ) from error
    except (Exception, SystemExit) as error:
        raise _broken(f"module {module_name}", error) from error
    target: Any = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = [n for n in dir(target) if not n.startswith("_")]
            raise UnknownPlugin(
                f"module {module_name} has no `{attribute}`",
                did_you_mean(part, names) or "Correct the name, or define it there.",
            )
        target = getattr(target, part)
    return target


def _broken(what: str, error: BaseException) -> BrokenPlugin:
    info = ErrorInfo.of(error)
    if isinstance(error, SyntaxError) and error.filename:  # no frame of the traceback is in it
        line = f": `{error.text.strip()}`" if error.text else ""
        place = f"{error.filename}, line {error.lineno}"
        return BrokenPlugin(f"importing {what} failed at {place}: {info.type}: {error.msg}{line}")
    frames = info.traceback.splitlines()
    where = next((f.strip() for f in reversed(frames) if "importlib" not in f), "")
    place = f" at {where}" if where else ""
    return BrokenPlugin(f"importing {what} failed{place}: {info.type}: {info.message}")
