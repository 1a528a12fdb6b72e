"""Where the parts are put together: this room alone names concrete classes of the others."""
