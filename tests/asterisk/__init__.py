"""Tests of ivrd on real Asterisk, and the rig that runs it."""
