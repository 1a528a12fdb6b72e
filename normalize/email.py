"""E-mail addresses: scheme `email/1`."""

from normalize.digest import sha256_hex


def email_digest(text: str) -> str | None:
    r"""Return the digest of the normal form of an e-mail address; None when nothing is left of it.

    The normal form is the text without white space around it (any that Unicode knows), in lower case. Nothing else:
    no look at its shape, no rule for dots or tags of some provider, no Unicode normalization form; and `lower`, since
    `casefold` would turn ß into ss and match nobody. Lone surrogates count as U+FFFD. Never raises.

    >>> email_digest(" Ann@Example.COM\n") == email_digest("ann@example.com")
    True
    >>> email_digest(" \u00a0 ") is None
    True
    """
    normal = text.strip().lower()
    return sha256_hex(normal) if normal else None
