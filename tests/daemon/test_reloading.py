"""What can happen while a reload warms a new generation, and what must not come of it."""

from __future__ import annotations

import os
import signal
import threading

from tests.service import PATIENCE_S, Service, until

FINE = "async def main(call): pass\n"
# As a reload's candidate: one that is warm at once and dies when told to; one that is warm when told to.
DIES = """
import os, threading, time
from pathlib import Path

HERE = Path(__file__).parent

def die():
    while not (HERE / "die").exists():
        time.sleep(0.01)
    os._exit(3)

if (HERE / "reload").exists():
    threading.Thread(target=die, daemon=True).start()

async def main(call): pass
"""
WAITS = """
import time
from pathlib import Path

HERE = Path(__file__).parent

while (HERE / "reload").exists() and not (HERE / "warm").exists():
    time.sleep(0.01)

async def main(call): pass
"""
BREAKS = """
from pathlib import Path

if (Path(__file__).parent / "broken").exists():
    raise ImportError("not today")

async def main(call): pass
"""


def test_a_candidate_that_dies_while_another_app_still_warms_fails_the_reload() -> None:
    config = '[apps.dies]\nhandler = "dies:main"\nworkers = 1\n[apps.waits]\nhandler = "waits:main"\nworkers = 1\n'
    with Service(config, files={"dies.py": DIES, "waits.py": WAITS}) as ivrd:
        before = ivrd.workers("dies"), ivrd.workers("waits")
        (ivrd.apps / "reload").touch()
        outcome: list[tuple[int, str]] = []

        def reload() -> None:
            done = ivrd.ctl("reload")
            outcome.append((done.returncode, done.stderr))

        reloading = threading.Thread(target=reload)
        reloading.start()
        until(lambda: len(ivrd.lines("worker_ready")) == 3)  # the candidate of `dies` among them
        (ivrd.apps / "die").touch()
        ivrd.wait_lines("worker_gone")
        (ivrd.apps / "warm").touch()
        reloading.join(PATIENCE_S)
        ((status, error),) = outcome
        assert status == 1
        assert "app dies does not start" in error
        assert "exited with status 3" in error
        assert (ivrd.workers("dies"), ivrd.workers("waits")) == before


def test_a_reload_that_fails_is_not_held_against_the_workers_in_force() -> None:
    with Service('[apps.x]\nhandler = "x:main"\nworkers = 4\n', files={"x.py": BREAKS}) as ivrd:
        (ivrd.apps / "broken").touch()
        for count in (1, 2):
            assert ivrd.ctl("reload").returncode == 1
            ivrd.wait_lines("worker_gone", 4 * count)
        (ivrd.apps / "broken").unlink()
        assert ivrd.lines("app_backs_off") == []
        (app,) = ivrd.status()["apps"]
        assert app["failure"] == ""
        # So one that dies now is replaced at once.
        os.kill(ivrd.workers("x")[0], signal.SIGKILL)
        ivrd.wait_lines("worker_ready", 5)


def test_new_workers_find_the_sockets_that_are_open_whatever_the_configuration_says_by_now() -> None:
    config = '[apps.x]\nhandler = "x:main"\nworkers = 1\n'
    with Service(config, files={"x.py": FINE}) as ivrd:
        ivrd.configure(config, worker_socket=str(ivrd.directory / "elsewhere.sock"))
        done = ivrd.ctl("reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert "waits for a restart: server.worker_socket" in done.stdout
        ivrd.configure(config)


def test_a_reload_that_takes_out_the_app_which_keeps_the_start_lets_it_be_ready() -> None:
    fine = '[apps.fine]\nhandler = "fine:main"\nworkers = 1\n'
    waits = '[apps.waits]\nhandler = "waits:main"\nworkers = 1\n'
    ivrd = Service(fine + waits, files={"fine.py": FINE, "waits.py": WAITS})
    (ivrd.apps / "reload").touch()

    def take_out() -> None:
        ivrd.wait_lines("worker_ready")  # of `fine`: the sockets are open
        ivrd.configure(fine)
        done = ivrd.ctl("reload")
        (ivrd.apps / "warm").touch()  # else the worker that goes would not hear of it
        assert done.returncode == 0, done.stderr

    other = threading.Thread(target=take_out)
    other.start()
    with ivrd:  # waits until it is ready
        other.join(PATIENCE_S)
        assert [app["name"] for app in ivrd.status()["apps"] if app["open"]] == ["fine"]
