"""Tokenizer and embedding of one model must have the same tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def check_vocabulary(tokenizer: Any, rows: int, folder: Path) -> None:
    """Refuse a tokenizer with tokens that the embedding does not have.

    Args:
        tokenizer: Tokenizer of transformers. A token that is only for padding may be missing: no sequence contains it.
        rows: Number of rows of the embedding.
        folder: Model folder, for the message.

    Raises:
        ConfigError: There are such tokens.
    """
    vocabulary = tokenizer.get_vocab()
    padding = {tokenizer.pad_token} - {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token}
    unknown = sorted((i, text) for text, i in vocabulary.items() if i >= rows and text not in padding)
    if unknown:
        raise ConfigError(
            f"the tokenizer has {len(vocabulary)} tokens and the embedding {rows} rows: "
            f"none for {len(unknown)} tokens, such as {unknown[0][1]!r}",
            where=str(folder),
            do="put the model's own tokenizer into the folder, or resize its embedding (resize_token_embeddings)",
        )
