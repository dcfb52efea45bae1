"""Tokenizer folders through transformers and through our codec: equal token ids, equal texts of chats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from harness.model.files.codec import Codec
from harness.schema.prompts import TEMPLATES, render

TEXTS = ["What is 12 + 30?", "Two lines.\n\n  spaces, “quotes” {braces} é 田中 😀", "x<|end|>y<s>", ""]
SPECIAL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]
CORPUS = ["What is 12 + 30? The answer is 42, and two plus two is 4.", "lines of words “quoted” {x}"] * 9
BOS = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
OTHER_FIRST = processors.TemplateProcessing(
    single="<|user|> <s> $A", special_tokens=[("<|user|>", 2), ("<s>", 0)]
)
BYTES = processors.ByteLevel(trim_offsets=False)

# Post-processor, settings of tokenizer_config.json, other files.
FOLDERS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "no first token": (None, {}, {}),
    "bytes alone, as Qwen's": (BYTES, {}, {}),
    "a first token": (BOS, {}, {}),
    "bytes, then a first token, as Llama 3's": (processors.Sequence([BYTES, BOS]), {}, {}),
    "a first token, add_bos_token false": (BOS, {"add_bos_token": False}, {}),
    "no first token, add_bos_token true": (None, {"add_bos_token": True}, {}),
    "bytes alone, add_bos_token true": (BYTES, {"add_bos_token": True}, {}),
    "two first tokens, of which one is bos": (OTHER_FIRST, {}, {}),
    "specials of an old folder's own map": (
        BOS,
        {"bos_token": None, "eos_token": None},
        {"special_tokens_map.json": {"bos_token": "<s>", "eos_token": {"content": "</s>"}}},
    ),
}


def write_tokenizer(folder: Path, name: str, chat: str | None = None) -> Path:
    """Save a byte-level BPE tokenizer, trained on a few words."""
    processor, settings, others = FOLDERS[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if processor is not None:
        tokenizer.post_processor = processor
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"} | settings
    said = {k: v for k, v in said.items() if v is not None} | (
        {} if chat is None else {"chat_template": chat}
    )
    for file, values in {"tokenizer_config.json": said, "config.json": {"eos_token_id": 1}, **others}.items():
        (folder / file).write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_token_ids_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, name)
    theirs, ours = AutoTokenizer.from_pretrained(folder), Codec.from_folder(folder)
    for text in TEXTS:
        assert ours.prompt_ids(text, "question") == list(theirs(text)["input_ids"]), text
        assert ours.encode(text) == list(theirs(text, add_special_tokens=False)["input_ids"]), text
        assert ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text), skip_special_tokens=True)
    for special in ("bos_token", "eos_token"):
        assert ours.names.get(special) == getattr(theirs, special)


def test_what_a_tokenizer_puts_behind_a_text_is_left_out(tmp_path: Path) -> None:
    """A deviation from transformers: a prompt goes on, so it does not end."""
    folder = write_tokenizer(tmp_path, "a first token")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(folder)("12")["input_ids"]
    assert [*Codec.from_folder(folder).prompt_ids("12", "question"), 1] == list(theirs)


MESSAGES = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
CHATS = {
    "plain": "{{ bos_token }}" + MESSAGES + "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>"
        "{% endgeneration %}{% else %}<|user|>{{ m.content }} {{ loop.index }}{{ loop.last }}{% endif %}"
        "{% endfor %}{%- generation -%} x {%- endgeneration -%} y"
    ),
    "generation is a scope of its own": (
        "{% set x = 'a' %}{% generation %}{% set x = 'b' %}{{ x }}{% endgeneration %}{{ x }}"
    ),
    "tools is not none": "{% if tools is not none %}tools{% endif %}{% if not tools %}none{% endif %}"
    + MESSAGES,
    "tools is defined": "{% if tools is defined %}tools{% endif %}" + MESSAGES,
    "documents": "{% if documents is defined %}a{% endif %}{% if documents is none %}b{% endif %}" + MESSAGES,
    "tojson": (
        "{{ {'b': 1, 'a': '<é>'} | tojson }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}"
        "{{ [1, 2] | tojson(separators=(',', ':')) }}{{ 'é' | tojson(ensure_ascii=true) }}"
        "{{ [1] | tojson(indent=2) }}{{ 'é' | tojson(true) }}"
    ),
    "loop controls and white space": (
        "{%- for m in messages -%}\n  {%- if loop.first and m.role == 'system' %}{% continue %}{% endif %}\n"
        "  {{ m.content | trim }}\n  {% if loop.length > 0 %}{% break %}{% endif %}\n{%- endfor %}\n\nend\n"
    ),
    "filtered loop, macro, namespace": (
        "{% macro say(x) %}[{{ x }}]{% endmacro %}{% set ns = namespace(n=0) %}"
        "{% for m in messages if m.role == 'user' %}{{ say(m.content) }}{% set ns.n = ns.n + 1 %}"
        "{{ loop.length }}{% else %}nobody{% endfor %}{{ ns.n }}{{ '-' * 3 }}{{ 2 ** 3 * 2 }}"
    ),
    "undefined names": "{{ unk_token }}|{{ pad_token }}|{{ eos_token }}|{{ add_bos_token }}" + MESSAGES,
}


@pytest.mark.parametrize("name", CHATS)
def test_chats_are_rendered_as_transformers_renders_them(name: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, "a first token, add_bos_token false", chat=CHATS[name])
    theirs, ours = AutoTokenizer.from_pretrained(folder), Codec.from_folder(folder)
    for text in TEXTS:
        for template in TEMPLATES:
            text = render(text, template)
            said = [{"role": "user", "content": text}]
            expected = theirs.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
            assert ours.turn(text) == expected
        ids = theirs.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
        assert ours.prompt_ids(text, "chat") == list(ids)
    chat = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    assert ours._chat(chat, False) == theirs.apply_chat_template(chat, tokenize=False)
