"""The client's own addresses, found in any spelling and cut out of texts."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from operator import itemgetter
from struct import unpack
from typing import Final, NamedTuple

from normalize.percent import Edit, replaced, views

Groups = tuple[int, ...]

_v4_runs = re.compile(r"(?<![0-9])[0-9]++(?:\.[0-9]++){3,}+").finditer
_v6_runs = re.compile(r"[0-9A-Fa-f:.]+").finditer
_tokens = re.compile(
    r"(?<![0-9A-Fa-f.])([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![0-9A-Fa-f])|([0-9A-Fa-f]++)|(:(?=::)|::?)|\."
).finditer
# A zone follows `%`, which may itself be encoded; any other `%` and two hex digits is an encoded character.
_zone = re.compile(r"%(?:25|(?![0-9A-Fa-f]{2}))[0-9A-Za-z_.~-]+").match

_COLON, _GAP, _BREAK = -1, -2, -3


class _Token(NamedTuple):
    """A group of 16 bits, or one of `_COLON`, `_GAP` (two colons) and `_BREAK` (no address goes across)."""

    value: int
    start: int
    end: int


class OwnAddresses:
    """The addresses of one request, as they may turn up in what the client sends.

    Found are IPv4 with dots, octets padded with zeros up to three digits, and IPv6 compressed or not, in any case, with
    a dotted tail, a zone or brackets, each also as the IPv4-mapped form of the other. Cheap to build, since one is
    built for every request.

    `needles` are for a quick test: a text whose lower case holds none of them, and which has no `%`, holds no spelling
    of an own address.

    >>> own = OwnAddresses([IPv4Address("203.0.113.7")])
    >>> own.cut("from 203.000.113.007, ::ffff:cb00:7107 and 203%2E0.113.7")
    'from ,  and '
    >>> own.needles
    ('203.0', 'ffff:cb00')
    """

    __slots__ = ("_packed", "needles")

    needles: tuple[str, ...]

    def __init__(self, addresses: Iterable[IPv4Address | IPv6Address] = ()) -> None:
        packed = [address.packed for address in addresses]
        # An IPv4-mapped address is the IPv4 address; the mapped form is looked for anyway.
        self._packed = [each[12:] if each.startswith(_MAPPED) else each for each in packed]
        self.needles = tuple([needle for each in self._packed for needle in _needles(each)])

    def __bool__(self) -> bool:
        return bool(self._packed)

    def __repr__(self) -> str:
        return f"<{len(self._packed)} own addresses>"  # an address never reaches a log by way of its repr

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Find every spelling in `text`, which is not percent-encoded: spans in order, without overlap."""
        lower = text.lower()
        if not any(needle in lower for needle in self.needles):
            return []
        v4 = [tuple(each) for each in self._packed if len(each) == 4]
        v6 = [unpack(">8H", each if len(each) == 16 else _MAPPED + each) for each in self._packed]
        found = sorted([*_v6_spans(text, v6), *_v4_spans(text, v4)])
        apart: list[tuple[int, int]] = []
        for span in found:
            if not apart or span[0] >= apart[-1][1]:
                apart.append(span)
        return apart

    def cut(self, text: str) -> str:
        """Return `text` without any spelling of an own address, percent-encoded ones included."""
        for level in range(len(views(text)) - 1, -1, -1):
            levels = views(text)
            view = levels[min(level, len(levels) - 1)]
            text = replaced(text, view, [Edit(start, end, "") for start, end in self.spans(view.text)])
        return text


_MAPPED = bytes(10) + b"\xff\xff"


def _padded(digits: str, width: int) -> list[str]:
    return [digits.rjust(length, "0") for length in range(len(digits), width + 1)]


def _octet_ends(octet: int) -> list[str]:
    """Return what an octet begins with behind a dot, whatever zeros pad it: the fewer to look for, the better."""
    if octet == 0:
        return [".0"]
    if octet < 10:
        return [f".{octet}.", ".0"]
    return [f".{spelling}." for spelling in _padded(str(octet), 3)]


_OCTET_ENDS: Final = [_octet_ends(octet) for octet in range(256)]


def _needles(packed: bytes) -> list[str]:
    return _v4_needles(*packed[:3]) if len(packed) == 4 else _v6_needles(unpack(">8H", packed))


def _v4_needles(first: int, second: int, third: int) -> list[str]:
    """Two octets, of the pair with the fewer spellings; and the mapped form's first half in hex."""
    ends, other_ends = _OCTET_ENDS[second], _OCTET_ENDS[third]
    if len(ends) <= len(other_ends):
        needles = [f"{first}{end}" for end in ends]
    else:
        needles = [f"{second}{end}" for end in other_ends]
    high = first << 8 | second
    if high >= 0x1000:
        needles.append(f"ffff:{high:x}")
    else:
        needles += [f"ffff:{spelling}" for spelling in _padded(f"{high:x}", 4)] if high else ["ffff:"]
    return needles


