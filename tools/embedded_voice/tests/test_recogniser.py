"""The judge: its grammars, and that it hears a teacher and does not hear what was not said."""

import shutil

import numpy as np
import pytest

from embedded_voice.evaluate import near_misses, passages, pitch_and_envelope, voice_distance, warped_distance
from embedded_voice.recogniser import recognise
from embedded_voice.sphinx import choice_grammar, skip_grammar, words_of
from embedded_voice.teachers import Programs, read_aloud, voice_named

needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, ("flite", "espeak-ng", "pocketsphinx_batch"))), reason="Debian's flite and pocketsphinx"
)
SENTENCES = [
    "The lamp burned all night above the harbour.",
    "Seven boats came home before the storm.",
    "My brother keeps two goats behind the house.",
]


def paths(grammar: str) -> list[list[str]]:
    """Every word sequence that a grammar without loops accepts."""
    lines = grammar.split("\n")
    final = next(line.split()[1] for line in lines if line.startswith("FINAL_STATE"))
    arcs = [line.split()[1:] for line in lines if line.startswith("TRANSITION")]

    def walk(state):
        if state == final:
            return [[]]
        return [arc[3:] + rest for arc in arcs if arc[0] == state for rest in walk(arc[1])]

    return walk("0")


def test_a_choice_accepts_its_candidates_only():
    candidates = [["one"], ["one", "two", "three"], ["two", "one"]]
    assert sorted(paths(choice_grammar(candidates))) == sorted(candidates)


def test_a_skip_grammar_accepts_every_subsequence():
    assert sorted(paths(skip_grammar(["a", "b"]))) == [[], ["a"], ["a", "b"], ["b"]]


def test_words_of_a_sentence():
    assert words_of('"It\'s twenty-one," he said.') == ["it's", "twenty", "one", "he", "said"]


def test_near_misses_differ_in_one_word():
    import random

    words = ["the", "lamp", "burned"]
    for candidate in near_misses(words, ["zebra"], random.Random(1)):
        assert sum(a != b for a, b in zip(candidate, words)) == 1


def test_warping_forgives_tempo_and_nothing_else():
    draw = np.random.default_rng(1)
    mel = draw.normal(size=(80, 40)).repeat(2, axis=1)
    slower = mel.repeat(2, axis=1)
    assert warped_distance(mel, slower) < 0.01
    assert warped_distance(mel, draw.normal(size=(80, 80))) > 0.5


@needs_programs
def test_teachers_are_heard_and_controls_are_not():
    programs = Programs()
    read = lambda text, voice: read_aloud(programs, voice_named(voice), text, 0) / 32768
    words = [words_of(s) for s in SENTENCES]
    waves = [read(s, "slt") for s in SENTENCES]
    closed = choice_grammar(words)
    assert recognise(waves, [closed] * 3) == words
    silence = np.random.default_rng(1).normal(0, 0.05, 48_000)
    half = read(" ".join(words[0][::2]), "slt")
    heard = recognise([waves[0], silence, half], [skip_grammar(words[0])] * 3)
    assert len(heard[0]) == len(words[0])
    assert len(heard[1]) < 0.4 * len(words[0])
    assert len(heard[2]) < 0.8 * len(words[0])


@needs_programs
def test_two_teachers_are_told_apart():
    programs = Programs()
    measure = lambda text, voice: pitch_and_envelope(read_aloud(programs, voice_named(voice), text, 0) / 32768.0)
    slt, rms = (measure(SENTENCES[0], voice) for voice in ("slt", "rms"))
    assert slt[0] > rms[0] * 1.2, "a woman and a man"
    other = measure(SENTENCES[1], "slt")
    assert voice_distance(other, slt) < voice_distance(other, rms)


def test_passages_are_whole_sentences_without_what_the_model_cannot_read(tmp_path):
    text = tmp_path / "prose.txt"
    text.write_text(
        "The lamp burned\nall night. It was 1912 then. “She slept,” he said.\n\n" + "Boats came home. " * 30
    )
    found = passages(text, 1000)
    assert found[0] == "The lamp burned all night. She slept, he said."
    assert all(len(p) <= 200 for p in found)
    assert " ".join(found[1:]) == ("Boats came home. " * 30).strip()
    assert len(passages(text, 5)) == 1, "no more than was asked for"
