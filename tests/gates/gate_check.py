#!/usr/bin/python3
"""Do the gates let sound utterances of the embedded voice pass, and find what is planted into them? A few sentences,
rendered by audiobook-gate-check; bench/NOTES.md has the figures of hundreds.

    gate_check.py AUDIOBOOK_GATE_CHECK
"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
SENTENCES, FAULTS = 8, 4
ALWAYS_FOUND = ("silence", "noise", "pause", "clipping", "stuck token", "babble after the end")
WORDS_FOUND = ("skipped 3 words", "skipped 4 words", "doubled 4 words")


class GateCheck(unittest.TestCase):
    program: Path

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            samples = Path(folder) / "samples"
            amounts = ["--passages", "0", "--sentences", str(SENTENCES), "--faults", str(FAULTS)]
            books = ["--book", str(SOURCE / "demo/lighthouse.txt")]
            subprocess.run([cls.program, "collect", samples, *books, *amounts], check=True)
            judged = subprocess.run([cls.program, "judge", samples], check=True, capture_output=True, text=True)
            cls.heads = subprocess.run([cls.program, "heads", samples], check=True, capture_output=True, text=True).stdout
        print(judged.stdout)
        cls.rows = json.loads(judged.stdout.splitlines()[-1])

    def share(self, name: str, field: str = "found") -> float:
        return self.rows[name][field] / self.rows[name]["samples"]

    def test_sound_utterances_pass(self):
        self.assertEqual(self.rows["nothing wrong"]["samples"], SENTENCES)
        self.assertEqual(self.rows["nothing wrong"]["found_without_alignment"], 0)
        self.assertLessEqual(self.rows["nothing wrong"]["found"], 1)  # the voice stammers now and then

    def test_planted_faults_are_found(self):
        for name in ALWAYS_FOUND:
            self.assertEqual(self.share(name), 1, name)
        self.assertGreaterEqual(self.share("cut off"), 0.75)

    def test_words_left_out_and_doubled_are_found_in_the_alignment_alone(self):
        for name in WORDS_FOUND:
            self.assertEqual(self.share(name), 1, name)
            self.assertEqual(self.share(name, "found_without_alignment"), 0, name)

    def test_the_head_that_the_checkpoint_names_is_the_steadiest(self):
        named = json.loads((SOURCE / "models/embedded/config.json").read_text())["t3_alignment_heads"][0]
        self.assertTrue(self.heads.splitlines()[1].startswith(str(named)), self.heads)


if __name__ == "__main__":
    GateCheck.program = Path(sys.argv[1]).resolve()
    unittest.main(argv=[sys.argv[0]])
