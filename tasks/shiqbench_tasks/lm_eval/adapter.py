"""Our engines as lm-eval's model: what a suite asks in text is answered from ids, and nothing is cut in silence.

Text becomes ids as lm-eval's own `hf` model does it, so that numbers agree with published ones. Where that differs
from our rendering of the chat template (a content that spells a special token), ours is taken and counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from shiqbench.plugin import ChatGenerator, Completion, ConfigError, EvalConfig, Message, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lm_eval.api.instance import Instance


WAVE = 64  # requests in flight together; a killed evaluation repeats at most one such wave


@dataclass(frozen=True)
class Answer:
    """What generating one answer took.

    Attributes:
        tokens: Tokens sampled.
        cut: The token limit ended it.
        reduced: That limit was ours (``eval.max_tokens``) and lower than the suite's.
    """

    tokens: int
    cut: bool
    reduced: bool


class EngineLM(TemplateLM):  # type: ignore[misc]
    """A loaded engine, as lm-eval asks for a model.

    Args:
        chat: The engine with its renderer.
        config: Limits.
        seed: Of sampling.
        greedy: Names of lm-eval's tasks that need to know whether a continuation is the greedy one.
        finished: Called with every answered request.
    """

    def __init__(
        self,
        chat: ChatGenerator,
        config: EvalConfig,
        seed: int,
        greedy: frozenset[str],
        finished: Callable[[Instance], None],
    ) -> None:
        super().__init__()
        self.generator, self.renderer, self.room = chat.generator, chat.renderer, chat.max_context
        self.tokenizer = chat.renderer.tokenizer
        self.config, self.seed, self.greedy, self.finished = config, seed, greedy, finished
        self.answers: dict[tuple[str, int], list[Answer]] = {}
        self.counts: Counter[str] = Counter()
        self._apart: dict[str, list[int]] = {}  # rendered prompts whose text reads otherwise than they were meant
        self._requests: Sequence[Instance] = ()

    # -- text to ids ----------------------------------------------------------------------------------------

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What a text without context follows."""
        begin = self.tokenizer.bos_token_id
        return int(begin if begin is not None else self.eot_token_id)

    @property
    def tokenizer_name(self) -> str:
        """Names the chat template."""
        return self.renderer.template_sha256

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of a text, with the tokenizer's own prefix unless the text begins with it."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **special))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the model's template writes it.

        Raises:
            ConfigError: The template refuses the conversation.
        """
        if not add_generation_prompt:
            return self.renderer.template.open(chat_history)
        text = self.renderer.template.write(chat_history, (), generate=True)
        ids = self.renderer.prompt([Message(m["role"], m["content"]) for m in chat_history])
        if ids != self.tok_encode(text):
            self._apart[text] = ids
        return text

    def _context(self, text: str) -> list[int]:
        if text in self._apart:
            self.counts["prompts_apart"] += 1
            return self._apart[text]
        return self.tok_encode(text)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context in self._apart:
            return self._context(context), self.tok_encode(continuation, add_special_tokens=False)
        pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
        return pair

    # -- what lm-eval asks ----------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-probability of each continuation given its context, and whether it is the greedy one."""
        self._requests = requests
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        self._check([len(a) + len(b) for a, b in pairs], self._requests)
        found = []
        for start in range(0, len(pairs), WAVE):
            wave, asked = pairs[start : start + WAVE], self._requests[start : start + WAVE]
            scores = self.generator.score([a + b for a, b in wave])
            wanted = [i for i, request in enumerate(asked) if request.task_name in self.greedy]
            same = self._greedily([wave[i] for i in wanted])
            is_greedy = dict(zip(wanted, same, strict=True))
            for i, ((context, _continuation), logp) in enumerate(zip(wave, scores, strict=True)):
                found.append((sum(logp[len(context) :]), is_greedy.get(i, False)))
                self.finished(asked[i])
        return found

    def _greedily(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[bool]:
        """Whether greedy sampling from each context gives its continuation."""
        found = [False] * len(pairs)
        for length in {len(continuation) for _, continuation in pairs}:
            rows = [i for i, (_, continuation) in enumerate(pairs) if len(continuation) == length]
            sampled = self.generator.generate([pairs[i][0] for i in rows], Sampling(length))
            for i, completion in zip(rows, sampled, strict=True):
                found[i] = list(completion.ids) == pairs[i][1]
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-probability of each text as a whole, in windows of the context where it is longer, as lm-eval defines."""
        self._check([2] * len(requests), requests)  # the smallest window
        found = []
        for request in requests:
            (text,) = request.args
            windows = [
                make_disjoint_window(w)
                for w in get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.room - 2, 1)
            ]
            self.counts["texts_in_windows"] += len(windows) > 1
            scores = self.generator.score([[*a, *b] for a, b in windows])
            found.append(sum(sum(logp[len(a) :]) for (a, _), logp in zip(windows, scores, strict=True)))
            self.finished(request)
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """An answer to each prompt, up to what the suite says ends it."""
        found: dict[int, str] = {}
        for rows, sampling, until, own_limit in self._alike(requests):
            prompts = [self._context(requests[i].args[0]) for i in rows]
            asked = [requests[i] for i in rows]
            self._check([len(p) + sampling.max_tokens - 1 for p in prompts], asked)
            for start in range(0, len(rows), WAVE):
                wave = slice(start, start + WAVE)
                sampled = self.generator.generate(prompts[wave], replace(sampling, seed=sampling.seed + start))
                for i, prompt, completion in zip(rows[wave], prompts[wave], sampled, strict=True):
                    reduced = sampling.max_tokens < own_limit
                    found[i] = self._answer(requests[i], prompt, completion, until, reduced)
                    self.finished(requests[i])
        return [found[i] for i in range(len(requests))]

    def _alike(self, requests: Sequence[Instance]) -> Iterator[tuple[list[int], Sampling, list[str], int]]:
        """Requests that are sampled alike: their places, how, what ends an answer, and the suite's own limit."""
        stated = [repr(r.args[1]) for r in requests]
        for one in dict.fromkeys(stated):
            rows = [i for i, s in enumerate(stated) if s == one]
            own = normalize_gen_kwargs(requests[rows[0]].args[1])
            until = handle_stop_sequences(list(own["until"]), eos=self.tokenizer.decode(self.eot_token_id))
            sampling = Sampling(
                min(own["max_gen_toks"], self.config.max_tokens, self.config.max_episode_tokens),
                own["temperature"] if own["do_sample"] else 0.0,
                own.get("top_p", 1.0) if own["do_sample"] else 1.0,
                self.seed,
                self.renderer.stop_ids,
            )
            yield rows, sampling, until, own["max_gen_toks"]

    def _answer(
        self, request: Instance, prompt: Sequence[int], completion: Completion, until: list[str], reduced: bool
    ) -> str:
        ids = completion.ids[:-1] if completion.stopped else completion.ids
        thought, text = self.renderer.split_thought(prompt, self.renderer.decode(ids))
        self.counts["answers_with_thoughts"] += bool(thought)
        if not thought:
            text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        answer = str(postprocess_generated_text(text, until, None))
        cut = not completion.stopped and answer == text
        of_example = self.answers.setdefault((str(request.task_name), int(request.doc_id or 0)), [])
        of_example.append(Answer(len(completion.ids), cut, cut and reduced))
        return answer

    def _check(self, lengths: Sequence[int], requests: Sequence[Instance]) -> None:
        """Refuse what does not fit, one more token included, since lm-eval would cut its beginning off.

        Raises:
            ConfigError: It says how much context is needed.
        """
        over = [(length, r) for length, r in zip(lengths, requests, strict=True) if length >= self.room]
        if over:
            longest, names = max(length for length, _ in over), sorted({str(r.task_name) for _, r in over})
            raise ConfigError(
                f"{len(over)} of {len(lengths)} requests of {', '.join(names)} do not fit the context of {self.room}",
                where="eval.max_context",
                do=f"raise it to {longest + 1}, or lower eval.max_tokens or task.num_fewshot",
            )
