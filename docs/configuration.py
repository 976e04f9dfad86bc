"""The reference of ivrd.toml, as a page and as a manual page, made from `ivrd.config.document()`.

The rule that holds here: names, ranges, defaults and descriptions come from the code; only what stands around them is
written here.
"""

from __future__ import annotations

from itertools import groupby

from docs.roff import roff
from ivrd.config import KeyDoc, document

_PAGE = """\
# Configuration
<!-- Made by `python -m docs.generate` from ivrd/config/keys.py: do not edit. -->

One TOML file, `/etc/ivrd/ivrd.toml` unless `--config`, or else the variable `IVRD_CONFIG`, names another. It has one
`[server]` table, which may be left out, and one `[apps.NAME]` table for each app, whose `NAME` is what the dialplan
says: `ExternalIVR(/usr/bin/ivrd-shim(NAME,…))`.

```toml
[apps.menu]
handler = "menu:main"
path = "/srv/ivr"
```

`ivrd check` reads the file as `ivrd serve` would, imports each app, and says in one line each what is wrong. An
unknown key is an error that names the nearest right one. `ivrd reload` applies a change without dropping a call; only
the sockets and `metrics` wait for a restart. Relative paths count from the file's own directory.
[deploy/ivrd.example.toml](../deploy/ivrd.example.toml) has every key with its default.
"""

_TITLES = {"server": "the daemon", "apps.NAME": "one app"}

_MANUAL = r"""
.\" Made by python -m docs.generate from ivrd/config/keys.py: do not edit.
.TH IVRD.TOML 5 "" ivrd "File formats"
.SH NAME
ivrd.toml \- configuration of ivrd
.SH SYNOPSIS
.I /etc/ivrd/ivrd.toml
.SH DESCRIPTION
A TOML file with one
.B [server]
table, which may be left out, and one
.BI [apps. NAME ]
table for each app, whose
.I NAME
is what the dialplan says:
.BI ExternalIVR(/usr/bin/ivrd\-shim( NAME ,...)) .
An unknown key is an error that names the nearest right one.
.B ivrd check
says all that is wrong;
.B ivrd reload
applies a change without dropping a call; only the sockets and
.B metrics
wait for a restart.
Relative paths count from the file's own directory.
""".lstrip("\n")

_MANUAL_END = r"""
.SH EXAMPLE
.EX
[apps.menu]
handler = "menu:main"
path = "/srv/ivr"
.EE
.SH FILES
.I /etc/ivrd/ivrd.toml
unless
.BR \-\-config ,
or else the variable
.BR IVRD_CONFIG ,
names another.
.SH SEE ALSO
.BR ivrd (1),
.BR ivrd\-shim (1)
""".lstrip("\n")


def page() -> str:
    """The page of the documentation."""
    parts = [_PAGE]
    for section, keys in groupby(document(), lambda key: key.section):
        parts.append(
            f"\n## `[{section}]`: {_TITLES[section]}\n\n| key | takes | default | what it does |\n|---|---|---|---|\n"
        )
        parts += [
            f"| `{key.name}` | {_cell(_takes(key))} | {_default(key)} | {_cell(key.description)} |\n" for key in keys
        ]
    return "".join(parts)


def manual() -> str:
    """The manual page, ivrd.toml(5)."""
    parts = [_MANUAL]
    for section, keys in groupby(document(), lambda key: key.section):
        parts.append(f".SH [{section}]\n")
        for key in keys:
            given = "required" if key.required else f"default {key.default}" if key.default else "not set by default"
            takes = _takes(key)
            facts = f"{takes[0].upper()}{takes[1:]}; {given}."
            parts.append(f".TP\n.B {roff(key.name)}\n{roff(key.description)}\n.br\n{roff(facts)}\n")
    parts.append(_MANUAL_END)
    return "".join(parts)


def _takes(key: KeyDoc) -> str:
    return f"{key.type} ({key.unit})" if key.unit else key.type


def _default(key: KeyDoc) -> str:
    return "**required**" if key.required else f"`{key.default}`" if key.default else "not set"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
