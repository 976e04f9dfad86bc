"""The simulator beside the real thing: one probe program, the same scenarios, on both; see `scenario` for what one is.

`make test` runs all scenarios on Asterisk 22 and 16 and some random ones on 22; `make conformance` runs many. A random
one that the two sides saw differently is kept in `scenarios/found.txt` and from then on runs with the others.
"""
