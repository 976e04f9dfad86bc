"""What a caller heard, as a sound file: the prompts' own files one after the other, with the silence between them.

The rule that holds here: only what needs no decoder is used: `.wav` of 16 bits and one channel, `.ulaw`, `.alaw` and
`.slin`, all at 8,000 samples a second, and of the language that Asterisk would play. A prompt of which that has another
format only is silence, and is named.
"""

from __future__ import annotations

import wave
from array import array
from collections.abc import Callable, Sequence

from ivrd.errors import IvrdError
from ivrd.simulator.generator import Heard
from ivrd.simulator.sounds import DirectorySounds

__all__ = ["write_wav"]

_RATE = 8000


def write_wav(path: str, heard: Sequence[Heard], sounds: DirectorySounds) -> list[str]:
    """Write what was heard as a `.wav`.

    Args:
        path: the file to write.
        heard: the prompts with their times; those that were cut short are cut short.
        sounds: where their files are.

    Returns:
        The prompts that have no file that can be read, once each.

    Raises:
        IvrdError: it cannot be written.
    """
    samples = array("h")
    silent: dict[str, None] = {}
    for one in heard:
        start = int(one.start * _RATE)
        samples.extend([0] * (start - len(samples)))
        prompt = _samples(sounds, one.prompt)
        if prompt is None:
            silent[one.prompt] = None
            continue
        if one.end is not None:
            prompt = prompt[: int((one.end - one.start) * _RATE)]
        samples.extend(prompt)
    try:
        # Opened here: where it cannot be, the module's own object would complain once more when it is collected.
        with open(path, "wb") as opened, wave.open(opened, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE)
            file.writeframes(samples.tobytes())
    except OSError as error:
        raise IvrdError(f"{path}: {error.strerror}; the sound was not written") from None
    return list(silent)


def _samples(sounds: DirectorySounds, prompt: str) -> array[int] | None:
    for path in sounds.files(prompt):
        read = _READERS.get(path.rpartition(".")[2])
        if read is not None:
            try:
                return read(path)
            except (OSError, EOFError, wave.Error):
                continue
    return None


def _wav(path: str) -> array[int]:
    with wave.open(path) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (_RATE, 1, 2):
            raise wave.Error("of another rate, width or number of channels")
        return array("h", file.readframes(file.getnframes()))


def _slin(path: str) -> array[int]:
    with open(path, "rb") as file:
        data = file.read()
    return array("h", data[: len(data) // 2 * 2])


def _companded(table: Sequence[int], path: str) -> array[int]:
    with open(path, "rb") as file:
        return array("h", [table[byte] for byte in file.read()])


def _mu_law(byte: int) -> int:
    """Decode one byte of G.711 μ-law."""
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84 << ((byte & 0x70) >> 4)) - 0x84
    return -magnitude if byte & 0x80 else magnitude


def _a_law(byte: int) -> int:
    """Decode one byte of G.711 A-law."""
    byte ^= 0x55
    segment = (byte & 0x70) >> 4
    magnitude = (byte & 0x0F) << 4
    magnitude = magnitude + 8 if segment == 0 else magnitude + 0x108 << segment - 1
    return magnitude if byte & 0x80 else -magnitude


_MU_LAW = [_mu_law(byte) for byte in range(256)]
_A_LAW = [_a_law(byte) for byte in range(256)]
_READERS: dict[str, Callable[[str], array[int]]] = {
    "wav": _wav,
    "slin": _slin,
    "sln": _slin,
    "ulaw": lambda path: _companded(_MU_LAW, path),
    "alaw": lambda path: _companded(_A_LAW, path),
}
