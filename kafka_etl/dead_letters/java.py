"""Java stack traces: the error that tells most, and the frames of the user's own code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

_CAUSE: Final = "\nCaused by: "
_AT: Final = "\n\tat "
_HEAD: Final = re.compile(r"(?P<type>[\w.$]+)(?:: (?P<text>.*))?")
_NUMBERED: Final = re.compile(r"\$\d+")
"""Numbers of lambdas and generated classes, which change from build to build."""
_BRACKETS: Final = re.compile(r"\([^()\n]*\)|\[[^\[\]\n]*\]")
_NESTED: Final = 3
_FRAMES: Final = 3
_LIBRARIES: Final = (
    "com.fasterxml.",
    "com.sun.",
    "io.confluent.",
    "io.quarkus.",
    "io.smallrye.",
    "io.vertx.",
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "kafka.",
    "org.apache.",
    "org.springframework.",
    "reactor.",
    "sun.",
)
"""Packages that are not the user's own code."""
_WRAPPERS: Final = frozenset(
    [
        "CompletionException",
        "ConnectException",
        "ExecutionException",
        "InvocationTargetException",
        "ListenerExecutionFailedException",
        "MessageDeliveryException",
        "MessageHandlingException",
        "MessagingException",
        "ProcessingException",
        "StreamsException",
        "UndeclaredThrowableException",
    ]
)
"""Classes in which a framework wraps the error of the user's own code."""


class JavaError(NamedTuple):
    """One exception of a chain; its text may be unknown, and its class empty."""

    type: str
    text: str = ""


def telling(errors: Sequence[JavaError], stacktrace: str) -> JavaError:
    """Class and text of the first error of a chain that is no mere wrapper, or of the first.

    A text that ends with a colon goes on with that of the deepest cause.

    Args:
        errors: The chain's begin, one at least, without the stack trace's help.
        stacktrace: As Java prints it; empty: unknown.
    """
    chain = [*errors, *_causes(stacktrace)]
    kind, text = next((e for e in chain if e.type and not _wraps(e)), chain[0])
    if not text:
        text = next((e.text for e in chain if e.type == kind and e.text), chain[0].text)
    if text.rstrip().endswith(":"):
        deepest = next((e.text for e in reversed(chain) if e.text and e.type != kind), "")
        text = f"{text.rstrip()} {deepest}".rstrip()
    return JavaError(kind, text)


def _causes(stacktrace: str) -> Iterator[JavaError]:
    for section in stacktrace.split(_CAUSE)[1:]:
        found = _HEAD.match(section)
        if found is not None:
            yield JavaError(found["type"], (found["text"] or "").rstrip())


def _wraps(error: JavaError) -> bool:
    return simple(error.type) in _WRAPPERS


def simple(name: str) -> str:
    """A class without its package."""
    return name.rpartition(".")[2]


def without_data(text: str) -> str:
    """A text for a fingerprint: Java's messages have data in brackets, `Value (abc) is no number`.

    Brackets in brackets are emptied from inside.
    """
    for _ in range(_NESTED):
        text = _BRACKETS.sub("…", text)
    return text


def frames(stacktrace: str) -> str:
    """The innermost frames of the user's own code, as Python writes frames; line numbers are 0.

    Those of the deepest cause that has any; where there are none, the innermost frame of all.
    """
    sections = [_methods(section) for section in stacktrace.split(_CAUSE)]
    for methods in reversed(sections):
        own = [method for method in methods if not method.startswith(_LIBRARIES)]
        if own:
            return _as_python(own[:_FRAMES])
    return _as_python(sections[-1][:1])


def _methods(section: str) -> Sequence[str]:
    """The methods of a stack trace's section, with their classes; the innermost first."""
    _head, _, lines = section.partition(_AT)  # each record's head is its own, the lines are not
    return _methods_of(lines) if lines else ()


@lru_cache(maxsize=256)
def _methods_of(lines: str) -> Sequence[str]:
    return tuple(line.partition("(")[0].rpartition("/")[2] for line in lines.split(_AT))


def _as_python(methods: Sequence[str]) -> str:
    named = [_NUMBERED.sub("$", method).rpartition(".") for method in reversed(methods)]
    return "\n".join(f'  File "{owner}", line 0, in {name}' for owner, _, name in named)
