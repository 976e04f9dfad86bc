"""Real pipes and real children: small shell and Python programs in the app's place."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from ivrd.simulator.caller import NotSeen
from ivrd.simulator.process import Exchange, open_exchange
from ivrd.simulator.records import Outcome
from ivrd.simulator.sounds import SoundTable

from ..conftest import held_by_this_process

QUICK = SoundTable({"welcome": 0.1, "long": 60.0}, missing={"nope"})
READ_ON = "while read -r event; do :; done"


def shell(script: str, *args: str) -> list[str]:
    return ["/bin/sh", "-c", script, "sh", *args]


def python(script: str, *args: str) -> list[str]:
    # As one line: the reply to P holds the arguments, and Asterisk escapes nothing.
    return [sys.executable, "-I", "-S", "-c", f"import os, sys, time; exec({script!r})", *args]


async def test_a_call_from_the_first_prompt_to_the_dialplan() -> None:
    script = f'echo "A,welcome"; read -r event; echo "V,EVENT=$event"; echo "E,done"; {READ_ON}'
    async with open_exchange(sounds=QUICK, burst_stall=False) as exchange:
        call = exchange.dial(shell(script), variables={"LANG": "en"})
        heard = await call.hears("welcome")
        ending = await call.ended()
        assert await call.exited() == 0
    assert (ending.outcome, ending.detail) == (Outcome.CONTINUED, "done")
    assert heard.how == "finished"
    assert call.variables["EVENT"].startswith("F")
    assert call.variables["LANG"] == "en"
    assert call.first_command_at is not None
    assert 0 < call.first_command_at <= heard.start < ending.time


async def test_the_burst_stall_on_real_pipes_and_packet_mode_as_its_cure() -> None:
    script = """
import fcntl
if sys.argv[1] == "packets":
    fcntl.fcntl(1, fcntl.F_SETFL, os.O_DIRECT | fcntl.fcntl(1, fcntl.F_GETFL))
    for command in b"V,A=1", b"V,B=2", b"V,C=3":
        os.write(1, command + b"\\n")
else:
    os.write(1, b"V,A=1\\nV,B=2\\nV,C=3\\n")
os.read(0, 4096)
os.write(1, b"E,x\\n")
os.read(0, 4096)
"""
    async with open_exchange(sounds=QUICK) as exchange:
        for mode, seen in (("packets", {"A": "1", "B": "2", "C": "3"}), ("burst", {"A": "1"})):
            call = exchange.dial(python(script, mode))
            await call.until(lambda call=call, seen=seen: call.variables == seen, f"{seen}")  # type: ignore[misc]
            call.press("1")
            assert (await call.ended()).outcome is Outcome.CONTINUED
            assert await call.exited() == 0


async def test_keys_reach_the_app_and_its_answer_is_heard() -> None:
    script = f'read -r event; echo "V,KEY=${{event%%,*}}"; echo "A,welcome"; {READ_ON}'
    async with open_exchange(sounds=QUICK, burst_stall=False) as exchange:
        call = exchange.dial(shell(script))
        call.press("#")
        await call.hears("welcome")
        assert call.variables["KEY"] == "#"
        call.hangup()
        assert call.outcome is Outcome.HUNGUP_BY_CALLER
        assert await call.exited() == 0
        call.press("1")
        call.hangup()
        assert [key for _, key in call.keys] == ["#"], "nobody presses keys when the call is over"


async def test_the_app_is_told_of_the_hangup_and_then_all_is_closed(tmp_path: Path) -> None:
    script = "open(sys.argv[1], 'w').write(sys.stdin.read())"
    async with open_exchange() as exchange:
        for end in ("hangup", "crash"):
            call = exchange.dial(python(script, str(tmp_path / end)))
            getattr(call, end)()
            await call.exited()
    assert (tmp_path / "hangup").read_text().startswith("H,")
    assert (tmp_path / "crash").read_text() == ""


async def test_an_app_that_goes_away_hangs_up() -> None:
    async with open_exchange() as exchange:
        call = exchange.dial(shell("echo oops >&2; exit 3"))
        assert (await call.ended()).outcome is Outcome.WENT_AWAY
        assert await call.exited() == 3
    assert [line.text for line in call.log] == ["stderr: oops", "Child process went away"]


async def test_a_program_that_is_not_there() -> None:
    async with open_exchange() as exchange:
        call = exchange.dial(["/nonexistent/app"])
        assert (await call.ended()).outcome is Outcome.WENT_AWAY
        assert await call.exited() == 1
    assert call.log[0].text == "stderr: Failed to execute '/nonexistent/app': No such file or directory"


async def test_asterisk_refuses_a_dead_run_on_a_live_channel() -> None:
    async with open_exchange() as exchange:
        call = exchange.dial(shell("exit 0"), "d")
        assert call.outcome is Outcome.REFUSED
        assert call.pid is None


async def test_the_call_outlives_a_child_that_has_handed_its_pipes_on() -> None:
    script = """
