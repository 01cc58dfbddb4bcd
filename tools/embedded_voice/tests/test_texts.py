"""What the teachers read and how T3 sees it."""

import gzip
import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from embedded_voice.text_norm import CHARACTERS, punc_norm, text_ids, tokenizer_json
from embedded_voice.texts import MAX_CHARACTERS, Corpus, Writer, clean, is_held_out, spoken_number

GOLDEN = Path(__file__).parents[3] / "tests/data/golden/text.json"
NOUNS = "lamp boat road tower letter river garden stone winter captain".split()
VERBS = "burned turned waited answered fell stood followed shone".split()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    sentences = [f"The {a} {v} beside the {b} for a year." for a in NOUNS for v in VERBS for b in NOUNS]
    file = tmp_path_factory.mktemp("corpus") / "corpus.txt.gz"
    file.write_bytes(gzip.compress("\n".join([*sentences, "--", *NOUNS, *VERBS]).encode()))
    return Corpus(file)


def test_normalisation_is_the_references():
    for case in json.loads(GOLDEN.read_text())["english"]:
        assert punc_norm(case["input"]) == case["normalized"]


def test_the_tokenizer_file_says_what_training_says():
    tokenizer = Tokenizer.from_str(tokenizer_json())
    for text in ('"Twenty-one," she said; it\'s late!', "A (very) long/short way: no?", CHARACTERS, "caf\u00e9"):
        ids = tokenizer.encode(punc_norm(text).replace(" ", "[SPACE]")).ids
        assert ids == text_ids(punc_norm(text)).tolist(), text


def test_a_seed_gives_the_same_utterances(corpus):
    first, again = Writer(corpus, 5), Writer(corpus, 6)
    again.reseed(5)
    assert [first.utterance() for _ in range(50)] == [again.utterance() for _ in range(50)]


def test_utterances_cover_the_kinds_and_fit(corpus):
    writer = Writer(corpus, 1)
    utterances = [writer.utterance() for _ in range(600)]
    assert max(map(len, utterances)) <= MAX_CHARACTERS
    assert min(map(len, utterances)) < 15 and sum(len(u) > 180 for u in utterances) > 60
    assert all(punc_norm(u) == u for u in utterances), "already as the engine would normalise them"
    assert sum('"' in u for u in utterances) > 60 and sum(bool(re.search(r"\w-\w", u)) for u in utterances) > 30
    assert sum(len(re.findall(r"[.!?](?= |$)", u)) >= 3 for u in utterances) > 60
    figures = sum(bool(re.search(r"\d", u)) for u in utterances)
    assert 5 < figures < 60, "numbers are words as a rule"


def test_held_out_sentences_are_never_read(corpus):
    assert corpus.held_out and all(map(is_held_out, corpus.held_out))
    writer = Writer(corpus, 2)
    read = {" ".join(writer.real().split()) for _ in range(3000)}
    assert read.isdisjoint(corpus.held_out)


def test_being_held_out_depends_on_the_letters_only():
    texts = [f"Sentence number {spoken_number(n)} is here." for n in range(2000)]
    held = [t for t in texts if is_held_out(t)]
    assert 5 < len(held) < 50
    assert all(is_held_out(t.upper().replace(" ", "  ")) for t in held)


def test_only_readable_sentences_pass():
    assert clean("an  extinct volcano") == "an extinct volcano."
    assert clean("He said ``yes'' to it.") is None
    for unreadable in (
        "In 1984 it was so.",
        "The NASA report was long.",
        "x = (a + b) here",
        'One "quote is open.',
        "See e.g. the next page now.",
        "Two words.",
    ):
        assert clean(unreadable) is None, unreadable


def test_numbers_in_words():
    assert spoken_number(0) == "zero"
    assert spoken_number(21) == "twenty-one"
    assert spoken_number(345) == "three hundred and forty-five"
    assert spoken_number(12_006) == "twelve thousand six"
