"""What the documentation says is so: links lead somewhere, blocks are legal, commands and options exist, apps run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

from docs import generate
from ivrd.cli import main as ivrd
from ivrd.config import parse
from ivrd.phone.caller import Ivr
from ivrd.wire.hello import Status
from tests.docs.pages import PAGES, ROOT, Block, all_blocks, anchors, command_lines, links, shown

SHIM = (ROOT / "shim" / "ivrd-shim.c").read_text()
DIAL = re.compile(r"dial(?P<args>[^:]*): (?P<script>.*?)(?: => (?P<name>\w+)=(?P<value>.*))?")
APPS = [block for block in all_blocks("python") if block.remark.startswith("dial")]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in links(page):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_pictures_are_shown_and_load_nothing_from_elsewhere() -> None:
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    page = (ROOT / "docs" / "README.md").read_text()
    for picture in pictures:
        assert f"](images/{picture.name})" in page
        text = picture.read_text()
        assert re.findall(r"https?://(?!www\.w3\.org/|www\.textualize\.io)", text) == []
        # With the viewer's own font each piece of text has the width that it has in a terminal.
        assert text.count("<text") - 1 == text.count("textLength=")  # the title is the one without


def test_every_page_of_docs_is_in_the_index() -> None:
    listed = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "README.md")}
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= listed | {ROOT / "docs" / "README.md"}


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text() == generate.PAGES[name](), "run python -m docs.generate"


@pytest.mark.parametrize("block", all_blocks("toml"), ids=str)
def test_configurations_are_legal(block: Block, tmp_path: Path) -> None:
    parse(block.text.replace('"/srv/ivr"', f'"{tmp_path}"'), str(block))  # which must exist


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", APPS, ids=str)
async def test_apps_do_what_is_said_of_them(block: Block, ivr: Ivr) -> None:
    said = DIAL.fullmatch(block.remark)
    assert said is not None, f"{block}: <!-- dial ARGS: SCRIPT => NAME=VALUE -->"
    module = ModuleType("app")
    exec(compile(block.text, str(block), "exec", dont_inherit=True), module.__dict__)
    caller = await ivr.dial(module.__dict__["main"], *said["args"].split())
    await caller.follow(said["script"])
    await caller.ended()
    assert caller.variables.get("IVRD_STATUS") == "OK"
    if said["name"]:
        assert caller.variables[said["name"]] == said["value"]


def wrong_in_command(line: str) -> str:
    """Why a command line cannot be as it stands; "" where it can, or is none of ours."""
    words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 and line.count('"') % 2 == 0 else line.split()
    match words:
        case ["ivrd", name, *rest] if not name.startswith("-") and re.fullmatch(r"[a-z]+", name):
            command = ivrd.get_command(click.Context(ivrd), name)
            if command is None:
                return f"no command {name}"
            known = {
                "-h",
                "--help",
                *(option for param in command.params for option in (*param.opts, *param.secondary_opts)),
            }
            return " ".join(word for word in rest if word.startswith("-") and word.split("=")[0] not in known)
        case ["make", *targets]:
            rules = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
            return " ".join(word for word in targets if "=" not in word and word not in rules)
        case ["python", "-m", module, *_] | [".venv/bin/python", "-m", module, *_] if "." in module:
            path = ROOT / module.replace(".", "/")
            return "" if path.with_suffix(".py").exists() or (path / "__main__.py").exists() else f"no {module}"
        case [program, *_] if program.startswith(("deploy/", ".ci/", "examples/")):
            return "" if (ROOT / program).exists() else f"no {program}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_and_their_options_exist(page: Path) -> None:
    assert [(line, wrong) for line in command_lines(page) if (wrong := wrong_in_command(line))] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_shims_options_exist(page: Path) -> None:
    said = re.findall(r"ivrd-shim\(((?:--[^,)]*,)+)", page.read_text())
    options = {option.split("=")[0] for group in said for option in group.split(",") if option}
    assert {option for option in options if f'"{option}=' not in SHIM} == set()


def section(page: str, heading: str) -> str:
    return (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_command_is_where_commands_are_listed() -> None:
    commands = set(ivrd.list_commands(click.Context(ivrd)))
    lines = re.findall(r"(?m)^    ivrd ([^#\n]*)", section("README.md", "Run it"))
    assert commands <= set(" ".join(lines).split())
    (row,) = re.findall(r"(?m)^\| `control_socket` .*", section("docs/security.md", "The sockets"))
    assert set(re.findall(r"`(?:ivrd )?([a-z]+)`", row)) == commands - {"serve", "check", "dial", "bench"}


@pytest.mark.parametrize("page", ["docs/dialplan.md", "deploy/asterisk/extensions.conf", "deploy/man/ivrd-shim.1"])
def test_every_status_is_where_they_are_listed(page: str) -> None:
    text = (ROOT / page).read_text()
    first_words = re.findall(r"(?m)^(?:\| `|;  +|\.BR? )([A-Z_]+)\b", text)
    assert {"OK", *Status} <= set(first_words)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_prometheus_takes_its_configuration_as_it_stands(block: Block, tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not here (Debian: apt install prometheus)")
    assert tool is not None, "promtool is missing (Debian: apt install prometheus)"
    config = tmp_path / "prometheus.yml"
    config.write_text(block.text.replace("/etc/prometheus", str(ROOT / "deploy" / "prometheus")))
    done = subprocess.run([tool, "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mistakes_are_seen() -> None:
    assert wrong_in_command("ivrd stauts") == "no command stauts"
    assert wrong_in_command("ivrd calls --jsn") == "--jsn"
    assert wrong_in_command("make tset") == "tset"
    assert wrong_in_command("deploy/systemd/instal x.whl") == "no deploy/systemd/instal"
    assert wrong_in_command("ivrd calls --app=menu --json") == ""
    assert APPS, "no block is marked as an app to run"
