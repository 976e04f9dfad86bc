"""`ivrd dial` from scripts: what it prints, writes and returns, in virtual time and in real time."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from tests.phone.desk import IVRD, dial, dial_json

APP = """
import asyncio, contextlib, os, time

async def main(call):
    pin = await call.digits("enter-pin", max=4, secret=True)
    choice = await call.menu("menu", "12", retries=0)
    language = await call.get("LANGUAGE")
    await call.set(PIN=pin, CHOICE=choice or "none", ARGS="/".join(call.args), SAID=language)
    await call.play("goodbye" if choice == "1" or not os.environ.get("NEWER") else "so-long")
    await call.log(f"the PIN was {pin}")

async def reads_back(call):
    pin = await call.digits(["press", "digits/7"], max=4, secret=True)
    await call.say_digits(pin)
    await call.menu(["or-press", "digits/9"], "9", retries=0)

async def accounts(call):
    pin = await call.digits("pin", max=4, secret=True)
    await call.play(f"accounts/{pin}")
    await call.set_function(f"OWNER({pin})", pin)

async def slow(call):
    await asyncio.sleep(3600)

async def broken(call):
    raise ValueError("oops")

async def cleanup(call):
    try:
        await call.play("hello")
        await call.play("hello")
    finally:
        raise ValueError("not cleaned up")

async def loose(call):
    pin = await call.digits("pin", max=4, secret=True)
    async def other():
        raise ValueError(f"lost {pin}")
    task = asyncio.create_task(other())
    await asyncio.sleep(0.1)
    del task

@contextlib.asynccontextmanager
async def no_database():
    raise RuntimeError("no database\\nat all")
    yield

@contextlib.asynccontextmanager
async def lost_database():
    yield
    raise RuntimeError("database lost")

def no_manager():
    return 3

async def blocked(call):
    await call.play("hello")
    print("here")
    time.sleep(600)

async def chatty(call):
    print("hello from the app")
    os.system("echo hello from a child")

def plain(call):
    call.play("hello")
    call.exit("done")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "menu.py").write_text(APP)
    return tmp_path


SCRIPT = "wait:enter-pin 8642 wait:menu 1"


@pytest.mark.parametrize("more", [["--fast"], ["--fast", "--backend=trio"], []])
def test_the_transcript(desk: Path, more: list[str]) -> None:
    text = dial(desk, "menu:main", "a", "b", "--keys", SCRIPT, "--set", "LANGUAGE=en", *more)
    assert [line.split(None, 1)[1] for line in text.splitlines()[:9]] == [
        "hears enter-pin (interrupted)",
        *["presses ****"] * 4,
        "hears menu (interrupted)",
        "presses 1",
        "hears goodbye (finished)",
        "NOTICE: Log message from EIVR: the PIN was ****",
    ]
    assert "ARGS = a/b" in text
    assert "PIN = ****" in text
    assert "SAID = en" in text
    assert "result: completed" in text
    assert "8642" not in text


def test_json_holds_all_but_the_secret(desk: Path) -> None:
    text = dial(desk, "menu:main", "--keys", SCRIPT, "--fast", "--json")
    assert "8642" not in text
    call = json.loads(text)
    assert (call["outcome"], call["result"], call["problem"], call["errors"]) == ("continued", "completed", "", [])
    assert [one["prompt"] for one in call["heard"]] == ["enter-pin", "menu", "goodbye"]
    assert [key["key"] for key in call["pressed"]] == [None] * 4 + ["1"]
    assert [line["text"] for line in call["wire"]][:3] == ["A,enter-pin", "?", "I,x"]
    assert call["duration"] == pytest.approx(1.6, abs=0.3)


def test_digits_that_may_be_a_secrets_are_read_back_to_the_caller_only(desk: Path) -> None:
    made = ["--keys=wait:digits/7 8642 wait:or-press pause:1 9", "--save=call.rec"]
    text = dial(desk, "menu:reads_back", "--fast", *made) + (desk / "call.rec").read_text()
    call = dial_json(desk, "menu:reads_back", "--fast", "--replay=call.rec", "--secret=8642")
    assert call["differences"] == []
    assert [one["prompt"] for one in call["heard"]].count("digits/****") == 6
    for digit in "8642":
        assert f"digits/{digit}" not in text + json.dumps(call)


