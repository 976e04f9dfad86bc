"""Text for troff, as the manual pages need it."""

from __future__ import annotations

import re

__all__ = ["roff"]


def roff(text: str) -> str:
    """Text of ours for troff: what it would take for requests or make typographer's signs of is written out."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    escaped = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", escaped)
    return re.sub(r"(?m)^\.", r"\\&.", escaped)
