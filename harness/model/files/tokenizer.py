r"""The tokenizer of the from-scratch ladder, built from the grammar of the generated problems.

A Unigram model in which every ordinary piece costs about the same, so that a text is cut into the fewest
pieces: single digits (never a number), single printable ASCII characters, words with their leading space,
the phrases between the numbers of terse statements, and `\boxed{`. Everything else falls back to bytes. No
special token is ever added to a text: the prompt template decides.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.families.instance import FAMILIES, TOKENIZED, generate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_VERSION = 1  # part of what a base is: raise it with any change to the pieces or their order
PAD_TOKEN, EOS_TOKEN = "<pad>", "<eos>"
PAD_ID, EOS_ID = 0, 1

# What derivations are written with (harness.data.families.family.Derivation), besides single characters.
DERIVATION_PIECES = (" mod ", "gcd(", "C(", ")=", "!=", r"\boxed{")

_PROBLEMS_PER_CELL = 24  # statements looked at for the words of a family at a level
_WORD = re.compile(r" ?\\?[A-Za-z]+| [-+=] | ?[^A-Za-z0-9 ]+")
_ASCII = tuple(map(chr, range(32, 127)))
_BYTE_SCORE = -1000.0  # far below any spelling in ordinary pieces, so that a literal "<0x41>" stays text


@cache
def grammar_pieces() -> tuple[str, ...]:
    """The pieces longer than one character, sorted: what the statements of its families are made of."""
    pieces = set(DERIVATION_PIECES)
    for family in TOKENIZED:
        for level in FAMILIES[family].levels:
            for seed in range(_PROBLEMS_PER_CELL):
                instance = generate(family, level, seed)
                pieces.update(re.split(r"\d+", instance.terse))
                pieces.update(_WORD.findall(instance.text))
    return tuple(sorted(piece for piece in pieces if len(piece) > 1))


def build_ladder_tokenizer() -> Tokenizer:
    """A `tokenizers.Tokenizer`: ids are <pad> 0, <eos> 1, the 256 bytes, newline, ASCII, then the grammar."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocab = [(PAD_TOKEN, _BYTE_SCORE), (EOS_TOKEN, _BYTE_SCORE)]
    vocab += [(f"<0x{byte:02X}>", _BYTE_SCORE) for byte in range(256)]
    vocab += [(piece, _score(piece)) for piece in ("\n", *_ASCII, *grammar_pieces())]
    # Unigram asks for an unknown id, but with all 256 bytes at hand it is never given out.
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=PAD_ID, byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in (PAD_TOKEN, EOS_TOKEN)]
    )
    return tokenizer


def _score(piece: str) -> float:
    """Score a piece so that the fewest pieces win, then the cut with the longest piece."""
    return -1.0 + 1e-5 * len(piece) ** 2


def save_tokenizer(folder: str | Path) -> None:
    """Writes what `transformers.AutoTokenizer.from_pretrained(folder)` needs; it gives the same ids."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    build_ladder_tokenizer().save(str(folder / "tokenizer.json"))
    specials = {"eos_token": EOS_TOKEN, "pad_token": PAD_TOKEN}
    config = {
        **specials,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
