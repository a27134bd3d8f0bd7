"""Installed plug-ins: sources, sinks, codecs and operators, found by entry point."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, cast

from kafka_etl.contracts import (
    Codec,
    CodecContext,
    CodecPlugin,
    Guarantee,
    Label,
    Settings,
    SinkPlugin,
    SinkSettings,
    SourcePlugin,
    SourceSettings,
)
from kafka_etl.errors import BrokenPlugin, ExtraMissing, KafkaEtlError, UnknownPlugin
from kafka_etl.functions.bind import settings_of
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
_SETTINGS: Final[Mapping[Kind, type[Settings]]] = {
    "sources": SourceSettings,
    "sinks": SinkSettings,
    "codecs": Settings,
}
_INTERNAL: Final = frozenset(("dead_letters", "task_deliveries", "task_inbox"))
"""Sources that no pipeline file names: the framework's own."""
_FUNCTIONS: Final = ("build", "check", "label", "require")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One installed plug-in, whose code is imported by `load` and not before."""

    kind: Kind
    name: str
    distribution: str
    version: str
    load: Callable[[], Any]

    def __str__(self) -> str:
        return f"{self.kind[:-1]} {self.name} of {self.distribution}"

    def broken(self, what: str) -> BrokenPlugin:
        """Return the error of a mistake that only the plug-in's author can mend."""
        return BrokenPlugin(
            f"{self}{what}",
            f"{self.distribution} {self.version} has to be mended by its author; only pipelines "
            "that use it are affected.",
        )

    @contextmanager
    def blamed(self, part: str) -> Generator[None]:
        """Run code of the plug-in within the block.

        Args:
            part: The attribute of the plug-in that has the code.

        Raises:
            BrokenPlugin: The code raised what is no `KafkaEtlError`.
        """
        try:
            yield
        except KafkaEtlError:
            raise
        except (Exception, SystemExit) as error:
            raise self.broken(f": `{part}` failed{_told(error)}") from error


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

    def blamed(self, kind: Kind, name: str, part: str) -> AbstractContextManager[None]:
        """See `Plugin.blamed`."""
        return self._find(kind, name).blamed(part)

    def label(self, name: str, settings: SinkSettings) -> Label:
        """Return what a sink promises with these settings; raises BrokenPlugin."""
        plugin = self._find("sinks", name)
        sink = self._typed(plugin)
        with plugin.blamed("label"):
            label: object = sink.label(settings)
        if not isinstance(label, Label):
            raise plugin.broken(f": `label` returned {label!r}, not a Label")
        if type(label.guarantee) is not Guarantee:
            said = f"a Label with guarantee {label.guarantee!r}, not a Guarantee"
            raise plugin.broken(f": `label` returned {said}")
        return label

    def build_codec(self, name: str, settings: Settings, context: CodecContext) -> Codec:
        """Build a codec; raises BrokenPlugin, and what the codec raises for its settings."""
        plugin = self._find("codecs", name)
        codec = self._typed(plugin)
        with plugin.blamed("build"):
            built: object = codec.build(settings, context)
        if not isinstance(built, Codec):
            raise plugin.broken(f": `build` returned {built!r}, not a Codec")
        return built

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

    def settings(self, plugin: Plugin) -> type[Settings]:
        """Load a plug-in and return the model of its settings.

        Raises:
            BrokenPlugin: The plug-in is not what its kind must be.
            OperatorSignatureError: Its settings cannot be told from its signature.
        """
        loaded = self._typed(plugin)
        if plugin.kind == "operators":
            return settings_of(loaded, plugin.name)
        settings: type[Settings] = loaded.settings
        return settings

    def lacks(self, plugin: Plugin) -> ExtraMissing | None:
        """Load a plug-in and return what it needs and is not installed; raises BrokenPlugin."""
        require: Callable[[], None] | None = getattr(self._typed(plugin), "require", None)
        if require is None or plugin.kind == "operators":
            return None
        with plugin.blamed("require"):
            try:
                require()
            except ExtraMissing as missing:
                return missing
        return None

    def require(self, kind: Kind, name: str) -> None:
        """Check that what a plug-in needs is installed.

        Raises:
            ExtraMissing: It is not.
            UnknownPlugin: There is no such plug-in.
            BrokenPlugin: The plug-in cannot be loaded.
        """
        missing = self.lacks(self._find(kind, name))
        if missing is not None:
            raise missing

    def named(self, name: str) -> list[Plugin]:
        """Return the plug-ins of this name, one of each kind at most; raises UnknownPlugin."""
        found = [plugin for plugin in self if plugin.name == name]
        if not found:
            raise UnknownPlugin(
                f"there is no plug-in called `{name}`",
                _with_colon(name) or did_you_mean(name, {plugin.name for plugin in self}),
            )
        return found

    def _typed(self, plugin: Plugin) -> Any:
        loaded = _load(plugin)
        if isinstance(loaded, Codec):
            return CodecPlugin(Settings, lambda _settings, _place: loaded, "")
        expected = _EXPECTED[plugin.kind]
        if not isinstance(loaded, expected):
            given = type(loaded).__name__
            raise plugin.broken(f" is of type {given}, not {expected.__name__}")
        flaws = "; ".join(_flaws(plugin.kind, loaded))
        if flaws:
            raise plugin.broken(f": {flaws}")
        return loaded

    def _find(self, kind: Kind, name: str) -> Plugin:
        found = self._plugins.get((kind, name))
        if found is not None:
            return found
        names = sorted(n for k, n in self._plugins if k == kind and n not in _INTERNAL)
        colon = _with_colon(name) if kind == "operators" else ""
        raise UnknownPlugin(
            f"there is no {kind[:-1]} called `{name}`; installed: {', '.join(names)}",
            colon or did_you_mean(name, names),
        )


