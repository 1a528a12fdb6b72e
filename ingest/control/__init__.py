"""The control plane: every change to who may send, each in one transaction with the record of it."""
