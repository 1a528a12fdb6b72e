"""Percent-encoded text that is searched in decoded form and changed in place."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Final, NamedTuple

LEVELS_MAX: Final = 3
"""How often a text may have been encoded: `%40` once, `%2540` twice, `%252540` three times."""

_runs = re.compile(r"(?:%[0-9A-Fa-f]{2})++").finditer


class Edit(NamedTuple):
    """Replace what stands from `start` to `end` by `text`."""

    start: int
    end: int
    text: str


class View:
    """A text after `level` levels of decoding, which knows where each of its characters comes from.

    It is kept as stretches of text and their places one level up, which is far less than a place for each character.
    """

    __slots__ = ("_outer", "_stretches", "level", "text")

    def __init__(self, text: str, outer: "View | None" = None, stretches: "_Stretches | None" = None) -> None:
        self.text = text
        self.level: int = outer.level + 1 if outer else 0
        self._outer = outer
        self._stretches = stretches or _Stretches()

    def source(self, index: int) -> int:
        """Return where in the undecoded text the character at `index` begins, and the one before it ends."""
        view = self
        while view._outer is not None:
            index = view._stretches.outer(index)
            view = view._outer
        return index


class _Stretches:
    """Places of characters one level up, by stretches in which each takes the same number of characters there."""

    __slots__ = ("begins", "outer_begins", "widths")

    def __init__(self) -> None:
        self.begins = [0]
        self.outer_begins = [0]
        self.widths = [1]

    def outer(self, index: int) -> int:
        at = bisect_right(self.begins, index) - 1
        return self.outer_begins[at] + (index - self.begins[at]) * self.widths[at]


def views(text: str) -> list[View]:
    """Return `text` as it is, then once decoded, and so on while that changes it, at most `LEVELS_MAX` times.

    Bytes that are not UTF-8 become lone surrogates, one each.

    >>> [view.text for view in views("a%2540b")]
    ['a%2540b', 'a%40b', 'a@b']
    """
    found = [View(text)]
    while len(found) <= LEVELS_MAX and "%" in found[-1].text:
        decoded = _decoded(found[-1])
        if decoded is None:
            break
        found.append(decoded)
    return found


def unquoted(text: str) -> str:
    """Return `text` decoded as far as `views` does.

    >>> unquoted("a%2540b%C3%A9")
    'a@bé'
    """
    return views(text)[-1].text if "%" in text else text


def replaced(source: str, view: View, edits: Iterable[Edit]) -> str:
    """Return `source` with `edits` of its `view` made in place. Edits come in order and do not overlap.

    >>> source = "to=a%40b&x"
    >>> replaced(source, views(source)[-1], [Edit(3, 6, "-")])
    'to=-&x'
    """
    pieces: list[str] = []
    done = 0
    for start, end, text in edits:
        pieces += source[done : view.source(start)], text
        done = view.source(end)
    pieces.append(source[done:])
    return "".join(pieces)


def _decoded(view: View) -> View | None:
    """Decode one level further; None where nothing is encoded."""
    text = view.text
    pieces: list[str] = []
    stretches = _Stretches()
    done = length = 0
    for run in _runs(text):
        begin, end = run.span()
        chars = bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "surrogateescape")
        pieces += text[done:begin], chars
        length += begin - done
        if 3 * len(chars) == end - begin:
            stretches.begins += length, length + len(chars)
            stretches.outer_begins += begin, end
            stretches.widths += 3, 1
        else:
            stretches.begins += range(length, length + len(chars) + 1)
            stretches.outer_begins += accumulate((3 * _utf8_length(char) for char in chars), initial=begin)
            stretches.widths += [1] * (len(chars) + 1)
        length += len(chars)
        done = end
    if not pieces:
        return None
    pieces.append(text[done:])
    return View("".join(pieces), view, stretches)


def _utf8_length(char: str) -> int:
    code = ord(char)
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:
        return 1
    if code < 0x800:
        return 2
    return 3 if code < 0x10000 else 4
