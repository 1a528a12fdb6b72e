"""The surface for partners' backends, `/v1/*`: authenticated by keys, limited, repeatable, and written down."""
