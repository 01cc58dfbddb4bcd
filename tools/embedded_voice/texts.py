"""What the teachers read: sentences from free texts in Debian, and sentences composed from them.

`collect` distils the packages' files into one text file that travels to the training machine; `Writer` composes
utterances from it. A hundredth of the sentences is held out for evaluation by a hash of its letters: they are neither
read by a teacher nor part of the Markov chain.
"""

import gzip
import hashlib
import random
import re
from collections import defaultdict
from pathlib import Path

from .text_norm import punc_norm

WORDNET = Path("/usr/share/wordnet")  # wordnet-base: glosses and example sentences, WordNet licence
DICTIONARIES = Path("/usr/share/dictd")  # dict-devil (public domain), dict-jargon (public domain)
WORD_LIST = Path("/usr/share/dict/american-english")  # wamerican: SCOWL, free for any purpose

READABLE = re.compile(r"[A-Za-z ,.!?'\"-]+")
MAX_CHARACTERS = 240  # of an utterance; a teacher's reading of more would pass the token cap


def clean(text: str) -> str | None:
    """One readable sentence, or None: no digits, brackets, abbreviations or shouting."""
    for old, new in (
        ("“", '"'),
        ("”", '"'),
        ("‘", "'"),
        ("’", "'"),
        ("—", " - "),
        ("--", " - "),
        ("``", '"'),
        (";", ","),
        (":", ","),
    ):
        text = text.replace(old, new)
    text = " ".join(text.split()).strip(" -,")
    if not READABLE.fullmatch(text) or text.count('"') % 2 or re.search(r"[A-Z]{2}|\.\w|\b[A-Za-z]{1,3}\. [a-z]", text):
        return None
    words = text.split()
    if not 3 <= len(words) <= 34 or len(text) > 200 or max(map(len, words)) > 22:
        return None
    return text if text[-1] in ".!?" else text.rstrip('"') + "."


def wordnet_sentences():
    for file in sorted(WORDNET.glob("data.*")):
        for line in file.read_text(encoding="ascii", errors="ignore").splitlines():
            _, bar, gloss = line.partition(" | ")
            if bar:
                examples = re.findall(r'"([^"]+)"', gloss)
                yield from examples
                if examples:  # definitions are no sentences: the ones of words in use will do
                    yield gloss.split(";")[0]


def dictionary_sentences():
    for name in ("devil", "jargon"):
        text = gzip.decompress((DICTIONARIES / f"{name}.dict.dz").read_bytes()).decode("utf-8", errors="ignore")
        for paragraph in re.split(r"\n\s*\n", text):
            paragraph = re.sub(r"[{}]", "", " ".join(paragraph.split()))
            paragraph = re.sub(r"^[A-Z' -]+, [a-z.]+ ", "", paragraph)  # a headword of the Devil's Dictionary
            yield from re.split(r"(?<=[.!?]) +(?=[A-Z])", paragraph)


def collect(target: Path) -> None:
    """Writes the corpus: a line per sentence, then a line "--", then the words."""
    sentences = dict.fromkeys(filter(None, map(clean, [*wordnet_sentences(), *dictionary_sentences()])))
    words = [w for w in WORD_LIST.read_text().splitlines() if re.fullmatch(r"[a-z]{2,16}", w)]
    target.write_bytes(gzip.compress("\n".join([*sentences, "--", *words]).encode(), mtime=0))


def is_held_out(sentence: str) -> bool:
    letters = re.sub(r"[^a-z]", "", sentence.lower())
    return hashlib.blake2b(letters.encode(), digest_size=4).digest()[0] % 100 == 7


ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen".split()
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SPEAKING = "said,asked,answered,whispered,cried,called,replied,muttered,repeated,shouted".split(",")
PEOPLE = (
    "he,she,the girl,the old man,her father,his mother,the captain,the keeper,Anna,Peter,the doctor,Mr. Hill,"
    "Mrs. Ward,nobody,the boy,my brother,the stranger".split(",")
)
COUNTED = "people,miles,years,houses,ships,letters,steps,pounds,days,chapters,pages,birds,minutes,men,stones".split(",")