def test_json_holds_no_secret_in_names_either(desk: Path) -> None:
    (desk / "ivrd.toml").write_text(
        '[apps.accounts]\nhandler = "menu:accounts"\npath = "."\nallow_functions = ["OWNER"]\n'
    )
    call = dial_json(desk, "-c", "ivrd.toml", "accounts", "--keys", "wait:pin 8642", "--fast")
    assert [one["prompt"] for one in call["heard"]] == ["pin", "accounts/****"]
    assert call["function_writes"] == [["OWNER(****)", "****"]]


def test_an_hour_and_a_plain_function(desk: Path) -> None:
    (desk / "ivrd.toml").write_text(
        '[apps.wait]\nhandler = "menu:slow"\npath = "."\nidle_timeout = 0.0\nmax_duration = 0.0\n'
    )
    call = dial_json(desk, "-c", "ivrd.toml", "wait", "--keys", "", "--fast")
    assert call["duration"] == pytest.approx(3600, abs=1)
    assert dial_json(desk, "menu:plain", "--keys", "wait:hello")["detail"] == "done"


@pytest.mark.parametrize("pace", [["--fast"], [], ["--backend=trio"]])
def test_a_lifespan_that_fails_is_one_line(desk: Path, pace: list[str]) -> None:
    def dialled(lifespan: str) -> str:
        return dial(desk, "menu:plain", "--keys", "", f"--lifespan=menu:{lifespan}", *pace, status=1)

    assert re.fullmatch(
        r"ivrd: lifespan 'menu:no_database' raised RuntimeError: no database at menu.py:\d+\n", dialled("no_database")
    )
    text = dialled("no_manager")
    assert text.startswith("ivrd: lifespan 'menu:no_manager' gives no async context manager: ")
    assert len(text.splitlines()) == 1
    text = dialled("lost_database")
    assert "result: completed\nivrd: lifespan 'menu:lost_database' raised RuntimeError: database lost at" in text
    assert "Traceback" not in text


def test_bytes_that_are_no_text_are_marked(desk: Path) -> None:
    (desk / "raw.sh").write_bytes(
        b"#!/bin/sh\necho 'A,a\xff'; sleep .1; echo 'V,X\xff=\xfe'; sleep .1; echo 'L,\xff'; sleep .1\n"
        b"echo '\xff' >&2; sleep .1; echo 'E,\xff'; while read -r event; do :; done\n"
    )
    (desk / "raw.sh").chmod(0o755)
    call = dial_json(desk, "--command", "./raw.sh", b"\xff".decode(errors="surrogateescape"), "--keys", "")
    assert call["variables"] == {"X\ufffd": "\ufffd"}
    assert [one["prompt"] for one in call["heard"]] == ["a\ufffd"]
    assert call["args"] == ["\ufffd"]
    assert "X? = ?" in dial(desk, "--command", "./raw.sh", "--keys", "", "--save=call.rec")


@pytest.mark.parametrize("pace", [["--fast"], []])
def test_what_the_app_prints_is_no_part_of_the_json(desk: Path, pace: list[str]) -> None:
    done = subprocess.run(
        [IVRD, "dial", "menu:chatty", "--keys", "", "--json", *pace],
        cwd=desk, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "FORCE_COLOR": "1"},
    )  # fmt: skip
    assert json.loads(done.stdout)["result"] == "completed"
    assert done.stderr == "hello from the app\nhello from a child\n"


