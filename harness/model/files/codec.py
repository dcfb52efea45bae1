"""A model's tokenizer with its special tokens: how prompts begin, how texts end, the chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from harness.model.files.folder import chat_template, read_settings, special_tokens, with_content
from harness.records.published import checked
from harness.schema.prompts import CHAT

_ANSWER = "answer"


class Codec:
    """Text to token ids and back.

    `eos_token_ids` are all tokens that end an output: the generation configuration's, the configuration's,
    the tokenizer's, and the one that closes a turn in the chat template; the first is the one to write.
    `bos` is what the tokenizer's own post-processor puts before a text, most often [] or one token; what it
    puts behind a text is left out, since a prompt goes on. `num_rows` are the embedding's: no token lies
    beyond them. None: not known.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        names: dict[str, str],
        end: Sequence[int],
        chat: str | None,
        num_rows: int | None = None,
    ) -> None:
        self.tokenizer, self.names, self.chat, self.num_rows = tokenizer, names, chat, num_rows
        self.bos_token_id = self._id("bos_token")
        self.bos = _put_before(tokenizer)
        ends = [*end, self._id("eos_token"), self._turn_end()]
        self.eos_token_ids = tuple(dict.fromkeys(x for x in ends if x is not None))

    @classmethod
    @checked
    def from_folder(cls, folder: Path) -> Codec:
        """Load a folder's tokenizer.

        Raises ValueError if a file is damaged, none names the end token, or one that the model must read or
        write is not in its embedding.
        """
        files = [folder / name for name in ("generation_config.json", "config.json")]
        config = read_settings(files[1])
        codec = cls(
            read_tokenizer(folder),
            names=special_tokens(folder),
            end=[token for path in files for token in _end_tokens(path)],
            chat=chat_template(folder),
            num_rows=config.get("vocab_size"),
        )
        if not codec.eos_token_ids:
            raise ValueError(f"{folder}: no file there names an end token; add eos_token_id to config.json")
        codec._inside([*codec.eos_token_ids, *codec.bos], f"{folder}: a text begins or ends with it")
        return codec

    @property
    def fits(self) -> bool:
        """Whether every token of the vocabulary is in the embedding, so that no text can hold another."""
        return self.num_rows is None or max(self.tokenizer.get_vocab().values()) < self.num_rows

    def encode(self, text: str) -> list[int]:
        """Tokens of the text alone, without special tokens.

        Raises ValueError for half of a surrogate pair in the text, and for a token outside the embedding.
        """
        try:
            ids = list(self.tokenizer.encode(text, add_special_tokens=False).ids)
        except TypeError:
            at = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
            if at is None:
                raise
            raise ValueError(
                f"a text holds half of a surrogate pair ({at!r}), which is no character; remove it"
            ) from None
        self._inside(ids, f"text {text[:40]!r}")
        return ids

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

    def opens_thought(self, template: str) -> bool:
        """Whether prompts end with `<think>`, as R1's distilled models' do: the output goes on from it."""
        return template in CHAT and self.turn("1").rstrip().endswith("<think>")

    def turn(self, text: str) -> str:
        """The chat template's text for one user's message, up to where the assistant begins."""
        return self._chat([{"role": "user", "content": text}], True)

    def _chat(self, messages: list[dict[str, str]], open_turn: bool) -> str:
        from harness.model.files.chat import render

        assert self.chat is not None
        return render(self.chat, messages, open_turn=open_turn, names=self.names)

    def _inside(self, ids: Sequence[int], said: str) -> None:
        """Raises ValueError for a token outside the embedding."""
        if self.num_rows is not None and ids and not 0 <= min(ids) <= max(ids) < self.num_rows:
            worst = next(i for i in ids if not 0 <= i < self.num_rows)
            raise ValueError(
                f"{said}: token {worst} ({self.tokenizer.id_to_token(max(0, worst))}) is outside the "
                f"embedding of {self.num_rows} rows; use the tokenizer and settings of this model"
            )

    def _id(self, name: str) -> int | None:
        return self.tokenizer.token_to_id(self.names[name]) if name in self.names else None

    def _turn_end(self) -> int | None:
        """The special token that the chat template writes after an assistant's words."""
        if self.chat is None:
            return None
        said = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
        try:
            text = self._chat(said, False)
        except ValueError:  # it may refuse; whether it is needed is not known here
            return None
        special = {i for i, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        after = self.encode(text[text.rindex(_ANSWER) + len(_ANSWER) :]) if _ANSWER in text else []
        return next((i for i in after if i in special), None)


def read_tokenizer(folder: Path) -> Tokenizer:
    """A folder's tokenizer. Raises ValueError, which names the file, for one that is damaged."""
    path = with_content(folder / "tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library has no type of its own
        raise ValueError(f"{path} is no tokenizer ({error}); download it again") from None


def _put_before(tokenizer: Tokenizer) -> list[int]:
    """Tokens that the post-processor puts before a text: transformers 5 asks it alone, not add_bos_token."""
    found = tokenizer.encode("0")
    marks = [*found.special_tokens_mask, 0]
    return list(found.ids[: marks.index(0)])


def _end_tokens(path: Path) -> list[int]:
    """Token ids that a configuration says to end a text: one, several or none."""
    found = read_settings(path).get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(i) is int for i in ids):
        raise ValueError(f"{path}: eos_token_id is {str(found)[:40]}; give a token id or a list of them")
    return ids
