"""docs/log.md beside the code: each event that ivrd logs, and each field of `ivrd_call`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "log.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception"}
WORKERS_WORD = re.compile(r"(app|call|daemon|lifespan|task|thread|worker)\.[a-z_]+")


def calls() -> Iterator[ast.Call]:
    for path in sorted((ROOT / "ivrd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                yield node


def logged() -> dict[str, ast.Call]:
    """The calls that log, by event: a method named as a level on something named as a log, or `say` of either."""
    found = {}
    for call in calls():
        name = ast.unparse(call.func)
        event = call.args[0]
        if not (isinstance(event, ast.Constant) and isinstance(event.value, str)):
            continue
        if re.fullmatch(r"(self\._)?log\.(\w+)|say", name) and name.rpartition(".")[2] in LEVELS | {"say"}:
            found[event.value] = call
    return found


def workers_words() -> set[str]:
    """Events that come to the log by way of a variable; workers' are dotted."""
    return {
        node.value
        for path in (ROOT / "ivrd" / "worker").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORKERS_WORD.fullmatch(node.value)
    }


def rows(heading: str) -> list[str]:
    """The first column of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^\| `([^`]+)`", section)


def test_every_event_is_documented_and_no_other() -> None:
    documented = [*rows("Events about calls"), *rows("Events about workers"), *rows("Events about the daemon")]
    assert len(documented) == len(set(documented))
    assert set(documented) == set(logged()) | workers_words()


def test_the_line_of_a_call_is_documented_field_by_field() -> None:
    assert rows("ivrd_call") == [keyword.arg for keyword in logged()["ivrd_call"].keywords]