def test_a_pipe_is_no_screen_whatever_the_colours(desk: Path) -> None:
    text = dial(desk, "menu:chatty", "--keys", "", env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"})
    assert "\x1b" not in text
    assert text.startswith("hello from the app\n")


def test_what_goes_wrong_shows_in_the_status(desk: Path) -> None:
    assert "ivrd: call.app_error: Traceback" in dial(desk, "menu:broken", "--keys", "1", "--fast", status=1)
    text = dial(desk, "menu:main", "--keys", "wait:nothing", "--fast", status=1)
    assert text.splitlines()[-1] == "ivrd: the call ended while the caller waited for prompt 'nothing'"


@pytest.mark.parametrize(
    ("app", "keys", "says"),
    [("cleanup", "wait:hello hangup", "call.cleanup_error"), ("loose", "wait:pin 8642", "task.failed")],
)
def test_what_goes_wrong_behind_the_call_shows_in_the_status_too(desk: Path, app: str, keys: str, says: str) -> None:
    for more in [], ["--fast"], ["--json"]:
        text = dial(desk, f"menu:{app}", "--keys", keys, *more, status=1)
        assert says in text
        assert "8642" not in text


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (
            ["menu:main"],
            1,
            "standard input is no terminal to press keys on: say what the caller does with --keys SCRIPT",
        ),
        (["menu:main", "--keys", "pauze:1"], 1, "word 1 ('pauze:1', column 1)"),
        (["menu:nope", "--keys", ""], 1, "handler 'menu:nope': menu has no 'nope'"),
        (["menu:main", "--keys", "", "--set", "X"], 1, "--set 'X': write NAME=VALUE"),
        (["menu:main", "--keys", "", "--audio", "x.wav"], 1, "--audio needs the prompts' files"),
        (["menu:main", "--keys", "", "--fast", "--shim"], 1, "--fast is for an app in this process"),
        (["-c", "none.toml", "menu", "--keys", ""], 2, "none.toml"),
        (["menu:main", "--replay", "menu.py"], 1, "menu.py is no recording"),
        (["menu:main", "--keys", "", "--options", "zq"], 1, "--options 'zq': ExternalIVR() knows n (do not answer)"),
        (["menu:main", "--keys", "", "--secret", "1"], 1, "--secret gives back what a recording hides"),
        (["-c", "none.toml", "menu", "--keys", "", "--backend", "trio"], 1, "are for module:function"),
        (["menu:main", "--keys", "", "--shim", "--lifespan", "menu:x"], 1, "are for module:function"),
        (
            ["menu:main", "--keys", "", "--patched"],
            1,
            "--patched is for a program that may write several lines at once",
        ),
        # Before the call, and not behind it.
        (["menu:nope", "--keys", "", "--save", "none/x"], 1, "--save none/x: it cannot be written there"),
        (["menu:nope", "--keys", "", "--save", "."], 1, "--save .: that is a directory"),
        (["menu:nope", "--keys", "", "--sounds", ".", "--audio", "none/x"], 1, "--audio none/x: it cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(desk: Path, args: list[str], status: int, says: str) -> None:
    text = dial(desk, *args, status=status)
    assert text.startswith("ivrd: ")
    assert says in text
    assert len(text.splitlines()) == 1


def test_sounds_that_are_not_there_are_no_sounds(desk: Path) -> None:
    assert "Directory 'none' does not exist" in dial(desk, "menu:main", "--keys", "", "--sounds", "none", status=2)


def test_a_recording_is_private_and_plays_again(desk: Path) -> None:
    dial(
        desk,
        "menu:main",
        "a",
        "--keys",
        "wait:enter-pin pause:0.3 8642 wait:menu 2",
        "--set",
        "LANGUAGE=en",
        "--fast",
        "--save=call.rec",
    )
    assert stat.S_IMODE((desk / "call.rec").stat().st_mode) == 0o600
    assert "8642" not in (desk / "call.rec").read_text()
    again = ["menu:main", "--replay=call.rec", "--fast"]
    assert "hides 4 keys and 0 were given" in dial(desk, *again, status=1)
    same = dial(desk, *again, "--secret=8642")
    assert same.splitlines()[-1] == "the app behaves as it did"
    assert "SAID = en" in same
    assert "ARGS = a" in same
    newer = dial(desk, *again, "--secret=8642", status=1, env={"NEWER": "1"})
    lines = [line.strip() for line in newer.partition("the app behaves differently:\n")[2].splitlines()]
    assert "-A,goodbye" in lines
    assert "+A,so-long" in lines
    other = dial(desk, *again, "--secret=1111")
    assert "8642" not in other + same


def test_audio(desk: Path) -> None:
    sounds = desk / "sounds" / "en"
    sounds.mkdir(parents=True)
    (sounds / "enter-pin.ulaw").write_bytes(b"\x00" * 8000)
    (sounds / "menu.gsm").write_bytes(b"\x00" * 33 * 50)
    with wave.open(str(sounds / "goodbye.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x10\x00" * 4000)
    (desk / "sounds" / "en" / "silence").mkdir()
    (sounds / "silence" / "10.ulaw").write_bytes(b"\xff" * 80000)
    script = "wait:enter-pin pause:0.5 8642 wait:menu 1"
    heard = ["menu:main", "--keys", script, "--fast", "--sounds=sounds"]
    text = dial(desk, *heard, "--audio=out.wav")
    assert text.splitlines()[-1].startswith("ivrd: menu is silence in out.wav")
    with wave.open(str(desk / "out.wav")) as file:
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
    assert samples[200] == -32124
    assert samples[int(0.4 * 8000)] == -32124
    assert samples[int(0.8 * 8000)] == 0, "the key cut it short"
    assert list(samples[-4000:]) == [16] * 4000


def test_a_program_that_does_not_read_is_told_of_and_not_waited_for(desk: Path) -> None:
    flood = "import os, time\nfor _ in range(2000): os.write(1, b'P,1\\n')\ntime.sleep(600)"
    (desk / "flood.py").write_text(flood)
    call = dial_json(desk, "--command", "--keys", "pause:1 1", sys.executable, "flood.py", "x" * 60, status=1)
    assert call["outcome"] == "deadlocked"
    assert call["detail"] == "Asterisk is blocked writing an event: the app does not read its stdin"
    (key,) = call["pressed"]
    assert key["key"] is None
    assert key["at"] >= 1


CLEAR = """#!/bin/sh
echo 'A,enter-pin'
keys=
while [ ${#keys} -lt 5 ] && read -r event; do
    case $event in [0-9],*) keys=$keys${event%%,*};; esac
done
pin=${keys%?}
echo "V,PIN=$pin,CHOICE=${keys#$pin},YEAR=2026"
sleep 0.1; echo "L,the PIN was $pin"; sleep 0.1; echo "the PIN was $pin" >&2
sleep 0.1; echo "A,accounts/$pin"; sleep 0.1; echo "G,PIN"; sleep 0.1
echo "V,OWNER($pin)=$pin"; sleep 0.1; echo "D,$pin"; sleep 0.1; echo "E,all of $pin"
read -r event; while read -r event; do :; done
"""


@pytest.mark.parametrize("more", [["--json"], ["--json", "--save=call.rec"], []])
def test_a_program_that_nobody_knows_says_the_pin_everywhere_and_it_is_seen_nowhere(
    desk: Path, more: list[str]
) -> None:
    (desk / "clear.sh").write_text(CLEAR)
    (desk / "clear.sh").chmod(0o755)
    text = dial(desk, "--command", "./clear.sh", "--keys", "wait:enter-pin 86421", *more)
    assert "accounts/****" in text
    assert "2026" in text
    saved = (desk / "call.rec").read_text() if len(more) > 1 else ""
    assert "8642" not in text + saved
    assert "CHOICE=1" not in text.replace(" ", "") + saved


def test_an_app_that_blocks_its_loop_cannot_keep_who_is_asked_to_leave(desk: Path) -> None:
    process = subprocess.Popen(
        [IVRD, "dial", "menu:blocked", "--keys", "", "--json"],
        cwd=desk,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert process.stdout is not None
        lines = iter(process.stderr.readline, "")
        assert next(lines) == "here\n"  # what the app prints is no JSON
        assert "the app blocks its event loop at menu.py:" in next(lines)
        process.terminate()
        assert "left without waiting for the app" in next(lines)
        assert process.stdout.read() == ""
        assert process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.parametrize(("kind", "handled"), [("--stock", 1), ("--patched", 3)])
def test_a_burst_stalls_in_asterisk_as_it_is(desk: Path, kind: str, handled: int) -> None:
    (desk / "burst.sh").write_text("#!/bin/sh\nprintf 'L,one\\nL,two\\nE,three\\n'\nwhile read -r event; do :; done\n")
    (desk / "burst.sh").chmod(0o755)
    call = dial_json(desk, "--command", "./burst.sh", "--keys", "pause:1 hangup", kind)
    assert [line["kind"] for line in call["wire"]].count("command") == handled
    assert call["outcome"] == ("continued" if handled == 3 else "hungup_by_caller")
