"""Continued pre-training on raw text: every token is learnt from those before it in its document.

    python -m training.engine.pretrain RUN_FOLDER

reads RUN_FOLDER/spec.json and writes beside it, as training.engine.sft does. The text is tokenised once into
RUN_FOLDER/tokens (training.engine.tokens) and read from there by the page, so that it may be far larger than memory.
"""

import math
import sys
from pathlib import Path

from training.engine import loop
from training.engine.batches import collate
from training.engine.chat import ChatFormat
from training.engine.errors import InvalidTrainingFile
from training.engine.facts import read_model_facts
from training.engine.method import Method, Progress
from training.engine.run import Run
from training.engine.sft import batch_loss
from training.engine.tokens import Blocks, TokenFile, token_key, write_tokens

LARGEST_EXPONENT = 700.0  # of a number that a float can hold


def read(run: Run, chat: ChatFormat, path: Path, progress: Progress) -> tuple[Blocks, int]:
    """The file's blocks; tokens that an earlier start wrote are taken as they are. One process writes, all read."""
    spec = run.spec
    with run.process.main_process_first():
        folder = run.folder / "tokens" / token_key(path, spec.base_path)
        if not folder.exists():
            if not run.process.is_main_process:
                raise InvalidTrainingFile(f"{path.name} could not be tokenised; the first process says why.")
            write_tokens(folder, path, chat, read_model_facts(spec.base_path, spec.base_model).vocabulary, progress)
    return Blocks(TokenFile.open(folder), spec.max_length, spec.packing), 0


def perplexity(loss: float) -> dict[str, float]:
    """exp(mean loss): among how many equally likely tokens the model chooses, on average."""
    return {"perplexity": math.exp(min(loss, LARGEST_EXPONENT))}


METHOD = Method(read=read, collate=collate, loss=batch_loss, of_loss=perplexity)

if __name__ == "__main__":
    sys.exit(loop.main(METHOD))
