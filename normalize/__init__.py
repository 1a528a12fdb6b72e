"""Normal forms and digests of personal identifiers."""
