"""A template's text as token ids: encoded as a whole; special tokens that a content spells stay text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.template import Span


@dataclass(frozen=True)
class Encoded:
    """A text in tokens.

    Attributes:
        ids: Ids of the tokens.
        specials: (character, index in ``ids``) of every special token that the template wrote, ascending.
    """

    ids: list[int]
    specials: list[tuple[int, int]]

    def index_at(self, character: int) -> int | None:
        """Index of the template's special token that begins at a character, if there is one."""
        return next((index for at, index in self.specials if at == character), None)


class Encoder:
    """Encodes texts of one tokenizer.

    Args:
        tokenizer: A fast tokenizer of transformers.
        folder: Its folder, for errors.

    Raises:
        ConfigError: The tokenizer does not tell which characters a token covers.
    """

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        if not tokenizer.is_fast:
            raise ConfigError(
                "the tokenizer does not tell which characters a token covers",
                where=str(folder),
                do="add tokenizer.json, which AutoTokenizer.save_pretrained writes for most models",
            )
        self.tokenizer = tokenizer
        self.special_texts = {i: t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special}

    def encode(self, text: str, contents: Sequence[Span] = ()) -> Encoded:
        """Encode a text that the template wrote.

        Args:
            text: The text.
            contents: Where it has contents of messages.

        Raises:
            ConfigError: A content spells a special token, and the tokenizer cannot write it as text there.
        """
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = list(found["input_ids"])
        specials: list[tuple[int, int]] = []
        spelled: list[tuple[int, int]] = []
        for index, (token, (start, _)) in enumerate(zip(ids, found["offset_mapping"], strict=True)):
            if token in self.special_texts:
                at = text.index(self.special_texts[token], start)  # a token may also cover the blanks around it
                inside = any(a <= at < b for a, b in contents)
                (spelled if inside else specials).append((at, index))
        if not spelled:
            return Encoded(ids, specials)
        return self._with_spelled(text, ids, specials, spelled)

    def continuation(self, text: str) -> list[int]:
        """Encode a text that continues another one: some tokenizers put a blank before the beginning of a text.

        Special tokens that it spells stay text.
        """
        for before in ("a", "\n", "."):
            first, both = self._without_specials(before), self._without_specials(before + text)
            if both[: len(first)] == first:
                return both[len(first) :]
        return self._without_specials(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text; special tokens are written out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _with_spelled(
        self, text: str, ids: list[int], specials: list[tuple[int, int]], spelled: list[tuple[int, int]]
    ) -> Encoded:
        """Encode the pieces between the template's special tokens again, where a content spells a special token."""
        joined = Encoded([], [])
        starts = [(0, 0), *((at + len(self.special_texts[ids[i]]), i + 1) for at, i in specials)]
        ends = [*specials, (len(text), len(ids))]
        for (start, first), (end, last) in zip(starts, ends, strict=True):
            own = [(at - start, ids[i]) for at, i in spelled if start <= at < end]
            before = self.special_texts[ids[first - 1]] if first else ""
            joined.ids.extend(self._as_text(before, text[start:end], own) if own else ids[first:last])
            if last < len(ids):
                joined.specials.append((end, len(joined.ids)))
                joined.ids.append(ids[last])
        return joined

    def _as_text(self, before: str, piece: str, spelled: list[tuple[int, int]]) -> list[int]:
        harmless = piece
        for at, token in reversed(spelled):
            harmless = harmless[:at] + "x" + harmless[at + len(self.special_texts[token]) :]
        in_place = self.tokenizer(before + harmless, add_special_tokens=False)["input_ids"][1 if before else 0 :]
        if in_place != self._without_specials(harmless):
            token = self.special_texts[spelled[0][1]]
            raise ConfigError(
                f"a content spells {token}, which this tokenizer cannot write as text inside a conversation",
                where=repr(piece[max(0, spelled[0][0] - 20) :][:60]),
                do="remove it from the data",
            )
        return self._without_specials(piece)

    def _without_specials(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
