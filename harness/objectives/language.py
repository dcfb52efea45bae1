r"""The share of a thought's words in the target language, told by script. Pure.

DeepSeek-R1 rewards "the proportion of target language words in the CoT" (arXiv:2501.12948 §2.3.2) and does
not say what a word is. Here:

- The thought is what stands between `<think>` and `</think>` (to the end where it is not closed); without
  `<think>`, the whole output.
- A word is a run of letters of one script, with its accents; in a script without blanks (Han, Kana, Thai)
  each letter is a word.
- Notation belongs to no language: digits, signs, LaTeX commands and environments, and words of one letter in
  a script with blanks (x, but also `a`) are no words.
- A word counts if its script is one of the target's: Han for Chinese; Han and Kana for Japanese; Hangul for
  Korean. English is not told from French, nor Chinese from Japanese without Kana.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# The first word of a letter's Unicode name -> its script.
_SCRIPTS = {
    "LATIN": "latin",
    "CJK": "han",
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "KATAKANA-HIRAGANA": "kana",
    "HANGUL": "hangul",
    "CYRILLIC": "cyrillic",
    "GREEK": "greek",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
    "DEVANAGARI": "devanagari",
    "THAI": "thai",
}
_UNSPACED = {"han", "kana", "thai"}
_OF_TARGET = {"chinese": {"han"}, "japanese": {"han", "kana"}, "korean": {"hangul"}}
_THOUGHT = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_NOTATION = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|</?(?:think|answer)>")


def share_of_words(output: str, *, script: str, opened: bool = False) -> float:
    """Words of the thought in `script` / all its words, in [0, 1]; 0 for a thought without words.

    `opened`: the prompt ends with `<think>`.
    """
    text = "<think>" + output if opened else output
    thought = _THOUGHT.search(text)
    words = list(_words(thought[1] if thought else text))
    wanted = _OF_TARGET.get(script, {script})
    return sum(word in wanted for word in words) / len(words) if words else 0.0


def _words(text: str) -> Iterator[str]:
    """The script of each word; "other" for a script that is no target."""
    plain = unicodedata.normalize("NFKC", _NOTATION.sub(" ", text))
    run, length = "", 0  # the script and the letters of the word that is being read
    for character in plain:
        script = _script(character)
        if script == "mark":
            continue
        if script != run:
            if length > 1:
                yield run
            run, length = script, 0
        if script in _UNSPACED:
            yield script
        elif script:
            length += 1
    if length > 1:
        yield run


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The script of a letter, "mark" for an accent or vowel sign, "" for anything else."""
    kind = unicodedata.category(character)[0]
    if kind == "M":
        return "mark"
    name = unicodedata.name(character, "").partition(" ")[0]
    return _SCRIPTS.get(name, "other") if kind == "L" else ""
