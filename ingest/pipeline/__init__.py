"""From the bytes of a batch to the records of its events. Pure: no input, no output, no clock."""
