"""The share of a thought's words in the target language, counted by hand in several scripts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.language import share_of_words


@pytest.mark.parametrize(
    ("text", "script", "share"),
    [
        # English: First we add both numbers = 5 words.
        ("First, we add both numbers.", "latin", "1"),
        ("First we 相加 both", "latin", "3/5"),  # First, we, both; 相, 加
        ("First we 相加 both", "chinese", "2/5"),
        # Chinese: 我 们 先 求 和 = 5 words; `the` is one.
        ("我们先求和 the", "chinese", "5/6"),
        # Japanese: まず 足 す = 4 letters; Han counts for it, Kana not for Chinese.
        ("まず足す", "japanese", "1"),
        ("まず足す", "chinese", "1/4"),
        ("データ sum", "japanese", "3/4"),  # the long vowel is a letter of the word
        # Korean: words part by blanks.
        ("먼저 두 수를 더한다 done", "korean", "3/4"),  # 두 is of one letter: no word
        ("Сначала сложим числа", "cyrillic", "1"),
        ("Сначала add числа", "cyrillic", "2/3"),
        ("Πρώτα προσθέτουμε together", "greek", "2/3"),
        ("نجمع العددين first", "arabic", "2/3"),
        ("נחבר את המספרים now", "hebrew", "3/4"),
        # Devanagari: vowel signs belong to their word.
        ("पहले संख्याएँ जोड़ें now", "devanagari", "3/4"),
        # Thai has no blanks: each letter counts, vowel signs above and below do not (รวม: 3, กัน: 2).
        ("รวมกัน ok", "thai", "5/6"),
        ("cafe\u0301 na\u00efve", "latin", "1"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "latin", "1"),
    ],
)
def test_words_by_script(text: str, script: str, share: str) -> None:
    assert share_of_words(text, script=script) == pytest.approx(float(Fraction(share)))


@pytest.mark.parametrize(
    "text",
    [
        "设 x = 3, y = 12",  # variables
        r"设 \frac{x}{2} \times \sin y",  # commands
        r"\begin{align*} 设 &= 2 \end{align*}",
        "设 𝑥² ≤ 7 % (a) 3.5e9",
        "<think>设</think> <answer> twelve apples </answer>",  # not the thought
        "设</think> twelve",
    ],
)
def test_notation_and_answer_are_no_words_of_the_thought(text: str) -> None:
    opened = text.startswith("设</think>")
    assert share_of_words(text, script="chinese", opened=opened) == 1.0
    assert share_of_words(text, script="latin", opened=opened) == 0.0


def test_which_part_is_the_thought() -> None:
    assert share_of_words("before <think>two words", script="latin") == 1.0  # cut: to the end
    assert share_of_words("we 们 <think>两个</think>", script="latin") == 0.0
    assert share_of_words("two words 们", script="latin") == pytest.approx(2 / 3)  # no tag: all of it


@pytest.mark.parametrize("text", ["", "<think></think> good words", "17*23=391", "<think> 1 + x </think>"])
def test_a_thought_without_words_earns_nothing(text: str) -> None:
    assert share_of_words(text, script="latin") == 0.0


@given(st.lists(st.sampled_from(["sum", "two", "求", "и это", "수를", "\\cdot", "7"]), max_size=12))
def test_shares_of_all_scripts_add_up_to_one(words: list[str]) -> None:
    text, scripts = " ".join(words), ("latin", "chinese", "cyrillic", "korean")
    total = sum(share_of_words(text, script=script) for script in scripts)
    has_words = any(word not in ("\\cdot", "7") for word in words)
    assert total == pytest.approx(float(has_words))