def _v6_needles(groups: Groups) -> list[str]:
    """Two neighbouring groups that cannot be left out, else one; the last two may be dotted, so they do not serve."""
    pairs = [(left, right) for left, right in pairwise(groups[:6]) if left and right]
    if pairs:
        left, right = max(pairs, key=_second)
        return [f"{left:x}:{spelling}" for spelling in _padded(f"{right:x}", 4)]
    for group in groups[:6]:
        if group:
            return [f"{group:x}:"]
    # Six groups of zeros are either left out or written: then some three of them stand side by side.
    return ["::", *(f"0:{zeros}:0" for zeros in _padded("0", 4))]


_second = itemgetter(1)


def _v4_spans(text: str, own: list[Groups]) -> Iterator[tuple[int, int]]:
    """Look at every four neighbours of every run of numbers with dots."""
    for run in _v4_runs(text) if own else ():
        octets = run[0].split(".")
        values = [int(octet) if len(octet) <= 3 else -1 for octet in octets]
        starts = [run.start()]
        for octet in octets:
            starts.append(starts[-1] + len(octet) + 1)
        at = 0
        while at + 4 <= len(values):
            if tuple(values[at : at + 4]) in own:
                yield starts[at], starts[at + 4] - 1
                at += 4
            else:
                at += 1


def _v6_spans(text: str, own: list[Groups]) -> Iterator[tuple[int, int]]:
    """Look at every group of every run, since what stands before an address may look like a group (`source:…`)."""
    firsts = {groups[0] for groups in own} | {_GAP}
    for run in _v6_runs(text):
        if run[0].count(":") < 2:
            continue
        tokens = _tokenized(text, *run.span())
        at = 0
        while at < len(tokens):
            end = max(_matched(tokens, at, groups) for groups in own) if tokens[at].value in firsts else 0
            if end and _stands_alone(text, tokens, at, end):
                yield _widened(text, tokens[at].start, tokens[end - 1].end)
                at = end
            else:
                at += 1


def _stands_alone(text: str, tokens: list[_Token], at: int, end: int) -> bool:
    """Tell whether two colons at its begin or end stand for zeros, and do not join it to a word or another group."""
    first, last = tokens[at], tokens[end - 1]
    if first.value == _GAP and text[max(0, first.start - 1) : first.start].isalnum():
        return False
    return not (last.value == _GAP and end < len(tokens) and tokens[end].value >= 0)


def _tokenized(text: str, begin: int, end: int) -> list[_Token]:
    tokens = []
    for found in _tokens(text, begin, end):
        quad, group, colons = found.groups()
        start, stop = found.span()
        if quad:
            first, second, third, fourth = map(int, quad.split("."))
            tokens.append(_Token(first << 8 | second, start, start))
            tokens.append(_Token(_COLON, start, start))
            tokens.append(_Token(third << 8 | fourth, start, stop))
        elif group:
            tokens.append(_Token(int(group, 16) if len(group) <= 4 else _BREAK, start, stop))
        elif colons:
            tokens.append(_Token(_COLON if colons == ":" else _GAP, start, stop))
        else:
            tokens.append(_Token(_BREAK, start, stop))
    return tokens


def _matched(tokens: list[_Token], at: int, own: Groups) -> int:
    """Return the index after the longest spelling of `own` that starts at token `at`, 0 if there is none."""
    left = _run_length(tokens, at, own)
    if left == 8:
        return at + 15
    gap = at + 2 * left - 1 if left else at
    if gap >= len(tokens) or tokens[gap].value != _GAP:
        return 0
    for right in range(7 - left, -1, -1):
        if not any(own[left : 8 - right]) and _run_length(tokens, gap + 1, own[8 - right :]) == right:
            return gap + 1 + (2 * right - 1 if right else 0)
    return 0


def _run_length(tokens: list[_Token], at: int, groups: Groups) -> int:
    """Count how many of `groups` stand at token `at`, with one colon between each two."""
    count = 0
    for group in groups:
        index = at + 2 * count
        if index >= len(tokens) or tokens[index].value != group or (count and tokens[index - 1].value != _COLON):
            break
        count += 1
    return count


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Take the zone and the brackets of an IPv6 address along."""
    zone = _zone(text, end)
    if zone:
        end = zone.end()
    return (start - 1, end + 1) if text[start - 1 : start] == "[" and text[end : end + 1] == "]" else (start, end)


NONE: Final = OwnAddresses()
"""No own addresses: nothing is looked for."""
