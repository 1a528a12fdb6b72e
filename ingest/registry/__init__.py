"""Who may send: the apps, the kill switches, and the decision for one app id."""
