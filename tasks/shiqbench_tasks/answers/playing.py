"""Answer the questions of a split, in waves, and note what was said."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from shiqbench.plugin import ChatGenerator, ConfigError, EvalConfig, Record, Reply, Sampling, StopReason
from shiqbench_tasks.rows.conversations import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shiqbench_tasks.answers.question import Question

WAVE = 64  # prompts that are answered together, and lost together if the machine fails


def answer_repeats(
    questions: Sequence[Question], chat: ChatGenerator, config: EvalConfig, progress: Callable[[int, int], None]
) -> list[Record]:
    """Answer every question once per repeat; ``progress`` is called with (finished, total) answers."""
    records: list[Record] = []
    for repeat in range(config.repeats):
        before, total = len(records), len(questions) * config.repeats
        records += answer_all(questions, chat, config, repeat, lambda n, b=before, t=total: progress(b + n, t))  # type: ignore[misc]
    return records


def answer_all(
    prompts: Sequence[Question],
    chat: ChatGenerator,
    config: EvalConfig,
    repeat: int,
    report: Callable[[int], None],
) -> list[Record]:
    """One record per prompt.

    Where answers are not sampled from the whole distribution at temperature 1, each prompt gets a second answer
    that is, from which the distance to the reference is estimated; a served model gives no ids, so there it gets none.

    Args:
        prompts: What is asked.
        chat: The model.
        config: Sampling and limits.
        repeat: Its number.
        report: Called with the number of finished prompts after every wave.

    Raises:
        ConfigError: Not one of the prompts fits the context.
    """
    # Scoring a sequence asks the engine for one token more than it has.
    room = chat.within(chat.max_context - 1)
    # All of them before the first answer, so that one that the template refuses costs no answers.
    shortest = min(room.prompt_tokens(p.asked, p.tools) for p in prompts)
    if shortest + config.max_tokens > room.max_context:
        raise ConfigError(
            f"none of {len(prompts)} prompts leaves room for {config.max_tokens} tokens in {config.max_context}",
            where="eval.max_context",
            do="raise it, or lower eval.max_tokens",
        )
    whole = config.temperature == 1 and config.top_p == 1
    records: list[Record] = []
    for start in range(0, len(prompts), WAVE):
        wave = prompts[start : start + WAVE]
        asked, tools = [p.asked for p in wave], [p.tools for p in wave]
        seed = wave_seed(config.seed + repeat, start)
        replies = room.reply(asked, Sampling(config.max_tokens, config.temperature, config.top_p, seed), tools)
        samples = (
            replies if whole or chat.served else room.reply(asked, Sampling(config.max_tokens, 1.0, 1.0, seed), tools)
        )
        records += [_record(p, repeat, seed, r, s) for p, r, s in zip(wave, replies, samples, strict=True)]
        report(len(records))
    return records


def wave_seed(seed: int, start: int) -> int:
    """A seed of its own for every wave of a repeat."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{start}".encode()).digest()[:4], "big") % 2**31


def _record(prompt: Question, repeat: int, seed: int, reply: Reply, sample: Reply) -> Record:
    said, sampled = reply.message, sample.message
    stop = StopReason.TOKEN_LIMIT if reply.cut else StopReason.FINISHED
    if said is None:
        stop = StopReason.CONTEXT_LIMIT
    return {
        "id": prompt.id,
        "repeat": repeat,
        "seed": seed,
        "prompt": json.dumps([[m.role, as_text(m)] for m in prompt.asked]),
        "answer": None if said is None else said.content,
        "stop": stop.value,
        "tokens": reply.tokens,
        "prompt_tokens": reply.prompt_tokens,
        "sample_ids": json.dumps([] if sampled is None else list(sampled.token_ids or ())),
    }
