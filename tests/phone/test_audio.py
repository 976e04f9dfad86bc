"""The sound of a call: which of a prompt's files it is made of, by language and then by format."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from ivrd.errors import IvrdError
from ivrd.phone.audio import write_wav
from ivrd.simulator.generator import Heard
from ivrd.simulator.sounds import DirectorySounds


def heard(*prompts: str) -> list[Heard]:
    """One second each, one behind the other."""
    return [Heard(prompt, float(number)) for number, prompt in enumerate(prompts)]


def put_wav(path: Path, sample: int, rate: int = 8000) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(sample.to_bytes(2, "little", signed=True) * rate)


def samples(path: Path) -> memoryview:
    with wave.open(str(path)) as file:
        return memoryview(file.readframes(file.getnframes())).cast("h")


def test_the_language_comes_before_the_format(tmp_path: Path) -> None:
    put_wav(tmp_path / "de" / "both.wav", 1)
    put_wav(tmp_path / "en" / "both.wav", 2)
    (tmp_path / "en" / "both.ulaw").write_bytes(b"\x00" * 8000)
    put_wav(tmp_path / "de" / "wide.wav", 3, rate=16000)
    (tmp_path / "de" / "wide.sln").write_bytes(b"\x04\x00" * 8000)
    put_wav(tmp_path / "en" / "english.wav", 5)
    (tmp_path / "de" / "packed.gsm").write_bytes(b"\x00" * 33 * 50)
    put_wav(tmp_path / "en" / "packed.wav", 6)
    sounds = DirectorySounds(tmp_path, language="de")
    out = tmp_path / "out.wav"
    assert write_wav(str(out), heard("both", "wide", "english", "packed", "none"), sounds) == ["packed", "none"]
    assert [samples(out)[8000 * second] for second in range(3)] == [1, 4, 5]
    assert len(samples(out)) == 4 * 8000, "what is not heard is silence, as far as something comes behind it"


def test_what_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(IvrdError, match="No such file or directory; the sound was not written"):
        write_wav(str(tmp_path / "none" / "out.wav"), [], DirectorySounds(tmp_path))
