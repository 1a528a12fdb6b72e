"""What was removed or changed in an object, beyond plain hashing, as codes that may be stored beside it."""

import enum


class Note(enum.StrEnum):
    """The closed set of codes. A code tells what happened, never to which member or value."""

    EMAIL_UNUSABLE = "email_unusable"  # an e-mail member held nothing to hash and is gone
    PHONE_UNUSABLE = "phone_unusable"  # a phone member held nothing to hash and is gone
    DIGEST_CONFLICT = "digest_conflict"  # two members of one family disagreed; the first was kept
    ADDRESS_REMOVED = "address_removed"  # a member named for an address is gone
    OWN_ADDRESS_REMOVED = "own_address_removed"  # an address of the client was cut out of a text
    ADVERTISING_ID_REMOVED = "advertising_id_removed"  # a member is gone, or its value was cut out of a text
    ZERO_ID_REMOVED = "zero_id_removed"  # the all-zero advertising id was dropped
    HARDWARE_ID_REMOVED = "hardware_id_removed"  # a member named for a hardware id is gone
    TEXT_SCRUBBED = "text_scrubbed"  # an e-mail address or a phone number inside a text became a digest
    TEXT_TOO_DENSE = "text_too_dense"  # a text held too many places to change and was cut out whole
    MEMBER_COLLISION = "member_collision"  # two members got the same name; the later one was kept


Notes = dict[Note, None]
"""Notes in the order in which they were found, each once: a set that keeps its order."""
