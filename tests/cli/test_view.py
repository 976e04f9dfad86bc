"""Keys of `ivrd top`: what they choose, and where the cursor is when the list changes under it."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ivrd.cli.view import PAGE, SORTS, View
from tests.cli.answers import call


def view(count: int = 30) -> View:
    """Calls c-0 to c-N, the oldest first; of `menu` where even, else of `survey`."""
    made = View()
    made.take(
        [call(number, ("menu", "survey")[number % 2], 100 - number) for number in range(count)], ["menu", "survey"]
    )
    return made


def press(view: View, keys: str) -> None:
    for key in keys:
        assert view.press(key) == "stay"


def at(view: View) -> str:
    assert view.call is not None
    return view.call.id


def ids(view: View) -> list[str]:
    return [row.id for row in view.chosen]


def test_keys_choose() -> None:
    seen = view()
    for expected in [*list(SORTS)[1:], "age"]:
        press(seen, "s")
        assert seen.sort == expected
    for expected in ("menu", "survey", ""):
        press(seen, "a")
        assert seen.app == expected
    press(seen, "wp")
    assert (seen.workers, seen.paused) == (False, True)
    press(seen, "?")
    assert seen.press("q") == "quit"
    assert seen.press("enter") == "open"


def test_sorting_both_ways() -> None:
    seen = view(4)
    assert ids(seen) == ["c-0", "c-1", "c-2", "c-3"]
    press(seen, "r")
    assert ids(seen) == ["c-3", "c-2", "c-1", "c-0"]
    press(seen, "rs")
    assert ids(seen) == ["c-0", "c-2", "c-1", "c-3"]


def test_finding_a_call() -> None:
    seen = view()
    press(seen, "/C-1q")
    assert (seen.find, seen.typing, ids(seen)) == ("C-1q", True, [])  # q is a letter there
    assert seen.press("backspace") == "stay"
    assert len(ids(seen)) == 11
    assert seen.press("enter") == "stay"
    assert not seen.typing
    press(seen, "j")
    assert at(seen) == "c-10"
    assert seen.press("escape") == "stay"
    assert (seen.find, len(seen.chosen), at(seen)) == ("", 30, "c-10")
    press(seen, "/SURV")
    assert {row.app for row in seen.chosen} == {"survey"}
    seen.press("escape")
    assert (seen.find, seen.typing) == ("", False)


def test_moving() -> None:
    seen = view()
    press(seen, "jjk")
    assert at(seen) == "c-1"
    for key, expected in (("page down", PAGE + 1), ("end", 29), ("down", 29), ("page up", 19), ("home", 0), ("up", 0)):
        seen.press(key)
        assert at(seen) == f"c-{expected}"


def test_the_cursor_stays_with_its_call() -> None:
    seen = view()
    press(seen, "jjjr")
    assert at(seen) == "c-3"
    seen.take([*seen.chosen, call(99, age=0)], seen.apps)  # which is the youngest, and so the first
    assert at(seen) == "c-3"
    seen.take([row for row in seen.chosen if row.id != "c-3"], seen.apps)
    assert at(seen) == "c-2"  # the one that was below it
    seen.take([], [])
    assert seen.call is None


def test_on_the_first_line_it_stays_there() -> None:
    seen = view()
    press(seen, "r")
    seen.take([*seen.chosen, call(99, age=0)], seen.apps)
    assert at(seen) == "c-99"


def test_an_app_that_is_gone_is_not_chosen_any_more() -> None:
    seen = View(app="gone", apps=["menu"])
    seen.press("a")
    assert seen.app == ""


class AnyKeys(RuleBasedStateMachine):
    """Keys and calls in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = View()

    @rule(numbers=st.sets(st.integers(0, 12)))
    def look(self, numbers: set[int]) -> None:
        self.seen.take([call(number, ("menu", "survey")[number % 2], 100 - number) for number in numbers], ["menu"])

    @rule(key=st.sampled_from([*"jksrawp/cx19 ", "up", "down", "page up", "end", "enter", "escape", "backspace"]))
    def press(self, key: str) -> None:
        assert self.seen.press(key) in ("stay", "open")

    @invariant()
    def cursor_is_on_a_call_if_there_is_one(self) -> None:
        assert (self.seen.call is None) == (not self.seen.chosen)


TestAnyKeys = AnyKeys.TestCase
