"""Logging, metrics and their exporter: turns the facts that the other layers return into what an operator sees."""
