r"""bradley_terry and bradley_terry_full: reward models trained here, on the task's own training pairs.

$$ L = - \sum_{(w, l)} \ln \sigma(r(w) - r(l)) + \frac{\lambda}{2} \|u\|^2 $$

``bradley_terry``: r is linear in frozen features of a language model: the state after a middle layer, averaged over
the answer's tokens, and that of its last token, both standardised; u are its weights. The problem is convex and solved
to convergence in seconds, so the cost is one forward pass of some of the layers over a limited number of pairs.
``bradley_terry_full``: the whole backbone and a linear head on the last token are trained, without the penalty.
Both are kept in the user cache under the digest of settings, weights and pairs.

Bradley and Terry (1952), Biometrika 39, 324-345; as a reward for language models Ouyang et al. 2022, arXiv 2203.02155.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from shiqbench.base.cache import cache_dir, is_sealed, locked, say, seal
from shiqbench.base.digest import digest, short
from shiqbench.base.files import read_json, replacing_folder, write_json
from shiqbench.models.sources import find_model
from shiqbench.plugin.reward import Answered, Pair, RewardModel
from shiqbench.rewards.config import BradleyTerryConfig, BradleyTerryFullConfig, PairsConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.episode import Message

P = TypeVar("P", bound=PairsConfig)
VERSION = 1  # of the results in the cache
HEAD = "head.json"


class Trained(RewardModel[P]):
    """A reward model that is trained on pairs once; the result is kept in a folder."""

    trains: ClassVar[bool] = True
    kind: ClassVar[str]

    def __init__(self, config: P) -> None:
        super().__init__(config)
        self._folder: Path | None = None
        self._facts: dict[str, Any] = {}

    @property
    def source(self) -> Path:
        """The language model's folder."""
        return find_model(self.config.model).folder()

    @property
    def folder(self) -> Path:
        """The folder with the result of the training."""
        if self._folder is None:
            raise RuntimeError(f"{self.kind} must be fitted first")
        return self._folder

    def identity(self) -> dict[str, Any]:
        """The identity of the language model."""
        return find_model(self.config.model).identity

    def fetch(self) -> None:
        """Get the language model, and check its tokenizer."""
        from shiqbench.rewards import encoder

        encoder.check(self.source)

    def learns_from(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The first ``config.pairs``."""
        return pairs[: self.config.pairs]

    def fit(self, pairs: Sequence[Pair]) -> None:
        """Train on the first ``config.pairs`` pairs, or take the result for the same pairs from the cache."""
        used = list(self.learns_from(pairs))
        recipe = {
            "kind": self.kind,
            "version": VERSION,
            "config": self.config.deciding(),
            "model": self.identity(),
            "pairs": digest([[[_said(m) for m in p.prompt], p.better, p.worse] for p in used]),
        }
        identity = digest(recipe)
        self._folder = cache_dir() / "rewards" / f"{self.kind}-{short(identity)}"
        self._facts = {"pairs": len(used), "pairs_offered": len(pairs), "folder": self._folder.name}
        with locked(self._folder):
            if is_sealed(self._folder, identity):
                return
            say(f"training {self.kind} on {len(used)} pairs, once", None)
            with replacing_folder(self._folder) as folder:
                self.train(used, folder)
                seal(folder, identity)

    @abstractmethod
    def train(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Train, and write the result into an empty folder; the result is the same every time."""

    def facts(self) -> dict[str, Any]:
        """The number of training pairs, and the name of the folder in the cache."""
        return self._facts


def _said(message: Message) -> tuple[Any, ...]:
    """What a reward model reads of a message."""
    return (message.role, message.content, *([message.extra] if message.extra else []))


class BradleyTerry(Trained[BradleyTerryConfig]):
    """A linear head on frozen features."""

    kind = "bradley_terry"

    def train(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Compute features, and solve for the head."""
        from shiqbench.rewards.head import fit_head, frozen_features

        answers = [Answered(p.prompt, a) for p in pairs for a in (p.better, p.worse)]
        write_json(folder / HEAD, fit_head(frozen_features(self.source, answers, self.config), self.config.l2))

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """Differences are logits of being preferred."""
        from shiqbench.rewards.head import apply, frozen_features

        return apply(read_json(self.folder / HEAD), frozen_features(self.source, answered, self.config))


class BradleyTerryFull(Trained[BradleyTerryFullConfig]):
    """A whole language model with a linear head."""

    kind = "bradley_terry_full"

    def train(self, pairs: Sequence[Pair], folder: Path) -> None:
        """Fine-tune a sequence classifier."""
        from shiqbench.rewards.backbone import train

        train(self.source, pairs, self.config, folder)

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """Differences are logits of being preferred."""
        from shiqbench.rewards.classifier import classify

        return classify(self.folder, answered, self.config)
