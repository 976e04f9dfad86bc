"""The configuration: ivrd.toml read into frozen structs, checked in full before anything uses it.

The rule that holds here: what comes out of `load` and `parse` is right in every key, or `ConfigError` says in one line
each what is not. `keys` has the keys, `forms` the forms of text, `load` the checks, `limits` what a configuration asks
of the machine, `document` the reference.
"""

from __future__ import annotations

from ivrd.errors import ConfigError

from .document import KeyDoc, document
from .keys import App, Config, Server
from .limits import NOT_YET, check_descriptors, descriptors_needed, needs_restart, without_effect
from .load import MAX_BYTES, InvalidConfig, app_for_function, config_for_function, control_socket, load, parse

__all__ = [
    "MAX_BYTES",
    "NOT_YET",
    "App",
    "Config",
    "ConfigError",
    "InvalidConfig",
    "KeyDoc",
    "Server",
    "app_for_function",
    "check_descriptors",
    "config_for_function",
    "control_socket",
    "descriptors_needed",
    "document",
    "load",
    "needs_restart",
    "parse",
    "without_effect",
]
