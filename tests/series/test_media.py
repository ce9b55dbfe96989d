"""Sound and text: codes, files, figures against closed forms, and whole small runs."""

from __future__ import annotations

import gzip
import math
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.io import wavfile

from datakiln.codecs.series.media import CLASS, FILE, from_mu_law, mu_law
from datakiln.codecs.series.series import Roles
from datakiln.data.sets.media import AudioSource, TextSource, read_wave
from datakiln.errors import UserError
from datakiln.metrics.series.text import gzip_bits, ngram_bits, remembered, xz_bits
from datakiln.sampling.media import read_prompt, write_continuations, write_wave
from datakiln.sampling.series import forecast_file, score_file
from datakiln.sampling.synthesizer import Synthesizer
from datakiln.spec import PLAIN


def tone(hertz: float, seconds: float, rate: int = 8000, loud: float = 0.5) -> np.ndarray:
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def save(path: Path, samples: np.ndarray, rate: int, width: int = 2, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.repeat(samples[:, None], channels, axis=1).ravel()
    if width == 1:
        content = (whole * 127 + 128).astype(np.uint8).tobytes()
    elif width == 3:
        content = (whole * (2**23 - 1)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        content = (whole * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(content)


def test_mu_law_and_back_is_within_half_a_code():
    codes = np.arange(256, dtype=np.uint8)
    assert (mu_law(from_mu_law(codes)) == codes).all()
    assert (np.diff(from_mu_law(codes)) > 0).all() and np.allclose(from_mu_law(codes)[[0, -1]], [-1.0, 1.0])
    quiet = np.linspace(-0.01, 0.01, 99)
    assert np.abs(from_mu_law(mu_law(quiet)) - quiet).max() < 5e-4  # finer than the 1 / 256 of even codes


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(8000, 2, 1), (44100, 2, 2), (16000, 1, 1), (11025, 3, 1), (8000, 4, 2)]
)
def test_any_plain_wave_is_read_at_8000_samples_a_second(tmp_path, rate, width, channels):
    save(tmp_path / "a.wav", tone(440, 0.5, rate), rate, width, channels)
    found = read_wave(tmp_path / "a.wav")
    assert abs(len(found) - 4000) <= 1
    middle = slice(400, 3600)
    assert np.abs(found[middle] - tone(440, 0.5)[middle]).max() < 0.02


@pytest.mark.parametrize("form", ["float32", "float64", "extensible", "with a note before"])
def test_waves_as_other_programs_write_them(tmp_path, form):
    """Floats, and the longer head that many write for 24 bits; `wave` of Python reads neither."""
    sound, path = tone(300, 0.1), tmp_path / "a.wav"
    if form.startswith("float"):
        wavfile.write(path, 8000, sound.astype(form))
    else:
        save(path, sound, 8000, width=3)
        content = bytearray(path.read_bytes())
        fmt = bytes([0xFE, 0xFF, *content[22:36], 22, 0, 24, 0, 4, 0, 0, 0, *[1, 0], *bytes(14)])
        before = b"LIST\x03\x00\x00\x00abc\x00" if form.startswith("with") else b""
        path.write_bytes(content[:12] + before + b"fmt \x28\x00\x00\x00" + fmt + content[36:])
    assert np.abs(read_wave(path) - sound).max() < 1e-6


def test_what_a_damaged_wave_holds_is_read_or_refused_by_its_name(tmp_path):
    path = tmp_path / "low" / "a.wav"
    save(path, tone(300, 0.1), 8000, channels=2)
    content = path.read_bytes()
    path.write_bytes(content[:1001])  # cut off inside a sample
    assert np.allclose(read_wave(path), tone(300, 0.1)[: (1001 - 44) // 4], atol=1e-4)
    no_channels, law = bytearray(content), bytearray(content)
    no_channels[22], law[20] = 0, 7
    for damaged in (b"", b"RIFF" + bytes(30), content[:30], bytes(no_channels), bytes(law)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="low/a.wav is no WAV file"):
            read_wave(path)
    wavfile.write(path, 8000, np.array([0.1, np.nan], dtype=np.float32))
    with pytest.raises(UserError, match="low/a.wav: sample 2 is no number"):
        read_wave(path)


def test_a_sound_that_is_cut_off_is_said(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.wav", tone(300, 0.1), 8000)
    assert AudioSource(str(tmp_path))().notes == ()
    content = (tmp_path / "b.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(content[:-100])
    table = AudioSource(str(tmp_path))()
    assert len(table.frame) == 1550
    (note,) = table.notes
    assert note.startswith("1 sound cut off before the end that the file tells of, such as") and "b.wav" in note
    piped = bytearray(content)  # whoever writes to a pipe does not know the size
    piped[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "b.wav").write_bytes(bytes(piped))
    table = AudioSource(str(tmp_path))()
    assert len(table.frame) == 1600 and table.notes == ()


def test_a_wave_is_written_as_it_was(tmp_path):
    codes = mu_law(tone(300, 0.1))
    write_wave(tmp_path / "x" / "a.wav", codes)
    assert (mu_law(read_wave(tmp_path / "x" / "a.wav")) == codes).mean() > 0.99


def test_sources_say_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no .wav file"):
        AudioSource(str(tmp_path))()
    (tmp_path / "a.wav").write_bytes(b"RIFFxxxx")
    with pytest.raises(UserError, match="a.wav is no WAV file"):
        AudioSource(str(tmp_path))()
    (tmp_path / "t.txt").write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        TextSource(str(tmp_path / "t.txt"))()
    with pytest.raises(UserError, match="is a folder"):
        TextSource(str(tmp_path))()
    (tmp_path / "t.txt").write_bytes(b"abc")
    assert TextSource(str(tmp_path / "t.txt"), most=2)().frame["byte"].tolist() == [97, 98]


def test_a_folder_is_a_class(tmp_path):
    for name in ("low/a.wav", "low/b.wav", "high/a.wav"):
        save(tmp_path / name, tone(200, 0.01), 8000)
    table = AudioSource(str(tmp_path))()
    assert table.label == "class" and table.frame.groupby("class")["file"].nunique().to_dict() == {"low": 2, "high": 1}
    assert len(table.frame) == 240


def test_bits_a_byte_against_what_is_known():
    """Of even random bytes eight, of a source of known entropy that, of a copy of the training text next to none."""
    rng = np.random.default_rng(0)
    noise, more = (rng.integers(0, 256, 6000, dtype=np.uint8).tobytes() for _ in range(2))
    assert 8.0 < ngram_bits(noise, more) < 9.0  # counts of noise mislead a little
    for bits in (xz_bits, gzip_bits):
        assert bits(noise, more) == pytest.approx(8.0, abs=0.25)
    for bits in (xz_bits, gzip_bits):
        assert bits(noise, noise[1000:3000]) < 0.6
    biased = rng.choice([97, 98], size=20_000, p=[0.9, 0.1]).astype(np.uint8).tobytes()
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert ngram_bits(biased[:15_000], biased[15_000:]) == pytest.approx(entropy, abs=0.05)
    assert gzip_bits(b"a", b"bcd" * 900) == pytest.approx(
        8 * (len(gzip.compress(b"a" + b"bcd" * 900, 9, mtime=0)) - len(gzip.compress(b"a", 9, mtime=0))) / 2700
    )


def test_runs_that_stand_in_the_training_text():
    text = bytes(range(256)) * 2
    assert remembered(text, text[7:60]) == 1.0 and remembered(text, text[::-1]) == 0.0
    assert remembered(text, text[:20] + text[100:120]) == pytest.approx(2 / 21)


def test_what_is_gone_on_with_is_a_file_of_its_medium(tmp_path):
    """And so is what goes on: several of them in a folder, sounds without a class that nobody gave."""
    text, sound = (
        SimpleNamespace(medium="text", roles=Roles()),
        SimpleNamespace(medium="sound", roles=Roles(entity=FILE)),
    )
    (tmp_path / "a.txt").write_bytes(b"\x00clay")
    rows = read_prompt(str(tmp_path / "a.txt"), text)
    assert rows["byte"].tolist() == [0, 99, 108, 97, 121]
    write_continuations(tmp_path / "b.txt", [rows], text)
    write_continuations(tmp_path / "c", [rows, rows[1:]], text)
    assert (tmp_path / "b.txt").read_bytes() == b"\x00clay" and (tmp_path / "c" / "0002.txt").read_bytes() == b"clay"
    save(tmp_path / "a.wav", tone(500.0, 0.1), 8000)
    rows = read_prompt(str(tmp_path / "a.wav"), sound)
    assert len(rows) == 800 and set(rows[FILE]) == {"a"}
    write_continuations(tmp_path / "d", [rows.assign(**{CLASS: "x"}), rows], sound)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "d").rglob("*.wav")) == [
        "d/0001.wav",
        "d/0002.wav",
    ]
    with pytest.raises(UserError, match=r"a\.txt is no WAV file"):
        read_prompt(str(tmp_path / "a.txt"), sound)


@pytest.mark.slow
def test_text_from_end_to_end(tmp_path):
    """A grammar of few words is learnt better than by its letters, and written as text."""
    from tests.series.running import ran

    rng = np.random.default_rng(0)
    words = ["the kiln ", "burns ", "clay ", "and ", "ash. "]
    path = tmp_path / "in.txt"
    path.write_text("".join(words[i] for i in rng.integers(0, 5, 5000)))
    result, folder = ran(tmp_path, "data=text", f"data.path={path}", "epochs=3", "data.crop=64")
    bits = result["text/bits_per_character"]
    assert bits.value < 1.0 and "gzip" in bits.note + "gzip" and result["text/bits_per_character_xz"].value < 3
    assert set((folder / "synthetic.txt").read_text()) <= set("".join(words))
    assert result["text/remembered"].value <= 1.0
    synthesizer, prompt = Synthesizer.load(folder), tmp_path / "prompt.txt"
    prompt.write_text("the kiln burns cla")
    told = forecast_file(synthesizer, str(prompt), tmp_path / "on.txt", 2, 1, 0, PLAIN)
    assert told == "2 bytes after 18 bytes, 1 path;" and (tmp_path / "on.txt").read_text() == "y "
    forecast_file(synthesizer, str(prompt), tmp_path / "several", 30, 3, 0, PLAIN)
    made = [path.read_text() for path in sorted((tmp_path / "several").iterdir())]
    assert len(set(made)) == 3 and all(len(text) == 30 and text.startswith("y ") for text in made)
    forecast_file(synthesizer, str(prompt), tmp_path / "on.csv", 3, 5, 0, PLAIN)
    assert score_file(synthesizer, str(prompt), tmp_path / "scored.csv") == "18 steps of 1 sequence scored;"
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert bytes(scored["byte"].tolist()) == prompt.read_bytes() and (scored["log_prob"] < 0).all()
    assert len(pd.read_csv(tmp_path / "on_paths.csv")) == 15
    with pytest.raises(UserError, match=r"out=.*x\.txt holds one text; 2 of them go to a folder"):
        forecast_file(synthesizer, str(prompt), tmp_path / "x.txt", 3, 2, 0, PLAIN)
    with pytest.raises(UserError, match="is a folder with files in it"):
        forecast_file(synthesizer, str(prompt), tmp_path / "several", 3, 2, 0, PLAIN)
    (tmp_path / "empty.txt").write_bytes(b"")
    for wrong, message in (
        ("none.txt", "none.txt"),
        ("several", "is a folder; give one file of text"),
        ("empty.txt", "is empty"),
    ):
        with pytest.raises(UserError, match=message):
            forecast_file(synthesizer, str(tmp_path / wrong), tmp_path / "y.txt", 3, 1, 0, PLAIN)


@pytest.mark.slow
def test_sound_from_end_to_end(tmp_path):
    """Tones of two classes: fewer bits than by the shares of codes, WAV files in folders of their class."""
    from tests.series.running import ran

    rng = np.random.default_rng(0)
    for name, hertz in (("low", 250.0), ("high", 1000.0)):
        for i in range(8):
            save(tmp_path / "in" / name / f"{i}.wav", tone(hertz, 0.1, loud=rng.uniform(0.3, 0.8)), 8000)
    result, folder = ran(
        tmp_path, "data=audio_folder", f"data.path={tmp_path / 'in'}", "epochs=10", "data.crop=128", "n_synthetic=6"
    )
    bits = result["sound/bits_per_sample"]
    assert bits.value < float(bits.note.split()[-1])
    made = sorted((folder / "synthetic").rglob("*.wav"))
    assert len(made) == 6 and {path.parent.name for path in made} <= {"low", "high"}
    assert all(len(read_wave(path)) == 800 for path in made)
    assert (folder / "plots" / "spectrograms.png").exists()
    forecast_file(Synthesizer.load(folder), str(tmp_path / "in/low/0.wav"), tmp_path / "on", 400, 2, 0, PLAIN)
    assert [len(read_wave(path)) for path in sorted((tmp_path / "on").iterdir())] == [400, 400]
