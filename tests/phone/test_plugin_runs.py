"""The plugin in a pytest of its own: under each way of running `async def` tests, with warnings as errors."""

from __future__ import annotations

import importlib.util

import pytest

pytest_plugins = ["pytester"]

APP = """
import anyio, asyncio
async def main(call):
    if await call.menu("welcome", "1"):
        await anyio.sleep(600)
        await call.set(RESULT="paid")
        await call.play("goodbye")
async def leaky(call):
    pin = await call.digits("pin", max=4, secret=True)
    async def later():
        raise ValueError(f"the PIN is {pin}")
    task = asyncio.create_task(later())
    await anyio.sleep(0.1)
    del task
async def stuck(call):
    with anyio.CancelScope(shield=True):
        while True:
            await anyio.sleep(3600)
async def broken(call):
    try:
        await call.play("welcome")
    finally:
        raise ValueError("oops")
"""
TEST = """
async def test_menu(ivr):
    caller = await ivr.dial("menu:main", idle_timeout=0)
    await caller.hears("welcome")
    await caller.press("1")
    await caller.hears("goodbye", timeout=1000)
    await caller.ended()
    assert caller.variables["RESULT"] == "paid"
"""
WAYS = {
    "none": (TEST, "[pytest]\n", ["-p", "no:trio", "-p", "no:anyio"], 1),
    "anyio": (
        "import pytest\npytestmark = pytest.mark.anyio\n"
        "@pytest.fixture(params=['asyncio', 'trio'])\ndef anyio_backend(request): return request.param\n" + TEST,
        "[pytest]\n",
        ["-p", "no:trio"],
        2,
    ),
    "trio": (
        "import pytest, trio\n@pytest.fixture\nasync def ticking(): await trio.sleep(0)\n"
        + TEST.replace("(ivr)", "(ivr, ticking, nursery)"),
        "[pytest]\ntrio_mode = true\n",
        [],
        1,
    ),
    "asyncio": (
        "import asyncio, pytest, pytest_asyncio\n"
        "@pytest_asyncio.fixture\nasync def ticking(): await asyncio.sleep(0)\n"
        + TEST.replace("(ivr)", "(ivr, ticking)"),
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n",
        ["-p", "no:trio", "-p", "pytest_asyncio.plugin"],
        1,
    ),
}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with an app; the pytest in it knows nothing of ours."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "ivrd.phone.plugin")
    pytester.makepyfile(menu=APP)
    return pytester


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_running_tests(project: pytest.Pytester, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "asyncio" and importlib.util.find_spec("pytest_asyncio") is None:
        pytest.skip("pytest-asyncio is not installed")
    source, ini, options, count = WAYS[way]
    monkeypatch.setenv(
        "PYTEST_PLUGINS",
        {"anyio": "ivrd.phone.plugin,anyio.pytest_plugin", "trio": "ivrd.phone.plugin,pytest_trio.plugin"}.get(
            way, "ivrd.phone.plugin"
        ),
    )
    project.makeini(ini)
    project.makepyfile(test_menu=source)
    result = project.runpytest_subprocess("-W", "error", "-q", *options)
    result.assert_outcomes(passed=count)


def test_what_a_failing_test_shows(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_menu="""
        async def test_menu(ivr):
            caller = await ivr.dial("menu:main")
            await caller.hears("welcome")
            await caller.press("2")
            await caller.hears("sorry")  # HERE
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '*await caller.hears("sorry")  # HERE',
            "E*the call ended while the caller waited for prompt 'sorry':",
            "E*0.02 hears welcome (interrupted)",
            "E*0.02 presses 2",
            "E*continued: the handler returned",
            "E*> *waits for prompt 'sorry'",
        ]
    )
    result.stdout.no_fnmatch_line("*world.py*")


def test_what_goes_wrong_unseen_fails_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_menu="""
        async def test_menu(ivr):
            caller = await ivr.dial("menu:broken")
            await caller.hangup()
            await caller.ended()
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["the app went wrong where no caller saw it:", "call.cleanup_error*", "*ValueError: oops"]
    )


def test_no_secret_is_in_what_goes_wrong_unseen(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_menu="""
        async def test_menu(ivr):
            caller = await ivr.dial("menu:leaky", keys="wait:pin 8642")
            await caller.ended()
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["the app went wrong*", "task.failed*", "*ValueError: the PIN is ****"])
    result.stdout.no_fnmatch_line("*8642*")


def test_a_script_that_goes_astray_is_not_the_apps_failure(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_menu="""
        async def test_menu(ivr):
            caller = await ivr.dial("menu:main", keys="wait:welcome 2 patience:5 wait:sorry")
            await caller.hears("welcome")
            await caller.ended()
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["a script could not be followed*", "the caller waited 5 s in vain for prompt 'sorry':", "*presses 2"]
    )
    result.stdout.no_fnmatch_line("*the app went wrong*")


def test_apps_by_the_name_that_they_have_in_the_configuration(project: pytest.Pytester) -> None:
    project.makefile(
        ".toml",
        ivrd="""
        [apps.pay]
        handler = "menu:main"
        path = "."
        backend = "trio"
        idle_timeout = 0.0
        """,
    )
    project.makeini("[pytest]\nivrd_config = ivrd.toml\n")
    project.makepyfile(
        test_menu=TEST.replace("menu:main", "pay").replace(", idle_timeout=0", "")
        + "    import sys, pytest\n    from ivrd.errors import IvrdError\n"
        + "    with pytest.raises(IvrdError, match='has no app .survey.: it has pay'):\n"
        + "        await ivr.dial('survey')\n"
    )
    result = project.runpytest_subprocess("-q", "-W", "error")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_handler_that_will_not_end_holds_nobody_up(project: pytest.Pytester, backend: str) -> None:
    project.makepyfile(
        test_menu=f"""
        async def test_menu(ivr):
            caller = await ivr.dial("menu:stuck", backend="{backend}")
            await caller.hangup()
            await caller.ended()
        async def test_other(ivr):
            caller = await ivr.dial("menu:main", backend="{backend}")
            await caller.hears("welcome")
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["the app went wrong*", "call.stuck*"])
    assert result.duration < 25  # and not the half minute of patience


def test_an_app_that_blocks_its_loop_is_found_out(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_menu="""
        import threading, ivrd.phone.world
        async def test_menu(ivr, monkeypatch):
            monkeypatch.setattr(ivrd.phone.world, "REAL_PATIENCE_S", 5.0)
            stop = threading.Event()
            async def main(call):
                stop.wait()
            try:
                await ivr.dial(main)
            finally:
                stop.set()
        """
    )
    result = project.runpytest_subprocess("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Stuck: nothing came of it in 5 s of real time*", "*stop.wait()*"])
