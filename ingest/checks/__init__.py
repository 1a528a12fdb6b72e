"""Whether a configuration will work: each file looks at one kind of thing, and changes nothing anywhere."""
