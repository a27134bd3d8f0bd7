"""The names that expressions of one kind may use, and what a comparison with such a name means."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kafka_etl.spelling import did_you_mean


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that expressions of one kind may use, and where a compiled function finds each.

    Attributes:
        parameters: Parameters of the compiled function, such as "row, payload".
        places: Name -> Python source of what the name stands for, over the parameters.
        fields: Name -> its only fields, each with Python source as in `places`. A name that is not
            among these is looked into when the expression runs.
        orders: Name -> function from a constant text to the number by which the name is ordered,
            such as a time, and to a text that means this number for ever (not so "2 hours ago").
            Its ValueError says which texts would be right.
        endings: Name with a dotted path, such as a class with its module -> Python source of the
            path's last part, to which a constant text without a dot is compared.
        words: Name -> the only constant texts to which the name may be compared.
    """

    parameters: str
    places: Mapping[str, str]
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    orders: Mapping[str, Callable[[str], tuple[int, str]]] = field(
        default_factory=dict[str, Callable[[str], tuple[int, str]]]
    )
    endings: Mapping[str, str] = field(default_factory=dict[str, str])
    words: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])

    def guess(self, word: str) -> str:
        """A question that names what the unknown word probably means."""
        owners = [name for name, fields in self.fields.items() if word in fields]
        if owners:
            return f"did you mean `{owners[0]}.{word}`?"
        return did_you_mean(word, self.places) or f"did you mean `value.{word}`?"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A name that is, or is not, one of some constant texts.

    Attributes:
        name: The name; a field stands as `name.field`.
        texts: The texts.
        is_choice: Whether the texts are those of a list, after `in`.
    """

    name: str
    texts: Sequence[ast.Constant]
    is_choice: bool

    @classmethod
    def all_in(cls, node: ast.Compare) -> Iterator[Comparison]:
        """Find those in a comparison as it was parsed."""
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            match operator, left, right:
                case ast.Eq() | ast.NotEq(), _, ast.Constant(value=str()):
                    yield cls(_name_of(left), [right], is_choice=False)
                case ast.Eq() | ast.NotEq(), ast.Constant(value=str()), _:
                    yield cls(_name_of(right), [left], is_choice=False)
                case ast.In() | ast.NotIn(), _, ast.List() | ast.Tuple() | ast.Set():
                    yield cls(_name_of(left), _texts(right.elts), is_choice=True)
                case _:
                    pass

    def unknown_word(self, vocabulary: Vocabulary) -> tuple[ast.Constant, str] | None:
        """A text that the name never is, and what to say of the text; None: there is none."""
        words = vocabulary.words.get(self.name)
        if words is None:
            return None
        for text in self.texts:
            word = str(text.value)
            if word not in words:
                near = did_you_mean(word, words)
                hint = f"; {near}" if near else "."
                return text, f"`{word:.40}` is no {self.name}{hint} There are: {', '.join(words)}"
        return None

    def is_by_ending(self, vocabulary: Vocabulary) -> bool:
        """Whether a text is meant as the last part of the name's dotted path."""
        return self.name in vocabulary.endings and any(
            "." not in str(text.value) for text in self.texts
        )


def _name_of(node: ast.expr) -> str:
    """A name, or a field of a name; empty: anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=owner), attr=part):
            return f"{owner}.{part}"
        case ast.Subscript(value=ast.Name(id=owner), slice=ast.Constant(value=str(part))):
            return f"{owner}.{part}"
        case _:
            return ""


def _texts(nodes: Sequence[ast.expr]) -> list[ast.Constant]:
    return [n for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
