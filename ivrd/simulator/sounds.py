"""Which prompts exist and how long they play.

The rule that holds here: a prompt has three states, as in Asterisk. It does not exist (event `Z`), it exists and plays
for some seconds, or it exists and cannot be opened; the last one leaves the playlist without any event.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

__all__ = ["DEFAULT_SECONDS", "SILENCE", "DirectorySounds", "Sound", "SoundTable", "Sounds"]

SILENCE = "silence/10"
"""The file that Asterisk's generator plays while the playlist is empty; where it is missing, all audio ends."""

DEFAULT_SECONDS = 1.0
"""How long a prompt plays of which nothing is known."""


class Sound(NamedTuple):
    """A prompt that exists."""

    seconds: float | None
    """How long it plays; `None` when the file is there and cannot be opened."""


class Sounds(Protocol):
    """Where the model looks prompts up."""

    def find(self, name: str) -> Sound | None:
        """The prompt of that name (no extension), `None` when there is none."""
        ...


class SoundTable:
    """Prompts without files: lengths from a table, and a default for every other name.

    Args:
        seconds: lengths by name.
        default: the length of names that are not in the table; `None` makes them missing.
        missing: names that do not exist.
        unopenable: names that exist and cannot be opened.
    """

    __slots__ = ("_default", "_missing", "_seconds", "_unopenable")

    def __init__(
        self,
        seconds: Mapping[str, float] | None = None,
        *,
        default: float | None = DEFAULT_SECONDS,
        missing: Collection[str] = (),
        unopenable: Collection[str] = (),
    ) -> None:
        self._seconds = dict(seconds or {})
        self._default = default
        self._missing = frozenset(missing)
        self._unopenable = frozenset(unopenable)

    def find(self, name: str) -> Sound | None:
        """See `Sounds.find`."""
        if name in self._missing:
            return None
        if name in self._unopenable:
            return Sound(None)
        if name in self._seconds:
            return Sound(self._seconds[name])
        if name == SILENCE:
            return Sound(10.0)
        return None if self._default is None else Sound(self._default)


def _per_second(bytes_a_second: int) -> Callable[[str], float]:
    return lambda path: os.path.getsize(path) / bytes_a_second


def _whole_frames(size: int, seconds: float) -> Callable[[str], float]:
    # A last frame that is not whole is dropped by the format's reader.
    return lambda path: os.path.getsize(path) // size * seconds


def _wav(path: str) -> float:
    with wave.open(path) as file:
        frames: int = file.getnframes()
        rate: int = file.getframerate()
        return frames / rate


def _wav49(path: str) -> float:
    # A header of 60 bytes, then 65 bytes for two GSM frames.
    return max(0, os.path.getsize(path) - 60) // 65 * 0.04


# Format by format as Asterisk knows the extensions; the first that opens is played.
_FORMATS: tuple[tuple[tuple[str, ...], Callable[[str], float]], ...] = (
    (("ulaw", "pcm", "ul", "mu", "ulw"), _per_second(8000)),
    (("alaw", "al", "alw"), _per_second(8000)),
    (("gsm",), _whole_frames(33, 0.02)),
    (("wav", "wav16"), _wav),
    (("WAV", "wav49"), _wav49),
    (("sln", "slin", "raw"), _per_second(16000)),
    (("sln16",), _per_second(32000)),
    (("g722",), _per_second(8000)),
    (("g729",), _whole_frames(20, 0.02)),
)
_LENGTHS = {extension: length for extensions, length in _FORMATS for extension in extensions}


class DirectorySounds:
    """Prompts that are real files, found as Asterisk finds them: by language, then without one, then in `en`.

    Args:
        directory: the sounds directory (`/usr/share/asterisk/sounds`); names that begin with `/` are taken as they are.
        language: the channel's language; `pt_BR` falls back to `pt`.
    """

    __slots__ = ("_cache", "_directory", "_languages")

    def __init__(self, directory: str | os.PathLike[str], *, language: str = "en") -> None:
        self._directory = os.fspath(directory)
        languages: list[str] = []
        while language:
            languages.append(language)
            language = language.rpartition("_")[0]
        self._languages = [*languages, "", *([] if "en" in languages else ["en"])]
        self._cache: dict[str, Sound | None] = {}

    def find(self, name: str) -> Sound | None:
        """See `Sounds.find`. Each name is looked up once."""
        if name not in self._cache:
            self._cache[name] = self._look_up(name)
        return self._cache[name]

    def files(self, name: str) -> list[str]:
        """Give a prompt's files: those of the first language in which it has any, the first to be played first."""
        for language in self._languages:
            base = self._path(name, language)
            found = [
                path for extensions, _ in _FORMATS for each in extensions if os.path.exists(path := f"{base}.{each}")
            ]
            if found:
                return found
        return []

    def _look_up(self, name: str) -> Sound | None:
        files = self.files(name)
        for path in files:
            try:
                return Sound(_LENGTHS[path.rpartition(".")[2]](path))
            except (OSError, EOFError, wave.Error):
                continue
        return Sound(None) if files else None

    def _path(self, name: str, language: str) -> str:
        # Asterisk's default layout puts the language first (en/digits/1), in an absolute name before the last part.
        if not name.startswith("/"):
            return os.path.join(self._directory, language, name)
        directory, _, last = name.rpartition("/")
        return f"{directory}/{language}/{last}" if language else name
