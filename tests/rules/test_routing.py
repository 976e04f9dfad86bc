"""Who gets which call: a model of the line and the places, and each rule of the choice by itself."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from ivrd.rules.life import Admitted, TurnedAway
from ivrd.rules.routing import Desk, Seat
from ivrd.wire.hello import Status


def desk_with(*seats: Seat, queue: int = 10, line: str = "") -> Desk:
    """A desk with these places and, in its line, a call for each letter."""
    desk = Desk("menu", queue)
    desk.seats = {seat.worker: seat for seat in seats}
    for call in line:
        assert isinstance(desk.admit(call), Admitted)
    return desk


def seat(worker: int, *, capacity: int = 10, generation: int = 1, load: int = 0, open: bool = True) -> Seat:  # noqa: A002
    return Seat(worker, capacity, generation, open, {f"old-{worker}-{number}" for number in range(load)})


def test_first_come_first_served_to_the_least_loaded() -> None:
    desk = desk_with(seat(1, load=2), seat(2), line="abcd")
    assert list(desk.assign()) == [("a", 2), ("b", 2), ("c", 1), ("d", 2)]
    assert (desk.waiting, desk.busy) == (0, 6)


def test_the_newest_generation_comes_first_however_loaded_until_it_is_full() -> None:
    desk = desk_with(seat(1, generation=1), seat(2, generation=2, capacity=4, load=2), line="abc")
    assert list(desk.assign()) == [("a", 2), ("b", 2), ("c", 1)]


def test_a_closed_worker_gets_nothing() -> None:
    desk = desk_with(seat(1, open=False), line="a")
    assert list(desk.assign()) == []
    desk.seats[1].open = True
    assert list(desk.assign()) == [("a", 1)]


def test_a_place_is_free_when_the_worker_lets_go_and_not_before() -> None:
    desk = desk_with(seat(1, capacity=1), line="ab")
    assert list(desk.assign()) == [("a", 1)]
    desk.leave("a")  # it is over for us; the worker still cleans up
    assert list(desk.assign()) == []
    desk.release("a", 1)
    assert list(desk.assign()) == [("b", 1)]


def test_calls_that_could_not_be_handed_over_keep_their_order() -> None:
    desk = desk_with(seat(1), line="abc")
    for call, worker in desk.assign():
        desk.seats[worker].open = False  # its socket was full
        desk.release(call, worker)
        desk.wait_again(call, first=True)
    desk.seats[1].open = True
    assert [call for call, _ in desk.assign()] == ["a", "b", "c"]


def test_a_worker_that_is_gone_releases_nothing() -> None:
    desk = desk_with(seat(1, capacity=1), line="ab")
    list(desk.assign())
    del desk.seats[1]
    desk.release("a", 1)
    assert (desk.busy, desk.waiting) == (0, 1)


def test_the_line_holds_what_the_queue_allows_beyond_the_free_places() -> None:
    desk = desk_with(seat(1, capacity=3, load=1), queue=2, line="abcd")
    refusal = desk.admit("e")
    assert isinstance(refusal, TurnedAway)
    assert refusal.status is Status.OVERLOADED
    assert refusal.reason == "1 calls are up and 4 wait; raise workers, concurrency or queue"
    list(desk.assign())
    assert isinstance(desk.admit("e"), TurnedAway)
    desk.release("a", 1)
    assert isinstance(desk.admit("e"), Admitted)


def test_without_a_queue_a_call_needs_a_place_at_once() -> None:
    desk = desk_with(seat(1, capacity=1), queue=0, line="a")
    list(desk.assign())
    refusal = desk.admit("b")
    assert isinstance(refusal, TurnedAway)
    assert refusal.reason == "1 calls are up and none may wait (queue = 0); raise workers or concurrency"


def test_bad_luck_keeps_the_place_in_the_line_and_a_second_life_does_not() -> None:
    desk = desk_with(line="ab")
    desk.wait_again("unlucky", first=True)
    desk.wait_again("second", first=False)
    desk.seats[1] = seat(1)
    assert [call for call, _ in desk.assign()] == ["unlucky", "a", "b", "second"]


def test_a_full_line_takes_back_those_who_were_in_it() -> None:
    desk = desk_with(queue=1, line="a")
    desk.wait_again("b", first=True)
    assert desk.waiting == 2


class Books(RuleBasedStateMachine):
    """The desk beside a list for the line and a dictionary for the places."""

    calls: Bundle[str] = Bundle("calls")
    workers: Bundle[int] = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk("menu", queue_limit=3)
        self.line: list[str] = []
        self.held: dict[str, int] = {}
        self.numbers = iter(range(1_000_000))

    @rule(target=calls)
    def call_comes(self) -> str:
        call = f"call-{next(self.numbers)}"
        room = 3 + sum(place.free for place in self.desk.seats.values())
        if len(self.line) < room:
            assert isinstance(self.desk.admit(call), Admitted)
            self.line.append(call)
        else:
            assert isinstance(self.desk.admit(call), TurnedAway)
        return call

    @rule(target=workers, capacity=st.integers(1, 3), generation=st.integers(1, 3))
    def worker_comes(self, capacity: int, generation: int) -> int:
        key = next(self.numbers)
        self.desk.seats[key] = Seat(key, capacity, generation)
        return key

    @precondition(lambda self: self.line)
    @rule()
    def places_are_given_out(self) -> None:
        before = list(self.line)
        loads = {key: len(place.calls) for key, place in self.desk.seats.items()}
        given = list(self.desk.assign())
        assert [call for call, _ in given] == before[: len(given)], "first come, first served"
        for call, key in given:
            chosen = self.desk.seats[key]
            assert chosen.open
            assert loads[key] < chosen.capacity
            for other in self.desk.seats.values():
                if other.open and loads[other.worker] < other.capacity:
                    # Newest first, then least loaded: none that could have taken it was to be preferred.
                    assert (other.generation, -loads[other.worker]) <= (chosen.generation, -loads[key])
            loads[key] += 1
            self.line.remove(call)
            self.held[call] = key
        assert not self.line or not any(place.free for place in self.desk.seats.values()), "nobody waits beside a place"

    @rule(call=calls)
    def caller_hangs_up(self, call: str) -> None:
        self.desk.leave(call)
        if call in self.line:
            self.line.remove(call)

    @rule(call=calls, again=st.sampled_from(["no", "first", "last"]))
    def worker_lets_go(self, call: str, again: str) -> None:
        if call not in self.held:
            return
        self.desk.release(call, self.held.pop(call))
        self.wait_again(call, again)

    @rule(worker=consumes(workers), again=st.sampled_from(["no", "first", "last"]))
    def worker_dies(self, worker: int, again: str) -> None:
        del self.desk.seats[worker]
        for call in [call for call, key in self.held.items() if key == worker]:
            del self.held[call]
            self.desk.release(call, worker)
            self.wait_again(call, again)

    @rule(worker=workers, open=st.booleans())
    def worker_opens_or_closes(self, worker: int, open: bool) -> None:  # noqa: A002
        self.desk.seats[worker].open = open

    def wait_again(self, call: str, again: str) -> None:
        if again != "no":
            self.desk.wait_again(call, first=again == "first")
            self.line.insert(0 if again == "first" else len(self.line), call)

    @invariant()
    def the_books_agree(self) -> None:
        assert self.desk.waiting == len(self.line)
        assert self.desk.busy == len(self.held)
        assert self.desk.taken == self.desk.busy - sum(
            len(seat.calls) for seat in self.desk.seats.values() if not seat.open
        )
        assert self.desk.places == sum(seat.capacity for seat in self.desk.seats.values() if seat.open)
        kept = [(call, key) for key, place in self.desk.seats.items() for call in place.calls]
        assert sorted(kept) == sorted(self.held.items()), "each call in the one place that it was given"
        assert not {call for call, _ in kept} & set(self.line)
        for place in self.desk.seats.values():
            assert len(place.calls) <= place.capacity
            assert place.free == (place.capacity - len(place.calls) if place.open else 0)

    def teardown(self) -> None:
        """With room for all, all that wait are served, in their order: none was lost."""
        self.desk.seats[-1] = Seat(-1, capacity=1000, generation=99)
        assert [call for call, _ in self.desk.assign()] == self.line


TestBooks = Books.TestCase
