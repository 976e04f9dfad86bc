"""ivrd: a daemon of warm workers for Asterisk's ExternalIVR.

This package exports the names an app's author needs, and nothing else: all below it is the daemon's own business.
"""

__version__ = "0.1.0"