def _with_colon(name: str) -> str:
    """A question whether `module.function` is meant as `module:function`; empty: hardly."""
    module, _, attribute = name.rpartition(".")
    return f"did you mean `{module}:{attribute}`?" if module and attribute.isidentifier() else ""


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
        raise _broken(str(plugin), error) from error


def _flaws(kind: Kind, loaded: Any) -> Iterator[str]:
    """Yield what is wrong with the parts of a plug-in; an operator has none."""
    base = _SETTINGS.get(kind)
    if base is None:
        return
    settings = loaded.settings
    if not isinstance(settings, type):
        yield f"`settings` is no class, but of type {type(settings).__name__}"
    elif not issubclass(settings, base):
        yield f"`settings` is {settings.__name__}, which does not derive from {base.__name__}"
    for name in _FUNCTIONS:
        function = getattr(loaded, name, _flaws)  # not every kind has all of them
        if not callable(function):
            yield f"`{name}` is no function, but of type {type(function).__name__}"
    if not isinstance(loaded.summary, str):
        yield f"`summary` must be text, not {loaded.summary!r}"
    letters = getattr(loaded, "letters", None)
    if letters not in (None, "topic", "table"):
        yield f"`letters` must be 'topic', 'table' or None, not {letters!r}"


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
            if (shadowed := _shadowed(module)) is not None:
                raise shadowed
            names = [n for n in dir(target) if not n.startswith("_")]
            raise UnknownPlugin(
                f"module {module_name} has no `{attribute}`",
                did_you_mean(part, names) or "Correct the name, or define it there.",
            )
        target = getattr(target, part)
    return target


def _shadowed(module: ModuleType) -> UnknownPlugin | None:
    """The error of a file beside the pipeline that another module of its name hides, if so."""
    name = module.__name__.partition(".")[0]
    beside = next((p for p in _sources(Path(sys.path[0] or "."), name) if p.is_file()), None)
    found = getattr(sys.modules.get(name), "__file__", None)
    if beside is None or (found is not None and Path(found).resolve() == beside.resolve()):
        return None
    whose = "Python's own module" if name in sys.stdlib_module_names else "another module"
    return UnknownPlugin(
        f"`{name}` is {whose} ({found or 'built in'}), not the file beside the pipeline",
        f"Rename {beside.name if beside.parent.name != name else f'the folder {name}'} beside the "
        "pipeline: two modules of one name cannot both be imported.",
    )


def _sources(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.py", folder / name / "__init__.py"


def _broken(what: str, error: BaseException) -> BrokenPlugin:
    return BrokenPlugin(f"importing {what} failed{_told(error)}")


def _told(error: BaseException) -> str:
    """Say where an error happened, and which: ` at FILE, line N: TYPE: MESSAGE`."""
    info = ErrorInfo.of(error)
    if isinstance(error, SyntaxError) and error.filename:  # no frame of the traceback is in it
        line = f": `{error.text.strip()}`" if error.text else ""
        return f" at {error.filename}, line {error.lineno}: {info.type}: {error.msg}{line}"
    frames = info.traceback.splitlines()
    where = next((f.strip() for f in reversed(frames) if "importlib" not in f), "")
    place = f" at {where}" if where else ""
    return f"{place}: {info.type}: {info.message}"
