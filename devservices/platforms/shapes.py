"""Kinds of JSON values, as plain tests; `true` is no number, and `null` is nothing."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

Shape = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Tell whether it is a text, empty or not."""
    return type(value) is str


def is_filled(value: Any) -> bool:
    """Tell whether it is a text that is not empty."""
    return type(value) is str and value != ""


def is_integer(value: Any) -> bool:
    """Tell whether it is a whole number written as one."""
    return type(value) is int


def is_number(value: Any) -> bool:
    """Tell whether it is a finite number."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def is_boolean(value: Any) -> bool:
    """Tell whether it is true or false."""
    return type(value) is bool


def is_object(value: Any) -> bool:
    """Tell whether it is an object."""
    return type(value) is dict


def is_texts(value: Any) -> bool:
    """Tell whether it is an array of texts."""
    return type(value) is list and all(type(each) is str for each in value)


def is_text_or_texts(value: Any) -> bool:
    """Tell whether it is a text or an array of texts."""
    return type(value) is str or is_texts(value)


def is_currency(value: Any) -> bool:
    """Tell whether it has the form of an ISO 4217 code, in either case."""
    return type(value) is str and len(value) == 3 and value.isascii() and value.isalpha()


def one_of(words: Collection[str]) -> Shape:
    """Return a test for these words."""
    return lambda value: type(value) is str and value in words


def misfit(content: Mapping[str, Any], shapes: Mapping[str, Shape]) -> str | None:
    """Return the first member that has another shape than the one that is known for its name."""
    for name, value in content.items():
        shape = shapes.get(name)
        if shape is not None and not shape(value):
            return name
    return None