if os.fork():
    os._exit(0)
os.read(0, 4096)
os.write(1, b"H,bye\\n")
os.read(0, 4096)
"""
    async with open_exchange(sounds=QUICK) as exchange:
        call = exchange.dial(python(script))
        assert await call.exited() == 0
        assert call.outcome is None
        call.press("1")
        assert (await call.ended()).outcome is Outcome.HUNGUP_BY_APP


@pytest.mark.parametrize("script", ['echo "E,done"', 'echo oops >&2; echo "E,done"'])
async def test_exit_race(script: str) -> None:
    async with open_exchange() as exchange:
        call = exchange.dial(shell(script))
        assert call.pid is not None
        # Until the child is gone nothing polls here, as when Asterisk's thread is late.
        os.waitid(os.P_PID, call.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
        assert (await call.ended()).outcome is Outcome.WENT_AWAY
        assert await call.exited() == 0


async def test_events_that_nobody_can_read_are_no_matter() -> None:
    script = "os.close(0); os.write(1, b'P,1\\n'); os.write(1, b'H,x\\n'); time.sleep(600)"
    async with open_exchange(burst_stall=False) as exchange:
        call = exchange.dial(python(script))
        assert (await call.ended()).outcome is Outcome.HUNGUP_BY_APP
        call.kill()
        await call.exited()


async def test_what_the_caller_does_moves_the_deadlines() -> None:
    script = f'echo "O,autoclear"; echo "A,long"; {READ_ON}'
    async with open_exchange(sounds=QUICK, burst_stall=False) as exchange:
        call = exchange.dial(shell(script))
        heard = await call.hears("long")
        call.press("1")
        assert call.channel.playlist == ()
        await call.until(lambda: heard.how == "interrupted", "the interruption")
        assert heard.end is not None
        assert heard.end - heard.start < 10


async def test_two_thousand_unread_replies_deadlock_and_the_call_says_so() -> None:
    script = """
for _ in range(2000):
    os.write(1, b"P,1\\n")
time.sleep(600)
"""
    async with open_exchange(patience=0.5) as exchange:
        call = exchange.dial(python(script, "x" * 80))
        await call.until(lambda: call.channel.blocked is not None, "a stuck channel")
        call.hangup()
        ending = await call.ended()
        assert call.outcome is Outcome.DEADLOCKED
        assert "the app does not read its stdin" in ending.detail
        assert call.channel.commands < 2000
        call.kill()
        assert await call.exited() == -signal.SIGKILL


async def test_a_late_reader_gets_every_reply() -> None:
    script = """
for _ in range(2000):
    os.write(1, b"P,1\\n")
os.read(int(sys.argv[2]), 1)
replies = 0
while replies < 2000:
    replies += os.read(0, 65536).count(b"\\n")
os.write(1, b"E,all\\n")
os.read(0, 4096)
"""
    go, tell = os.pipe()
    os.set_inheritable(go, True)
    try:
        async with open_exchange(burst_stall=False) as exchange:
            call = exchange.dial(python(script, "x" * 80, str(go)))
            await call.until(lambda: call.channel.blocked is not None, "a stuck channel")
            os.write(tell, b"!")
            ending = await call.ended()
            assert (ending.outcome, ending.detail) == (Outcome.CONTINUED, "all")
            assert await call.exited() == 0
    finally:
        os.close(go)
        os.close(tell)


async def test_a_child_has_its_own_three_pipes_and_default_signals() -> None:
    listing = """
