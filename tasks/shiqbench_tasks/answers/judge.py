"""A language model behind an OpenAI-compatible endpoint compares two answers, in both orders.

After L. Zheng et al. (2023), "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv 2306.05685: the verdict
stands in double brackets at the end, and each pair is judged with either answer first, since judges favour a place.
Every reply is kept in a file as it comes, so nothing is ever asked twice.
"""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pydantic import Field

from shiqbench.plugin import ConfigError, MissingDependencyError, Section, checked_content, checked_line, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from openai import OpenAI

INSTRUCTION = (
    "Compare two answers to a request: which one helps the user more? Judge correctness, relevance and clarity; "
    "neither the order nor the length of the answers counts. Explain in one or two sentences, then end with your "
    "verdict: [[A]] if the first is better, [[B]] if the second is, [[C]] for a tie."
)
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_PREFERENCE = {"A": 1.0, "B": 0.0, "C": 0.5}


class JudgeConfig(Section):
    """Who judges, and how patiently."""

    url: str = Field(description="base URL of an OpenAI-compatible endpoint, such as http://localhost:8000/v1")
    model: str = Field(description="its name there")
    key_variable: str = Field(
        default="OPENAI_API_KEY", description="environment variable with the key; where it is unset, none is sent"
    )
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=256, gt=0, description="tokens of a verdict")
    timeout: float = Field(default=60.0, gt=0, description="seconds for one request")
    retries: int = Field(default=4, ge=0, description="after a time-out, 408, 409, 429 or 5xx, with growing pauses")
    workers: int = Field(default=8, gt=0, description="requests at once")
    usd_per_million_prompt: float = Field(default=0.0, ge=0)
    usd_per_million_completion: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class Pair:
    """What is compared.

    Attributes:
        prompt: The request.
        ours: The answer whose wins are counted.
        theirs: The other one.
    """

    prompt: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Opinion:
    """What the judge said of one pair.

    Attributes:
        preference: Mean over the two orders of 1 where ours is better, 0 where theirs is, 0.5 for a tie; None where
            a reply failed or could not be read.
        orders: The same with ours first and with ours second; None for what failed.
        problems: Why, for each reply that failed.
    """

    preference: float | None
    orders: tuple[float | None, float | None]
    problems: tuple[str, ...] = ()

    @property
    def by_order(self) -> bool:
        """Whether the order of the answers decided."""
        return None not in self.orders and set(self.orders) == {0.0, 1.0}


