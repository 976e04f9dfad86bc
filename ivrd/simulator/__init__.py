"""Asterisk's side of a call, played with its traps: for tests, for `ivrd dial` and for load."""
