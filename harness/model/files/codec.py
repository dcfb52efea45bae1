"""A model's tokenizer with its special tokens: how prompts begin, how texts end, the chat template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from harness.model.files.source import chat_template
from harness.records.published import checked
from harness.schema.prompts import CHAT

_DATE = date(2024, 7, 26)  # what a template that asks for the day gets: a prompt is the same on any day
_ANSWER = "answer"


class Codec:
    """Text to token ids and back.

    `eos_token_ids` are all tokens that end an output: the generation configuration's, the configuration's,
    the tokenizer's, and the one that closes a turn in the chat template; the first is the one to write.
    `bos` is what a text begins with, [] or one token, as the tokenizer itself adds it.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, names: dict[str, str], end: Sequence[int], chat: str | None, bos: bool
    ) -> None:
        self.tokenizer, self.names = tokenizer, names
        self.chat = None if chat is None else _compile(chat)
        self.bos_token_id = self._id("bos_token")
        self.bos = [self.bos_token_id] if bos and self.bos_token_id is not None else []
        ends = [*end, self._id("eos_token"), self._turn_end()]
        self.eos_token_ids = tuple(dict.fromkeys(x for x in ends if x is not None))

    @classmethod
    @checked
    def from_folder(cls, folder: Path) -> Codec:
        """Load a folder's tokenizer. Raises ValueError if no file names the end token."""
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = _read(folder / "tokenizer_config.json")
        names = {k: _content(v) for k, v in settings.items() if k.endswith("_token") and v}
        end: list[int] = []
        for name in ("generation_config.json", "config.json"):
            found = _read(folder / name).get("eos_token_id")
            end += found if isinstance(found, list) else [] if found is None else [found]
        added = tokenizer.encode("").ids  # what the tokenizer's own post-processor puts around a text
        begins = bool(added) and added[0] == tokenizer.token_to_id(names.get("bos_token", ""))
        codec = cls(
            tokenizer,
            names=names,
            end=end,
            chat=chat_template(folder),
            bos=bool(settings.get("add_bos_token", begins)),
        )
        if not codec.eos_token_ids:
            raise ValueError(f"{folder}: no file there names an end token; add eos_token_id to config.json")
        return codec

    def encode(self, text: str) -> list[int]:
        """Tokens of the text alone, without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def prompt_ids(self, text: str, template: str) -> list[int]:
        """A rendered template's tokens, special ones included; ValueError for a chat without a template."""
        if template not in CHAT:
            return [*self.bos, *self.encode(text)]
        if self.chat is None:
            raise ValueError(
                f"template {template}: the model has no chat template; use boxed_answer or r1_zero"
            )
        return self.encode(self.turn(text))

    def turn(self, text: str) -> str:
        """The chat template's text for one user's message, up to where the assistant begins."""
        return self._chat([{"role": "user", "content": text}], True)

    def _chat(self, messages: list[dict[str, str]], open_turn: bool) -> str:
        assert self.chat is not None
        return str(self.chat.render(messages=messages, add_generation_prompt=open_turn, **self.names))

    def _id(self, name: str) -> int | None:
        return self.tokenizer.token_to_id(self.names[name]) if name in self.names else None

    def _turn_end(self) -> int | None:
        """The special token that the chat template writes after an assistant's words."""
        if self.chat is None:
            return None
        said = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
        try:
            text = self._chat(said, False)
        except Exception:  # a template may refuse; it is the model's text, run in a sandbox
            return None
        special = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        after = self.encode(text[text.rindex(_ANSWER) + len(_ANSWER) :]) if _ANSWER in text else []
        return next((i for i in after if i in special), None)


def _compile(source: str) -> Any:
    """A chat template in a sandbox, with the functions that templates of the hub call."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise ValueError(f"the chat template refuses: {message}")

    def as_json(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _DATE.strftime
    return environment.from_string(source)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _content(token: Any) -> str:
    """A special token as a string, or as the hub's record of an added token."""
    return str(token["content"] if isinstance(token, dict) else token)
