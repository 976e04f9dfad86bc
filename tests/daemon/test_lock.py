"""One daemon per socket, also while daemons come and go in the same moment, and no file when all are gone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ivrd.daemon.lock import Lock
from ivrd.errors import ServeError


def test_a_second_daemon_is_turned_away_and_told(tmp_path: Path) -> None:
    with Lock(str(tmp_path / "ivrd.sock")), pytest.raises(ServeError, match=r"ivrd\.sock is served already"):
        Lock(str(tmp_path / "ivrd.sock")).__enter__()


def test_a_clean_stop_leaves_no_file(tmp_path: Path) -> None:
    with Lock(str(tmp_path / "ivrd.sock")) as lock:
        lock.add(os.getpid())
        lock.remove(os.getpid())
    assert not list(tmp_path.iterdir())


def test_the_book_stays_for_the_next_daemon(tmp_path: Path) -> None:
    with Lock(str(tmp_path / "ivrd.sock")) as lock:
        lock.add(os.getpid())
        lock.leave()
    with Lock(str(tmp_path / "ivrd.sock")) as lock:
        assert lock.orphans == {os.getpid()}
        assert lock.upgrade


def test_never_two_at_once_however_they_come_and_go(tmp_path: Path) -> None:
    inside: list[int] = []
    crowds: list[int] = []

    def come_and_go() -> None:
        turns = 0
        while turns < 100:
            try:
                with Lock(str(tmp_path / "ivrd.sock")):
                    inside.append(1)
                    crowds.append(len(inside))
                    os.sched_yield()
                    inside.pop()
                    turns += 1
            except ServeError:
                os.sched_yield()

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(crowds) == 1
    assert not list(tmp_path.iterdir())