links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
pipes = {os.readlink(link) for link in links if os.path.lexists(link)}
print("V,PIPES=" + " ".join(pipe for pipe in pipes if "pipe" in pipe), flush=True)
sys.stdin.read()
"""
    ours = {what for _, what in held_by_this_process()}
    async with open_exchange() as exchange:
        calls = [exchange.dial(python(listing)) for _ in range(2)]
        for call in calls:
            await call.until(lambda call=call: "PIPES" in call.variables, "the list of pipes")  # type: ignore[misc]
            call.hangup()
            assert await call.exited() == 0
        pipes = [set(call.variables["PIPES"].split()) - ours for call in calls]
        assert [len(one) for one in pipes] == [3, 3]
        assert not pipes[0] & pipes[1]
        pipe = exchange.dial(shell("kill -PIPE $$"))
        assert await pipe.exited() == -signal.SIGPIPE
        await pipe.ended()


async def test_the_environment_is_the_callers_choice() -> None:
    async with open_exchange(env={"A": "exchange"}) as exchange:
        one = exchange.dial(shell(f'echo "V,A=$A"; {READ_ON}'))
        two = exchange.dial(shell(f'echo "V,A=$A"; {READ_ON}'), env={"A": "call"})
        for call, value in ((one, "exchange"), (two, "call")):
            await call.until(lambda call=call: "A" in call.variables, "variable A")  # type: ignore[misc]
            assert call.variables["A"] == value


async def test_closing_hangs_up_and_kills_what_stays() -> None:
    async with open_exchange() as exchange:
        calls = [exchange.dial(shell(f"trap '' TERM; echo 'V,UP=1'; {READ_ON}; while :; do sleep 1; done"), "i")]
        calls.append(exchange.dial(shell(f"echo 'V,UP=1'; {READ_ON}")))
        for call in calls:
            await call.until(lambda call=call: "UP" in call.variables, "the app to run")  # type: ignore[misc]
    assert [call.outcome for call in calls] == [Outcome.CRASHED, Outcome.HUNGUP_BY_CALLER]
    assert [call.exit_status for call in calls] == [-signal.SIGKILL, 0]
    assert exchange.calls == exchange.children == set()


async def test_many_calls_at_once() -> None:
    script = f'echo "A,welcome"; read -r event; echo "E,$1"; {READ_ON}'
    async with open_exchange(sounds=QUICK) as exchange:
        calls = [exchange.dial(shell(script, str(number))) for number in range(60)]
        endings = [await call.ended(60) for call in calls]
        for call in calls:
            assert await call.exited(60) == 0
    assert [ending.detail for ending in endings] == [str(number) for number in range(60)]
    assert {call.heard[0].how for call in calls} == {"finished"}


async def test_what_is_not_seen_is_told_with_the_transcript() -> None:
    async with open_exchange(sounds=QUICK) as exchange:
        call = exchange.dial(shell(f'echo "A,long"; read -r key; echo "H,wrong key"; {READ_ON}'))
        await call.hears("long")
        with pytest.raises(NotSeen, match=r"waited 0\.05 s in vain for prompt 'menu':\n .* hears long"):
            await call.hears("menu", timeout=0.05)
        call.press("9")
        with pytest.raises(
            NotSeen, match=r"(?s)ended while the caller waited for prompt 'menu':.*presses 9.*hungup_by_app: wrong key"
        ):
            await call.hears("menu")


async def test_descriptors_that_ran_out_are_the_callers_problem() -> None:
    async with open_exchange() as exchange:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                exchange.dial(shell("exit 0"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert exchange.calls == set()


def test_an_exchange_is_made_of_keywords() -> None:
    with pytest.raises(TypeError):
        Exchange(QUICK)  # type: ignore[call-arg]
