from __future__ import annotations

import wave
from pathlib import Path

import pytest

from ivrd.simulator.sounds import SILENCE, DirectorySounds, Sound, SoundTable

from .line import Line


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "en" / "digits").mkdir(parents=True)
    (tmp_path / "pt").mkdir()
    (tmp_path / "en" / "digits" / "1.gsm").write_bytes(b"x" * (33 * 25 + 5))
    (tmp_path / "en" / "hello.ulaw").write_bytes(b"x" * 12000)
    (tmp_path / "pt" / "hello.ulaw").write_bytes(b"x" * 4000)
    (tmp_path / "plain.sln16").write_bytes(b"x" * 32000)
    (tmp_path / "en" / "packed.WAV").write_bytes(b"x" * (60 + 65 * 25))
    (tmp_path / "en" / "broken.wav").write_bytes(b"RIFF")
    with wave.open(str(tmp_path / "en" / "wave.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 6000)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("digits/1", 0.5), ("hello", 1.5), ("plain", 1.0), ("packed", 1.0), ("wave", 0.75)],
)
def test_the_length_is_that_of_the_file(directory: Path, name: str, seconds: float) -> None:
    sound = DirectorySounds(directory).find(name)
    assert sound is not None
    assert sound.seconds == pytest.approx(seconds)


def test_the_language_comes_first_and_english_last(directory: Path) -> None:
    sounds = DirectorySounds(directory, language="pt_BR")
    assert sounds.find("hello") == Sound(0.5)
    assert sounds.find("wave") == Sound(0.75)
    assert DirectorySounds(directory, language="fr").find("hello") == Sound(1.5)


def test_an_absolute_name(directory: Path) -> None:
    sounds = DirectorySounds("/nonexistent")
    assert sounds.find(f"{directory}/hello") == Sound(1.5)
    assert sounds.find(f"{directory}/plain") == Sound(1.0)
    assert sounds.find(f"{directory}/en/wave") == Sound(0.75)


@pytest.mark.parametrize("name", ["nope", "hello.ulaw", "digits", "", "/", ".", "x\0y", "\udcff", "x" * 5000])
def test_names_without_a_file(directory: Path, name: str) -> None:
    assert DirectorySounds(directory).find(name) is None


def test_a_file_that_is_no_sound_exists_but_cannot_be_opened(directory: Path) -> None:
    assert DirectorySounds(directory).find("broken") == Sound(None)
    line = Line(sounds=DirectorySounds(directory)).write("A,broken", "A,nope").wait(1)
    assert line.take() == [("Z", "nope")]


def test_a_directory_without_silence_ends_audio_at_the_first_pause(directory: Path) -> None:
    line = Line(sounds=DirectorySounds(directory)).write("A,hello").wait(2)
    assert line.take() == [("F", "hello")]
    assert line.write("A,hello").wait(2).take() == []


def test_a_table() -> None:
    table = SoundTable({"a": 2.0, "gone": 1.0}, default=0.5, missing={"gone"}, unopenable={"locked"})
    assert [table.find(name) for name in ("a", "b", "gone", "locked", SILENCE)] == [
        Sound(2.0),
        Sound(0.5),
        None,
        Sound(None),
        Sound(10.0),
    ]
    strict = SoundTable({"a": 2.0}, default=None)
    assert (strict.find("a"), strict.find("b")) == (Sound(2.0), None)
    assert strict.find(SILENCE) == Sound(10.0)