class Judge:
    """Compares answers through an endpoint.

    Args:
        config: Who and how.
        kept: File with one reply a line; created where it is missing.
        progress: Called with (answered, total) replies.

    Raises:
        MissingDependencyError: The client is not installed.
    """

    def __init__(self, config: JudgeConfig, kept: Path, progress: Callable[[int, int], None] | None = None) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependencyError(
                "the judge's client is not installed", where="openai", do='pip install "shiqbench[judge]"'
            ) from error
        self.config, self._path, self._progress = config, kept, progress or (lambda done, total: None)
        self._client: OpenAI = openai.OpenAI(
            base_url=config.url,
            api_key=os.environ.get(config.key_variable) or "none",
            timeout=config.timeout,
            max_retries=config.retries,
        )
        self._lock = threading.Lock()
        self._replies = self._read()
        self.facts: dict[str, float] = dict.fromkeys(
            ("asked", "kept_before", "failed", "unreadable", "prompt_tokens", "completion_tokens", "usd"), 0.0
        )

    def check(self) -> None:
        """Ask the endpoint for its models, once and without patience.

        Raises:
            ConfigError: It refuses, is not there, or does not serve the model.
        """
        try:
            served = [m.id for m in self._client.with_options(max_retries=0, timeout=10.0).models.list()]
        except Exception as error:
            raise ConfigError(
                f"the judge's endpoint does not answer: {type(error).__name__}: {error}",
                where=f"judge {self.config.url}",
                do="start it, or mend the URL or the key",
            ) from error
        if self.config.model not in served:
            raise ConfigError(
                f"the judge's endpoint does not serve {self.config.model!r}, but {', '.join(served) or 'nothing'}",
                where=f"judge {self.config.url}",
                do="name one of them",
            )

    def compare(self, pairs: Sequence[Pair]) -> list[Opinion]:
        """Every pair in both orders; a failure is counted in ``facts`` and loses no other reply."""
        orders = [[self._request(p, swapped) for swapped in (False, True)] for p in pairs]
        requests = {key: messages for pair in orders for key, messages in pair}
        verdicts: dict[str, tuple[float | None, str]] = {}

        def judge(request: tuple[str, list[dict[str, str]]]) -> None:
            verdict = self._verdict(*request)
            with self._lock:
                verdicts[request[0]] = verdict
                self._progress(len(verdicts), len(requests))

        with ThreadPoolExecutor(self.config.workers) as pool:
            list(pool.map(judge, requests.items()))
        return [_opinion(verdicts[first], verdicts[second]) for (first, _), (second, _) in orders]

    def _request(self, pair: Pair, swapped: bool) -> tuple[str, list[dict[str, str]]]:
        messages = _messages(pair, swapped)
        return digest({**identity(self.config), "messages": messages}), messages

    def _verdict(self, key: str, messages: list[dict[str, str]]) -> tuple[float | None, str]:
        """Preference for the first answer, or None and why."""
        try:
            text = self._reply(key, messages)
        except Exception as error:  # whatever the client raises after its retries costs this reply alone
            self._count("failed", 1)
            return None, f"{type(error).__name__}: {error}"
        found = _VERDICT.findall(text)
        if not found:
            self._count("unreadable", 1)
            return None, f"no verdict in {text[-80:]!r}"
        return _PREFERENCE[found[-1]], ""

    def _reply(self, key: str, messages: list[dict[str, str]]) -> str:
        if key in self._replies:
            self._count("kept_before", 1)
            return self._replies[key]
        reply: Any = self._client.chat.completions.create(
            model=self.config.model,
            messages=messages,  # type: ignore[arg-type]
            temperature=self.config.temperature,
            max_tokens=self.config.max_tokens,
        )
        text: str = reply.choices[0].message.content or ""
        self._pay(reply.usage)
        self._keep(key, text)
        return text

    def _pay(self, usage: Any) -> None:
        prompt, completion = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        prices = self.config.usd_per_million_prompt, self.config.usd_per_million_completion
        self._count("asked", 1)
        self._count("prompt_tokens", prompt)
        self._count("completion_tokens", completion)
        self._count("usd", (prompt * prices[0] + completion * prices[1]) / 1e6)

    def _count(self, name: str, amount: float) -> None:
        with self._lock:
            self.facts[name] += amount

    def _keep(self, key: str, text: str) -> None:
        with self._lock:
            self._replies[key] = text
            with self._path.open("ab") as stream:
                stream.write(checked_line({"key": key, "text": text}))
                stream.flush()
                os.fsync(stream.fileno())

    def _read(self) -> dict[str, str]:
        """Replies that were kept; from the first damaged line on, such as one cut off by a kill, all are forgotten."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.is_file() else []
        rows = list(takewhile(lambda row: row is not None, map(checked_content, lines)))
        if len(rows) < len(lines):
            os.truncate(self._path, sum(map(len, lines[: len(rows)])))
        return {row["key"]: row["text"] for row in rows if row is not None}


def _messages(pair: Pair, swapped: bool) -> list[dict[str, str]]:
    first, second = (pair.theirs, pair.ours) if swapped else (pair.ours, pair.theirs)
    text = f"# Request\n{pair.prompt}\n\n# Answer A\n{first}\n\n# Answer B\n{second}"
    return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}]


def _opinion(ours_first: tuple[float | None, str], ours_second: tuple[float | None, str]) -> Opinion:
    first, swapped = ours_first[0], ours_second[0]
    second = None if swapped is None else 1 - swapped
    problems = tuple(text for _, text in (ours_first, ours_second) if text)
    preference = None if first is None or second is None else (first + second) / 2
    return Opinion(preference, (first, second), problems)


def identity(config: JudgeConfig) -> dict[str, Any]:
    """What enters an evaluation's digest: who judges and what it is told, not how patiently."""
    patience = {"timeout", "retries", "workers", "key_variable", "usd_per_million_prompt", "usd_per_million_completion"}
    return {"judge": config.model_dump(mode="json", exclude=patience), "instruction": INSTRUCTION}
