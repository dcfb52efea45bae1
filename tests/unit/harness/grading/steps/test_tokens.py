"""The short way through blanks and words gives the tokens that the lexicon alone gives."""

from __future__ import annotations

import re
from random import Random

import pytest

from harness.grading.steps import tokens
from harness.grading.steps.tokens import tokenize

PIECES = [
    *"  ab C\n\t$\\{}()*_`|^0123456789.,'’%!°½-+=/é¢",
    *(
        "mod",
        "modulo",
        "mod's",
        "gcd(",
        "C(",
        "LCM(",
        "sqrt(",
        "is equal to",
        "is",
        "isle",
        "equals",
        "equals_",
    ),
    *("times", "timesx", "multiplied by", "divided by", "divided", "percent", "percents", "plus", "5plus"),
    *("plus’s", "éplus", "minus", "Step 1) ", "\\text{a}", "**is**", "_C_", "(so to speak)", "2-legged"),
]


@pytest.mark.parametrize("seed", range(4))
def test_words_and_blanks_are_what_the_lexicon_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    texts = ["".join(random.choices(PIECES, k=random.randint(1, 30))) for _ in range(1000)]
    found = [tokenize(text) for text in texts]
    monkeypatch.setattr(tokens, "_PLAIN", re.compile("(?!)"))
    assert [tokenize(text) for text in texts] == found
    assert sum(token.kind == "word" for line in found for token in line) > 1000
