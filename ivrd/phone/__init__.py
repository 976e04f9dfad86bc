"""Calling an app with no Asterisk: the simulator at one end, the app at the other, and a caller with a script."""
