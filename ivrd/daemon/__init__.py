"""The daemon (trio): takes calls in, routes them to workers, and has the last word on each."""