def spoken_number(n: int) -> str:
    """0 … 999,999 in words."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" and {spoken_number(n % 100)}" if n % 100 else "")
    return f"{spoken_number(n // 1000)} thousand" + (f" {spoken_number(n % 1000)}" if n % 1000 else "")


class Corpus:
    """The collected sentences and words, split into training and held-out."""

    def __init__(self, file: Path):
        sentences, _, words = gzip.decompress(file.read_bytes()).decode().partition("\n--\n")
        self.words = words.split("\n")
        self.training, self.held_out = [], []
        for sentence in sentences.split("\n"):
            (self.held_out if is_held_out(sentence) else self.training).append(sentence)


class Writer:
    """Composes utterances; the same seed gives the same ones."""

    def __init__(self, corpus: Corpus, seed: int):
        self.corpus = corpus
        self.random = random.Random(seed)
        self.follows = defaultdict(list)
        for sentence in corpus.training:
            words = ["", "", *sentence.replace('"', "").split(), ""]
            for first, second, third in zip(words, words[1:], words[2:]):
                self.follows[first, second].append(third)

    def reseed(self, seed: int) -> None:
        self.random.seed(seed)

    def capital(self, text: str) -> str:
        return text[:1].upper() + text[1:]

    def real(self) -> str:
        return self.capital(self.random.choice(self.corpus.training))

    def markov(self) -> str:
        """An order-2 walk of 4 to 30 words from a sentence's start to a sentence's end."""
        while True:
            words = ["", ""]
            while len(words) < 32:
                word = self.random.choice(self.follows[words[-2], words[-1]])
                if word == "":
                    break
                words.append(word)
            if 6 <= len(words) < 32:
                return self.capital(" ".join(words[2:]))

    def word_list(self) -> str:
        """Words of the list without sense, so that each turns up now and then."""
        words = self.random.choices(self.corpus.words, k=self.random.randint(3, 12))
        joined = words[0]
        for word in words[1:]:
            joined += self.random.choice([" ", " ", " ", ", ", "-", " and ", " of the "]) + word
        return self.capital(joined) + self.random.choice("..?!")

    def numbers(self) -> str:
        """Numbers as words; in a third of the sentences as figures, for texts that do not spell them out."""
        r = self.random
        if r.random() < 0.33:
            say = year_of = str
            n = say(int(10 ** r.uniform(0, 4)))
        else:
            say = spoken_number
            year_of = lambda year: f"{ONES[year // 100]} {say(year % 100)}"
            n = say(int(10 ** r.uniform(0, 6)))
        year = year_of(100 * r.randint(17, 19) + r.randint(11, 99))
        templates = [
            f"there were {n} {r.choice(COUNTED)} in all.",
            f"chapter {say(r.randint(1, 60))}.",
            f"it was {year}, and {self.markov()}",
            f"{n} {r.choice(COUNTED)}, or perhaps {say(r.randint(2, 99))}.",
            f"at {say(r.randint(1, 12))} o'clock {r.choice(PEOPLE)} counted {n} {r.choice(COUNTED)}.",
        ]
        return self.capital(r.choice(templates))

    def dialogue(self) -> str:
        r = self.random
        said = self.sentence_without_quotes().rstrip(".")
        tag = (
            f"{r.choice(SPEAKING)} {r.choice(PEOPLE)}"
            if r.random() < 0.5
            else f"{r.choice(PEOPLE)} {r.choice(SPEAKING)}"
        )
        if said[-1] in "?!":
            return f'"{said}" {tag}.'
        return r.choice([f'"{said}," {tag}.', f'"{said}."', f'{self.capital(tag)}, "{said}."'])

    def sentence_without_quotes(self) -> str:
        return (self.real() if self.random.random() < 0.6 else self.markov()).replace('"', "")

    def sentence(self) -> str:
        kinds = (self.real, self.markov, self.dialogue, self.numbers, self.word_list)
        return self.random.choices(kinds, weights=(45, 25, 15, 6, 9))[0]()

    def utterance(self) -> str:
        """One to six sentences, normalised, of 2 to 240 characters: short ones, a sentence, full chunks."""
        r = self.random
        if r.random() < 0.06:  # a heading or an answer of a word or two
            return punc_norm(self.capital(" ".join(r.choices(self.corpus.words, k=r.randint(1, 3)))) + r.choice(".?!"))
        target = r.choice([0, 0, 90, 140, 190, MAX_CHARACTERS])
        text = self.sentence()
        for _ in range(5):
            more = f"{text} {self.sentence()}"
            if len(text) >= target or len(punc_norm(more)) > MAX_CHARACTERS:
                break
            text = more
        text = punc_norm(text)
        return text if len(text) <= MAX_CHARACTERS else self.utterance()
