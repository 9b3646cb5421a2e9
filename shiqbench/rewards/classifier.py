"""classifier: a Hugging Face sequence classifier with one output is the reward.

The score of a conversation is the classifier's linear head on the last token of the answer's turn, which is what
``AutoModelForSequenceClassification`` computes for decoder models. A model with several outputs (ArmoRM's objectives),
or with its own code, is refused, because shiqbench would have to guess which output is the reward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shiqbench.base.errors import ConfigError
from shiqbench.base.files import read_json
from shiqbench.models.loading import load
from shiqbench.models.sources import find_model
from shiqbench.plugin.reward import RewardModel
from shiqbench.rewards.config import ClassifierConfig, EncoderConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.plugin.reward import Answered

WHERE = "task.reward.model"


class Classifier(RewardModel[ClassifierConfig]):
    """A reward model from a folder or a hub."""

    def identity(self) -> dict[str, Any]:
        """The identity of the model."""
        if not self.config.model:
            raise ConfigError("no model", where=WHERE, do="--set task.reward.model=FOLDER or a hub's org/name")
        return find_model(self.config.model).identity

    def fetch(self) -> None:
        """Get the model, and check its configuration and tokenizer."""
        from shiqbench.rewards import encoder

        folder = find_model(self.config.model).folder()
        check_one_score(folder)
        encoder.check(folder)

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """The logits of the classifier."""
        return classify(find_model(self.config.model).folder(), answered, self.config)


def check_one_score(folder: Path) -> None:
    """Refuse a model that is not a classifier with one output.

    Raises:
        ConfigError: The model is something else; the error names it.
    """
    config = read_json(folder / "config.json")
    kind = ", ".join(config.get("architectures") or ["of unknown kind"])
    if not kind.endswith("ForSequenceClassification"):
        raise ConfigError(
            f"the model is {kind}, not a sequence classifier", where=str(folder), do=f"set another {WHERE}"
        )
    outputs = len(config.get("id2label") or {0: "", 1: ""})  # if transformers writes nothing, there are two
    if outputs != 1:
        raise ConfigError(
            f"the classifier has {outputs} outputs, a reward model has one",
            where=str(folder),
            do=f"set another {WHERE}",
        )


def classify(folder: Path, answered: Sequence[Answered], config: EncoderConfig) -> list[float]:
    """Score answers with a classifier in a folder.

    Args:
        folder: Model folder in the transformers format, with a tokenizer and a chat template.
        answered: Answers to judge, with their conversations.
        config: Precision and batch size.

    Raises:
        ConfigError: The folder cannot be loaded, or the model has another kind of head.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from shiqbench.rewards import encoder

    try:
        model: Any = load(AutoModelForSequenceClassification, folder, encoder.dtype(config.precision))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot load the reward model: {error}", where=str(folder), do="check the folder") from error
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear) or head.out_features != 1:
        raise ConfigError(
            f"{type(model).__name__} has no linear head `score` with one output",
            where=str(folder),
            do="use a decoder model",
        )
    model = model.to(encoder.device()).eval()
    sequences = encoder.render_answers(folder, answered, int(model.config.max_position_embeddings))
    scores: dict[int, float] = {}
    with torch.inference_mode():
        for members in encoder.batches(sequences, config.batch_tokens):
            group = [sequences[i] for i in members]
            states_BD = encoder.at_end(encoder.hidden(model.base_model, group), group)
            scores.update(zip(members, head(states_BD)[:, 0].float().tolist(), strict=True))
    return [scores[i] for i in range(len(sequences))]
