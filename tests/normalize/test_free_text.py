import pytest

from normalize.free_text import email_spans, phone_spans


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("ann@example.com", ["ann@example.com"]),
        ("Mail ann@example.com.", ["ann@example.com"]),
        ("<ann@example.com>,'bob@x','c@d'", ["ann@example.com", "bob@x", "c@d"]),
        ("mailto:ann+tag@example.com?cc=bob@localhost#x", ["ann+tag@example.com", "bob@localhost"]),
        ("http://u:ann@example.com/a", ["ann@example.com"]),
        ("jörg@bücher.example und 用户@例え.jp、ok", ["jörg@bücher.example", "用户@例え.jp"]),
        ("o'brien@example.com", ["o'brien@example.com"]),
        ("\u202aann@example.com\u202c", ["ann@example.com"]),
        ("@handle, price @ 5, a@, @@@, a@.", []),
        ("a|b@c|d \\e@f\\", ["b@c", "e@f"]),
        ('to "john doe"@example.com, "x"@y', ['"john doe"@example.com', '"x"@y']),
        ("ann@[192.168.0.1]. bob@[IPv6:2001:db8::1]", ["ann@[192.168.0.1]", "bob@[IPv6:2001:db8::1]"]),
        ("{ann}@example.com", ["{ann}@example.com"]),
    ],
)
def test_addresses(text: str, addresses: list[str]) -> None:
    """Everything with a local part and a domain, without the punctuation around it."""
    assert [text[start:end] for start, end in email_spans(text)] == addresses


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("+12345678", ["+12345678"]),
        ("+1234567", []),
        ("\uff0b\uff18\uff11\uff0d90\uff0d1234\uff0d5678", ["\uff0b\uff18\uff11\uff0d90\uff0d1234\uff0d5678"]),
        *(
            (f"+49{gap}30{gap}901820", [f"+49{gap}30{gap}901820"])
            for gap in "\u2212\u2014\u3000\u2003\u00ad\u200b_\n\u00b7"
        ),
        ("+81\uff0890\uff0912345678", ["+81\uff0890\uff0912345678"]),
        ("+123456789012345", ["+123456789012345"]),
        ("+1234567890123456", []),
        ("call +1 (415) 555-2671 now", ["+1 (415) 555-2671"]),
        ("\u202a+49\u00a0151/1234.5678\u202c", ["+49\u00a0151/1234.5678"]),
        ("+1 415\u2011555\u20112671", ["+1 415\u2011555\u20112671"]),
        ("+\u0664\u0669\u0661\u0665\u0661\u0661\u0662\u0663", ["+\u0664\u0669\u0661\u0665\u0661\u0661\u0662\u0663"]),
        ("\uff0b12345678", ["\uff0b12345678"]),
        ("+14155552671 2026-11-24", ["+14155552671 2026"]),
        ("2026-11-24T10:00:00+01:00, +1 point, 1e+21", []),
        ("+12345678+87654321", ["+12345678", "+87654321"]),
        ("4155552671", []),
    ],
)
def test_numbers(text: str, numbers: list[str]) -> None:
    """A plus and 8 to 15 digits, of any script and with separators; never 16 digits in a row."""
    assert [text[start:end] for start, end in phone_spans(text)] == numbers
