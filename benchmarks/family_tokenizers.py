"""Small tokenizers of the two kinds that language models use: pieces of bytes, and pieces of text with a space mark.

They split text as the real ones do, with a vocabulary of a few hundred tokens: single characters, and some words that
join characters across the border of template and content (line breaks, spaces, brackets).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

WORDS = (
    *(" the", " hi", "hi", "yes", " yes", "no", " no", " user", "user", " assistant", "assistant", "system", "tool"),
    *(" there", " think", "think", " more", "more", " is", " a", " of", " to", " you", " are", " function", "name"),
    *("\n\n", "\n\n\n", "  ", "    ", ".\n", ".\n\n", ">\n", '":', '{"', '"}', "}\n", " INST", "[/", " [", "]\n"),
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT2 = None  # the expression that the byte-level splitter has itself


@dataclass(frozen=True)
class Tokens:
    """A family's tokenizer.

    Attributes:
        special: Special tokens; the first one is the unknown token.
        bos: Token that begins a conversation; None if the family has none.
        eos: Token that ends a sequence.
        plain: Tokens that are added to the vocabulary but are not special.
        kind: ``bytes``; ``gemma``, which marks spaces; or ``llama``, which also writes a space before each text.
        split: Regular expression that splits text first, for ``bytes``.
        strip_after: Special tokens that swallow the blanks after them.
    """

    special: tuple[str, ...]
    bos: str | None
    eos: str
    plain: tuple[str, ...] = ()
    kind: str = "bytes"
    split: str | None = LLAMA3
    strip_after: tuple[str, ...] = ()


def write_tokenizer(tokens: Tokens, template: str, folder: Path) -> Any:
    """Write a tokenizer with a chat template into a folder, and return it."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokenizer = _bytes(tokens) if tokens.kind == "bytes" else _marked_spaces(tokens)
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, rstrip=t in tokens.strip_after) for t in tokens.special]
    )
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in tokens.plain])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens.bos,
        eos_token=tokens.eos,
        pad_token=tokens.eos,
        unk_token=tokens.special[0],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    return fast


def _merges(vocabulary: dict[str, int], words: list[str]) -> list[tuple[str, str]]:
    """Return rules that join the characters of each word from the left; add their results to the vocabulary."""
    merges = {}
    for word in words:
        for end in range(1, len(word)):
            if word[: end + 1] not in merges:
                merges[word[: end + 1]] = (word[:end], word[end])
                vocabulary.setdefault(word[: end + 1], len(vocabulary))
    return list(merges.values())


def _bytes(tokens: Tokens) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*tokens.special, *alphabet])}
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merges = _merges(vocabulary, [whole.pre_tokenize_str(word)[0][0] for word in WORDS])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = (
        pre_tokenizers.ByteLevel(add_prefix_space=False)
        if tokens.split is GPT2
        else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(tokens.split), "isolated"), whole])
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _marked_spaces(tokens: Tokens) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    characters = [chr(c) for c in range(33, 127)] + ["▁", "\n"]
    vocabulary = {t: i for i, t in enumerate([*tokens.special, *(f"<0x{b:02X}>" for b in range(256)), *characters])}
    merges = _merges(vocabulary, [word.replace(" ", "▁") for word in WORDS])
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=tokens.special[0], fuse_unk=True, byte_fallback=True)
    )
    parts: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    mark = normalizers.Replace(" ", "▁")
    if tokens.kind == "llama":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), mark])
        parts.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.normalizer = mark
    tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer
