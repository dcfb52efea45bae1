from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import aime_gen
from harness.data.documents import data_config
from harness.model.files.tokenizer import (
    EOS_ID,
    EOS_TOKEN,
    PAD_ID,
    PAD_TOKEN,
    build_ladder_tokenizer,
    grammar_pieces,
    save_tokenizer,
)

TOKENIZER = build_ladder_tokenizer()
# Changes with the vocabulary, so with the grammar: then bases that were trained before are of no use.
GOLDEN_SHA256 = "1072461683568c66b01d1358005479b6687d58d0dd58af02a285923fe76634a9"

# Longest (statement, derivation) in tokens of a mini family at levels 1 and 2.
MINI = data_config("aime_gen_mini")
MINI_TOKENS = {1: (16, 43), 2: (16, 58)}


def tokens(text: str) -> list[str]:
    return TOKENIZER.encode(text).tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("17*23+5 mod 7", ["1", "7", "*", "2", "3", "+", "5", " mod ", "7"]),
        (r"396 mod 7=4;\boxed{4}", ["3", "9", "6", " mod ", "7", "=", "4", ";", r"\boxed{", "4", "}"]),
        ("gcd(12,6)=6", ["gcd(", "1", "2", ",", "6", ")=", "6"]),
        ("C(12,2)=66", ["C(", "1", "2", ",", "2", ")=", "6", "6"]),
        ("Find the remainder when $2", ["Find", " the", " remainder", " when", " $", "2"]),
        ("é", ["<0xC3>", "<0xA9>"]),
        ("<0x41>", ["<", "0", "x", "4", "1", ">"]),  # the name of a byte piece is text like any other
    ],
)
def test_texts_are_cut_into_the_fewest_pieces(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text(" 0aZ<>x\\{}\n\t😀é中"))
def test_any_text_round_trips(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["👩‍👩‍👧 ½ é\r\n", "a  b   c", "<0x0A>", "", " ", "\x00\x7f", "∑_{k=1}^{n}"])
def test_hard_texts_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text


def test_specials_are_single_and_never_added() -> None:
    assert (TOKENIZER.token_to_id(PAD_TOKEN), TOKENIZER.token_to_id(EOS_TOKEN)) == (PAD_ID, EOS_ID) == (0, 1)
    assert TOKENIZER.encode(f"4}}{EOS_TOKEN}").ids[-1] == EOS_ID
    assert not {PAD_ID, EOS_ID} & set(TOKENIZER.encode("2+2=4").ids)


def test_no_piece_holds_two_digits() -> None:
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    assert set(names) <= set(TOKENIZER.get_vocab())
    pieces = set(TOKENIZER.get_vocab()) - set(names)
    assert {piece for piece in pieces if any(c.isdigit() for c in piece)} == set("0123456789")


def test_generated_problems_need_no_bytes_and_no_padding() -> None:
    for family in aime_gen.FAMILIES:
        for level in aime_gen.FAMILIES[family].levels:
            for seed in range(1000, 1010):
                instance = aime_gen.generate(family, level, seed)
                done = aime_gen.completion(instance.steps, instance.answer)
                for text in (instance.text, instance.terse, done):
                    assert min(TOKENIZER.encode(text).ids) >= 2 + 256, text


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("family", [*MINI.families, *MINI.heldout_families])
def test_mini_problems_are_short(family: str, level: int) -> None:
    for seed in range(100):
        instance = aime_gen.generate(family, level, seed)
        assert len(tokens(instance.terse)) <= MINI_TOKENS[level][0]
        assert len(tokens(aime_gen.completion(instance.steps, instance.answer))) <= MINI_TOKENS[level][1]


def test_the_vocabulary_is_the_committed_one() -> None:
    assert grammar_pieces() == tuple(sorted(set(grammar_pieces())))
    ids = sorted((index, piece) for piece, index in TOKENIZER.get_vocab().items())
    assert hashlib.sha256(json.dumps(ids).encode()).hexdigest() == GOLDEN_SHA256, (
        f"{len(ids)} pieces: raise TOKENIZER_VERSION"
    )


def test_transformers_reads_the_saved_folder_with_the_same_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save_tokenizer(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.pad_token_id, loaded.eos_token_id, len(loaded)) == (
        PAD_ID,
        EOS_ID,
        TOKENIZER.get_vocab_size(),
    )
    texts = [aime_gen.generate(f, n, 0).text for f, kind in aime_gen.FAMILIES.items() for n in kind.levels]
    for text in [*texts, r"17*23=391;\boxed{391}", "<0x41> é 😀  x ,y . n't", f"a{EOS_TOKEN}", "\n\n"]:
        ids = loaded(text)["input_ids"]
        assert ids == TOKENIZER.encode(text).ids
        assert loaded.decode(ids) == text
