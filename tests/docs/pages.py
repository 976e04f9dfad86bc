"""The pages of the documentation, taken apart: headings, links, blocks of code, and code in running text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "grafana/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)


@dataclass(frozen=True)
class Block:
    """A block of code; `remark` is what a comment right before it says."""

    page: Path
    line: int
    language: str
    text: str
    remark: str

    def __str__(self) -> str:
        return f"{shown(self.page)}:{self.line}"


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def inlines(page: Path) -> Iterator[Token]:
    for token in tokens(page):
        yield from token.children or ()


def blocks(page: Path) -> Iterator[Block]:
    """All blocks of code; indented ones have no language."""
    remark = ""
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, remark)
        comment = re.fullmatch(r"<!-- (.*) -->", token.content.strip()) if token.type == "html_block" else None
        remark = comment[1] if comment else ""


def all_blocks(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def links(page: Path) -> list[str]:
    return [str(token.attrs["href"]) for token in inlines(page) if token.type == "link_open"]


def anchors(page: Path) -> set[str]:
    """What may stand behind `#`, as GitHub makes it of headings."""
    found: set[str] = set()
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(child.content for child in token.children or ())
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(anchor)
    return found


def command_lines(page: Path) -> list[str]:
    """What readers are told to type: lines of shell and of indented blocks, and code in running text."""
    lines = [line.strip() for block in blocks(page) if block.language in ("sh", "") for line in block.text.splitlines()]
    lines += [token.content for token in inlines(page) if token.type == "code_inline"]
    return [re.split(r"  +#|\s[|;]|\s>", line)[0] for line in lines]
