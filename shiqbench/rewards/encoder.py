"""Hidden states of the answers in conversations, from a causal backbone, one batch at a time.

Rows are padded on the right without a mask: under causal attention no real token sees a pad.

Legend: B answers of a forward pass, T tokens, D hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.base.progress import counting
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.rendering import Renderer
from shiqbench.models.vocabulary import check_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from shiqbench.episodes.rendering import TokenSequence
    from shiqbench.plugin.reward import Answered


def device() -> torch.device:
    """The device that an engine uses too."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype(precision: str) -> torch.dtype:
    """The dtype of weights and activations."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def check(folder: Path) -> None:
    """Refuse a model that cannot read conversations; only its files are read.

    Raises:
        ConfigError: The model has no tokenizer or chat template, or its tokenizer has tokens that it does not know.
    """
    check_vocabulary(Renderer(folder).tokenizer, int(read_json(folder / "config.json")["vocab_size"]), folder)


def render_answers(folder: Path, answered: Sequence[Answered], longest: int) -> list[TokenSequence]:
    """Render each conversation with its answer by the model's own chat template, up to the end of the answer's turn.

    Args:
        folder: Model folder.
        answered: Answers with their conversations.
        longest: Largest number of tokens that the model can read.

    Raises:
        ConfigError: A conversation is longer; no conversation is cut.
    """
    renderer = Renderer(folder)
    found = []
    for number, each in enumerate(answered):
        messages = (*each.prompt, Message("assistant", each.answer, action=True))
        sequence = renderer.render(Episode(str(number), "", "", messages)).sequences[-1]
        if len(sequence.ids) > longest:
            raise ConfigError(
                f"a conversation has {len(sequence.ids)} tokens, the reward model reads {longest}",
                where=f"{each.prompt[-1].content[:40]!r}...",
                do="use another reward model, or remove long prompts",
            )
        found.append(sequence)
    return found


def batches(sequences: Sequence[TokenSequence], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of sequences that share a forward pass and have similar lengths; one sequence always fits.

    Shows how many are done.
    """
    found = list(_groups(sequences, batch_tokens))
    yield from counting(found, "reward model", len(found))


def _groups(sequences: Sequence[TokenSequence], batch_tokens: int) -> Iterator[list[int]]:
    group: list[int] = []
    for i in sorted(range(len(sequences)), key=lambda i: (len(sequences[i].ids), sequences[i].ids)):
        if group and (len(group) + 1) * len(sequences[i].ids) > batch_tokens:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def hidden(body: Any, sequences: Sequence[TokenSequence]) -> Tensor:
    """Final hidden states, [B, T, D]."""
    where = next(body.parameters()).device
    ids_BT = torch.zeros(len(sequences), max(len(s.ids) for s in sequences), dtype=torch.long)
    for row, s in enumerate(sequences):
        ids_BT[row, : len(s.ids)] = torch.tensor(s.ids)
    states: Tensor = body(input_ids=ids_BT.to(where), use_cache=False).last_hidden_state
    return states


def at_end(states_BTD: Tensor, sequences: Sequence[TokenSequence]) -> Tensor:
    """The state of each conversation's last token, [B, D]."""
    last = torch.tensor([len(s.ids) - 1 for s in sequences], device=states_BTD.device)
    return states_BTD[torch.arange(len(sequences), device=states_BTD.device), last]


def features(states_BTD: Tensor, sequences: Sequence[TokenSequence]) -> Tensor:
    """The mean state of each answer's tokens, followed by the state of its last token, [B, 2 D], fp32."""
    means = [states_BTD[row, list(s.actions)].float().mean(0) for row, s in enumerate(sequences)]
    return torch.cat([torch.stack(means), at_end(states_BTD, sequences).float()], dim=1)
