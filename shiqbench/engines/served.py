"""A model behind an OpenAI-compatible URL, asked through its chat completions.

The server renders the conversation with its own template and returns text. The client of the package ``openai`` asks
again after time-outs, lost connections, 408, 409, 429 and 5xx: after the pause that ``Retry-After`` names, or growing
ones.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from shiqbench.base.errors import ConfigError, EngineError
from shiqbench.base.suggest import did_you_mean
from shiqbench.episodes.generation import text_reply

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from shiqbench.engines.config import ServedConfig
    from shiqbench.episodes.episode import Message
    from shiqbench.episodes.generation import Reply, Sampling

PROBE_SECONDS = 20.0  # for a question about the server itself
NAMED = 5  # models of the server that a message names
TOO_LONG = re.compile(r"context_length|context.?(length|size|window)|max_model_len", re.IGNORECASE)


class ServedEngine:
    """Asks a server.

    Args:
        config: Where the server is, and how it is asked.
        model: The model's name at the server.

    Raises:
        ConfigError: The URL, the key or the model's name is wrong, or the server does not answer.
    """

    name = "served"

    def __init__(self, config: ServedConfig, model: str | None) -> None:
        self.config, self.url, self.max_usd = config, _checked_url(config.url), config.max_usd
        self._key = _key(config.key_variable)
        self._client = openai.OpenAI(
            base_url=self.url,
            api_key=self._key or "none",
            timeout=config.timeout,
            max_retries=config.retries,
            http_client=openai.DefaultHttpxClient(
                event_hooks={"request": [self._drop_placeholder], "response": [self._note]}
            ),
        )
        self._lock = threading.Lock()
        self._free_at = 0.0  # the next request may start then
        self._counts: Counter[str] = Counter()
        self._answered_by: Counter[str] = Counter()  # what replies say about the model
        try:
            entry = self._entry(model)
            self.version = self._version(str(entry.get("owned_by") or "server"))
        except BaseException:
            self.close()
            raise
        self.model = str(entry["id"])
        self.identity: Mapping[str, Any] = {"served": self.model, "url": self.url}
        if entry.get("root") not in (None, self.model):  # vllm: the folder or hub name that was loaded
            self.identity = {**self.identity, "root": entry["root"]}

    # -- the server -----------------------------------------------------------------------------------------

    def _entry(self, model: str | None) -> dict[str, Any]:
        """What the server says about the model."""
        try:
            listed = self._get(f"{self.url}/models")
            models = {str(m["id"]): m for m in listed["data"]}
        except (TypeError, KeyError) as error:
            raise ConfigError(
                "the server's list of models is not that of an OpenAI-compatible server",
                where=f"{self.url}/models",
                do="set engine.url to its base URL, which often ends with /v1",
            ) from error
        if model in models:
            return dict(models[str(model)])
        named = ", ".join(sorted(models)[:NAMED]) + (f" and {len(models) - NAMED} more" if len(models) > NAMED else "")
        asked = f"does not serve {model!r}{did_you_mean(model, models)}" if model else "is asked for no model"
        raise ConfigError(f"the server {asked}", where=self.url, do=f"give --model; it serves {named or 'nothing'}")

    def _version(self, owner: str) -> str:
        """The server's name and version, if it tells one as vllm does."""
        told = self._get(f"{self.url.removesuffix('/v1')}/version", absent=True)
        version = told.get("version") if isinstance(told, dict) else None
        return f"{owner} {version}, served" if version else f"{owner}, version not told, served"

    def _get(self, url: str, *, absent: bool = False) -> Any:
        """Ask the server about itself; with ``absent``, None if it has no such page."""
        try:
            return self._client.with_options(timeout=PROBE_SECONDS, max_retries=2).get(url, cast_to=object)
        except openai.APIStatusError as error:
            if absent and error.status_code < 500:
                return None
            raise self._refused(error) from error
        except Exception as error:  # connections, time-outs, and bodies that are no JSON
            if absent and not isinstance(error, openai.APIConnectionError):
                return None
            raise ConfigError(
                f"the server does not answer: {self._said(error)}",
                where=url,
                do="start it, or correct engine.url",
            ) from error

    # -- answers --------------------------------------------------------------------------------------------

    def chat(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, seeds: Sequence[int]
    ) -> Generator[tuple[int, Reply], None, None]:
        """Answer every conversation, several at once; after a failure, those that are on their way are awaited.

        At most ``workers`` requests are sent whose replies were not taken yet, so a caller can stop in time.

        Args:
            conversations: What is asked.
            sampling: Temperature, nucleus and token limit.
            seeds: Seed of each conversation.

        Yields:
            (index, reply), in the order in which replies come.

        Raises:
            ConfigError: The server refuses a request.
            EngineError: The server fails, after all retries.
        """
        failure: Exception | None = None
        stop, room = threading.Event(), threading.Semaphore(self.config.workers)

        def answer(conversation: Sequence[Message], seed: int) -> Reply:
            room.acquire()
            if stop.is_set():
                raise CancelledError
            try:
                return self._answer(conversation, sampling, seed)
            except Exception:
                stop.set()
                raise

        with ThreadPoolExecutor(self.config.workers) as pool:
            pairs = zip(conversations, seeds, strict=True)
            asked = {pool.submit(answer, *pair): i for i, pair in enumerate(pairs)}
            try:
                for future in as_completed(asked):
                    try:
                        reply = future.result()
                    except CancelledError:
                        pass  # it was never sent, because another one failed: that failure is raised below
                    except Exception as error:
                        failure = failure or error
                    else:
                        yield asked[future], reply
                    room.release()
            finally:
                stop.set()
                if asked:
                    room.release(len(asked))
        if failure is not None:
            raise failure

    def _answer(self, conversation: Sequence[Message], sampling: Sampling, seed: int) -> Reply:
        self._pace()
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [self._message(m) for m in conversation],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self.config.token_limit: sampling.max_tokens,
            **({"seed": seed} if sampling.temperature else {}),
        }
        try:
            found = self._client.chat.completions.create(**body, extra_body=self.config.extra or None)
        except openai.APIStatusError as error:
            if error.status_code == 400 and TOO_LONG.search(f"{error.code} {error.message}"):
                self._count("too_long")
                return text_reply(None, prompt_tokens=0, tokens=0, cut=False)
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise self._refused(error) from error
            raise self._failed(error) from error
        except Exception as error:  # no connection, a time-out, a body that is no JSON
            raise self._failed(error) from error
        return self._read(found)

    def _message(self, message: Message) -> dict[str, Any]:
        role = message.role
        if role == "tool" and "tool_call_id" not in message.extra:
            role = self.config.tool_role
        return {"role": role, "content": message.content, **message.extra}

    def _read(self, found: object) -> Reply:
        """Read a reply.

        Raises:
            EngineError: It has no answer, or no count of tokens.
        """
        choices = found.choices if isinstance(found, ChatCompletion) else None
        usage = found.usage if isinstance(found, ChatCompletion) else None
        if not isinstance(found, ChatCompletion) or not choices or choices[0].message is None or usage is None:
            missing = "count of tokens" if choices else "answer"
            raise EngineError(
                f"the server's reply has no {missing}: {' '.join(str(found).split())[:120]}",
                where=self.url,
                do="use a server that follows OpenAI's chat completions",
            )
        choice = choices[0]
        more = choice.message.model_extra or {}
        thought, text = self._split(choice.message.content or "")
        thought = str(more.get("reasoning") or more.get("reasoning_content") or "") + thought
        self._count(f"finish_{choice.finish_reason}")
        with self._lock:
            self._answered_by[" ".join(filter(None, (found.model, found.system_fingerprint)))] += 1
        return text_reply(
            text,
            thought=thought,
            prompt_tokens=usage.prompt_tokens,
            tokens=usage.completion_tokens,
            cut=choice.finish_reason == "length",
        )

    def _split(self, content: str) -> tuple[str, str]:
        """Thought and answer; a thought that does not end has no answer after it."""
        begin, end = self.config.thought
        thought, mark, answer = content.rpartition(end)
        if mark:
            return thought + mark, answer.lstrip()
        return (content, "") if content.lstrip().startswith(begin) else ("", content)

    def _pace(self) -> None:
        """Wait until the next request may start."""
        if self.config.requests_per_minute is None:
            return
        with self._lock:
            start = max(self._free_at, time.monotonic())
            self._free_at = start + 60 / self.config.requests_per_minute
        time.sleep(max(0.0, start - time.monotonic()))

    def _drop_placeholder(self, request: Any) -> None:
        """Take out the client's placeholder where no key is named."""
        if not self._key:
            request.headers.pop("Authorization", None)

    def _note(self, response: Any) -> None:
        """Count the status of every response, also of those after which the client asks again."""
        self._count(f"status_{response.status_code}")

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    # -- errors ---------------------------------------------------------------------------------------------

    def _refused(self, error: openai.APIStatusError) -> ConfigError:
        """A request that the server would refuse again."""
        do = "see the server's documentation, engine.extra and engine.token_limit"
        if error.status_code in (401, 403):
            name = self.config.key_variable
            do = f"correct the key in {name}" if name else "set engine.key_variable to the variable that has the key"
        elif error.status_code == 404:
            do = "correct engine.url, which often ends with /v1"
        return ConfigError(f"the server refuses: {self._said(error)}", where=self.url, do=do)

    def _failed(self, error: Exception) -> EngineError:
        do = "run the same command again: replies are kept"
        if isinstance(error, openai.RateLimitError):
            do = "lower engine.workers or engine.requests_per_minute, and run the same command again: replies are kept"
        return EngineError(f"the server fails: {self._said(error)}", where=self.url, do=do)

    def _said(self, error: Exception) -> str:
        """The error in a few words, without the key."""
        cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else None
        text = f"{type(error).__name__}: {error}" + (f" ({cause})" if cause else "")
        if self._key:
            text = text.replace(self._key, "[key]")
        return " ".join(text.split())[:300]

    # -- facts ----------------------------------------------------------------------------------------------

    def usd(self, prompt_tokens: int, tokens: int) -> float:
        """Price of prompt and generated tokens, by the prices in the settings."""
        config = self.config
        return (prompt_tokens * config.usd_per_million_prompt + tokens * config.usd_per_million_completion) / 1e6

    def describe(self) -> dict[str, Any]:
        """Server, model, settings, and what was counted in this process."""
        return {
            "engine": self.name,
            "version": self.version,
            "model": dict(self.identity),
            "flags": self.config.model_dump(mode="json"),
            "counts": dict(self._counts),
            "answered_by": dict(self._answered_by),
        }

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _checked_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        ConfigError: It is missing or wrong, or contains a password or key.
    """
    do = "write --set engine.url=http://HOST:PORT/v1"
    if not url:
        raise ConfigError("no URL of a server", where="--engine served", do=do)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is no URL of a server", where="engine.url", do=do)
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            "the URL contains a password or a query, and results name the URL",
            where="engine.url",
            do="put the key into an environment variable, and set engine.key_variable to its name",
        )
    return url.rstrip("/")


def _key(variable: str) -> str:
    """The key in an environment variable; empty if no variable is named.

    Raises:
        ConfigError: The variable is not set.
    """
    if variable and not os.environ.get(variable):
        raise ConfigError(
            f"the environment variable {variable} is not set", where="engine.key_variable", do="export it"
        )
    return os.environ[variable] if variable else ""
