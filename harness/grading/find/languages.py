"""Answers stated in another language, brought to the English words that the reader of statements knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_LETTER = re.compile("[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff01-\uff5e]")
_EASTERN = {word: english for english, words in _TABLE["eastern"].items() for word in words.split()}
_WORD = re.compile("|".join(map(re.escape, sorted(_EASTERN, key=len, reverse=True))))
_STATES = re.compile(rf"(?<!\w)(?:{_TABLE['answer']})(?!\w)", re.IGNORECASE)
_SPACED = [
    (re.compile(rf"(?<![\w\\])(?:{words.replace('ANSWER', _TABLE['answer'])})(?!\w)", re.IGNORECASE), english)
    for english, words in _TABLE["spaced"]
]


def in_english(text: str) -> str:
    """`text` with the words that matter to a statement in English."""
    if text.isascii() and not any(word in text.lower() for word in _TABLE["ascii"]):
        return text
    if _LETTER.search(text):
        text = re.sub("(?<! ) +(?=[.,])", "", _WORD.sub(lambda match: _EASTERN[match[0]], text))
    if _STATES.search(text):
        for words, english in _SPACED:
            text = words.sub(english, text)
    return text
