"""Chats with a model that a server has: messages out, text back; every reply is kept in a file as it comes."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError, RunError
from shiqbench.base.files import checked_content, checked_line
from shiqbench.episodes.generation import ChatGenerator, text_reply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench.episodes.episode import Message
    from shiqbench.episodes.generation import ChatEngine, Reply, Sampling


class AtServer:
    """Stands for what only the server has; every use of it is refused by name.

    Args:
        what: What is missing.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __getattr__(self, name: str) -> NoReturn:
        self()

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise ConfigError(
            f"this needs {self.what}, which a served model does not give",
            where="--engine",
            do="use an engine that loads the model's weights",
        )


TOKENS = "token ids, the tokenizer or the chat template"
LOGPROBS = "log-probabilities"


class ServedChat(ChatGenerator):
    """Answers conversations through a server.

    A reply in the file is not asked for again, so a killed evaluation goes on where it was, and costs nothing twice.

    Args:
        engine: The engine that asks the server.
        max_context: The configured limit. The server has its own; a prompt that it refuses as too long has no message.
        kept: File with one reply per line; the caller removes it when it is not needed any more.
        identity: Everything that the answers depend on except messages and sampling. A file with another identity is
            discarded as a whole.
    """

    served: ClassVar[bool] = True

    def __init__(self, engine: ChatEngine, max_context: int, kept: Path, identity: str) -> None:
        super().__init__(cast(Any, AtServer(f"{TOKENS} or {LOGPROBS}")), cast(Any, AtServer(TOKENS)), max_context)
        self.engine, self._path = engine, kept
        self._replies: dict[str, Reply] = {}
        self._prompt_tokens = self._tokens = 0
        self._read(checked_line({"identity": identity}))
        self._found = len(self._replies)

    def _read(self, header: bytes) -> None:
        """Read the replies that were kept, up to the first damaged line."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.is_file() else []
        if not lines or lines[0] != header:
            self._path.write_bytes(header)
            return
        rows = list(takewhile(lambda row: row is not None, map(checked_content, lines[1:])))
        os.truncate(self._path, sum(map(len, lines[: 1 + len(rows)])))
        for row in filter(None, rows):
            key, text = row.pop("key"), row.pop("text")
            self._remember(key, text_reply(text, **row))

    def _remember(self, key: str, reply: Reply) -> None:
        self._replies[key] = reply
        self._prompt_tokens += reply.prompt_tokens
        self._tokens += reply.tokens

    def within(self, max_context: int) -> ServedChat:
        """The same: the server's limit is its own."""
        return self

    def prompt_tokens(self, conversation: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> int:
        """Return 0: only the server knows."""
        return 0

    def reply(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling,
        tools: Sequence[Sequence[dict[str, Any]]] | None = None,
    ) -> list[Reply]:
        """Answer each conversation with one assistant message, which has a text and no ids.

        Raises:
            ConfigError: Tools are offered, no prompt fits the server's context, or the server refuses a request.
            EngineError: The server fails.
            RunError: The evaluation costs more than it may.
        """
        if any(tools or ()) or any(m.tools for c in conversations for m in c):
            AtServer("tools in the chat template")()
        seeds = [sampling.seed_of(i) for i in range(len(conversations))]
        keys = [_key(c, sampling, seed) for c, seed in zip(conversations, seeds, strict=True)]
        missing = [i for i, key in enumerate(keys) if key not in self._replies]
        if missing:
            self._check_cost()
            asked = self.engine.chat([conversations[i] for i in missing], sampling, [seeds[i] for i in missing])
            with closing(asked):
                for at, reply in asked:
                    self._keep(keys[missing[at]], reply)
                    self._check_cost()
        found = [self._replies[key] for key in keys]
        self.counts["answers"] += sum(r.message is not None for r in found)
        self.counts["thoughts"] += sum(bool(r.thought) for r in found)
        if found and not self.counts["answers"]:
            raise ConfigError(
                f"none of {len(found)} prompts and {sampling.max_tokens} tokens of answer fits the server's context",
                where="eval.max_tokens",
                do="lower it, or let the server have a longer context",
            )
        return found

    def _keep(self, key: str, reply: Reply) -> None:
        text = None if reply.message is None else reply.message.content
        self._remember(key, reply)
        numbers = {"prompt_tokens": reply.prompt_tokens, "tokens": reply.tokens, "cut": reply.cut}
        with self._path.open("ab") as stream:
            stream.write(checked_line({"key": key, "text": text, "thought": reply.thought, **numbers}))
            stream.flush()
            os.fsync(stream.fileno())

    def _check_cost(self) -> None:
        usd, most = self.engine.usd(self._prompt_tokens, self._tokens), self.engine.max_usd
        if most is not None and usd >= most:
            raise RunError(
                f"the evaluation has cost {usd:.2f} USD, and it may cost {most:g} (engine.max_usd)",
                where=self.engine.name,
                do="raise it and run the same command: the replies are kept",
            )

    def facts(self) -> dict[str, Any]:
        """Return replies, tokens and cost of the whole evaluation, for the manifest."""
        return {
            "replies": len(self._replies),
            "kept_before": self._found,
            "prompt_tokens": self._prompt_tokens,
            "generated_tokens": self._tokens,
            "usd": self.engine.usd(self._prompt_tokens, self._tokens),
        }


def _key(conversation: Sequence[Message], sampling: Sampling, seed: int) -> str:
    messages = [[m.role, m.content, m.extra] for m in conversation]
    return digest([messages, sampling.max_tokens, sampling.temperature, sampling.top_p, seed])
