"""Direct preference optimisation on pairs of answers (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290).

    python -m training.engine.dpo RUN_FOLDER

as training.engine.sft, on preference rows. The reference is the weights the job starts from, whatever these are: a base
model, an adapter or full weights of a former job. Before the first step they judge every row once; their
log-probabilities are kept in the run folder, so that no second copy of the model is in memory and a run that goes on
after a crash meets the very same numbers.
P pairs, S sequences (the P preferred answers, then the P others), N trained positions.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.engine import batches, loop
from training.engine.batches import Batch, Rows, micro_batches, read_encoded
from training.engine.chat import ChatFormat
from training.engine.estimate import MemoryPlan
from training.engine.loss import dpo_loss, token_losses
from training.engine.method import Method, Progress, Sums
from training.engine.model import LanguageModel
from training.engine.pairs import EncodedPair, encode_pair
from training.engine.room import free_memory, smaller_forward_plan, told_to_all
from training.engine.run import Run, run_wide, sum_over_processes

METRICS = (
    "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected",
)  # fmt: skip

ROUNDING_PAIRS = 16  # judged twice, to know what rounding does
ROUNDING_TOLD = 0.005  # of a margin; the first steps of a cautious rate move it by some hundredths


class PairRows:
    """Preference rows; row i is the sequences 2 i (preferred) and 2 i + 1 of `sequences`. `reference` is (rows, 2):
    log-probabilities of both answers under the weights the job starts from."""

    def __init__(self, pairs: Sequence[EncodedPair], beta: float, lines: Sequence[int] | None = None) -> None:
        self.lines = None if lines is None else np.array(lines, dtype=np.int64)
        self.sequences = Rows([side for pair in pairs for side in (pair.chosen, pair.rejected)])
        self.lengths = 2 * self.sequences.lengths.reshape(-1, 2).max(axis=1)  # both are padded to the longer one
        self.trained = self.sequences.trained.reshape(-1, 2).sum(axis=1)
        self.truncated = sum(pair.truncated for pair in pairs)
        self.beta = beta
        self.reference = np.zeros((len(pairs), 2), np.float32)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        return self.sequences.tokens

    def ids(self, row: int) -> np.ndarray:
        return self.sequences.ids(2 * row)

    def weights(self, row: int) -> np.ndarray:
        return self.sequences.weights(2 * row)

    def fingerprint(self) -> str:
        """Of everything that the reference's log-probabilities depend on besides the weights."""
        digest = hashlib.sha256()
        for row in range(len(self.sequences)):
            digest.update(self.sequences.ids(row).tobytes() + self.sequences.weights(row).tobytes())
        return digest.hexdigest()


@dataclass
class PairBatch:
    """One forward pass over both answers of some pairs."""

    sequences: Batch
    sequence_N: Tensor  # which sequence a trained position belongs to
    reference_S: Tensor
    beta: float

    @property
    def tokens(self) -> int:
        return self.sequences.tokens

    @property
    def trained(self) -> int:
        return self.sequences.trained


def read(run: Run, chat: ChatFormat, path: Path, progress: Progress) -> tuple[PairRows, int]:
    pairs, lines, left_out = read_encoded(path, lambda row: encode_pair(chat, row, run.spec.max_length), progress)
    assert run.spec.beta
    return PairRows(pairs, run.spec.beta, lines), left_out


def collate(rows: PairRows, chosen: list[int], device: torch.device) -> PairBatch:
    batch = batches.collate(rows.sequences, [2 * row for row in chosen] + [2 * row + 1 for row in chosen], device)
    return PairBatch(
        sequences=batch,
        sequence_N=batch.picked_N // batch.input_ids_BT.shape[1],
        reference_S=torch.from_numpy(rows.reference[chosen].T.reshape(-1)).to(device),
        beta=rows.beta,
    )


def log_probabilities(model: LanguageModel, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Of each answer, summed over its tokens in nats (float32), and the share of its tokens that are the likeliest."""
    these = batch.sequences
    hidden_ND = model.hidden(these.input_ids_BT).flatten(0, 1)[these.picked_N]
    losses_N, correct_N = token_losses(hidden_ND, these.targets_N, model.logits, model.rows_at_once, model.head_learns)
    nothing_S = torch.zeros_like(batch.reference_S)
    tokens_S = nothing_S.index_add(0, batch.sequence_N, these.weights_N)
    logps_S = nothing_S.index_add(0, batch.sequence_N, -losses_N * these.weights_N)
    return logps_S, nothing_S.index_add(0, batch.sequence_N, correct_N * these.weights_N) / tokens_S


def batch_loss(model: LanguageModel, batch: PairBatch) -> Sums:
    """Sums over pairs. Accuracy is that of the preferred answers' tokens; how many pairs are told apart rightly is
    rewards/accuracies."""
    logps_S, accuracy_S = log_probabilities(model, batch)
    logps_P, logps_other_P = logps_S.chunk(2)
    losses_P, chosen_P, rejected_P = dpo_loss(logps_S, batch.reference_S, batch.beta)
    figures = (chosen_P, rejected_P, chosen_P - rejected_P, chosen_P > rejected_P, logps_P, logps_other_P)
    return Sums(
        loss=losses_P.sum(),
        correct=accuracy_S.chunk(2)[0].sum(),
        weight=torch.ones_like(losses_P).sum(),
        metrics={name: values_P.detach().sum() for name, values_P in zip(METRICS, figures, strict=True)},
        rows=None if torch.is_grad_enabled() else losses_P,
    )


# ---- the reference ----


def judge_by_reference(
    run: Run, model: LanguageModel, rows: PairRows, valid_rows: PairRows | None, plan: MemoryPlan
) -> MemoryPlan:
    """Fills `reference` of all rows: from the run folder where a former start has left it, else by one pass forward.
    Returns the plan that had room."""
    parts = {"train": rows} | ({"valid": valid_rows} if valid_rows else {})
    done, fresh = 0, False
    for name, part in parts.items():
        path = run.folder / "reference" / f"{name}-{part.fingerprint()[:16]}.npy"
        kept = run_wide(run, _kept(path, len(part)))
        if kept is None:
            part.reference, plan = _judge_what_fits(run, model, part, plan, done, sum(map(len, parts.values())))
            fresh = True
            if run.process.is_main_process:
                _keep(path, part.reference)
        else:
            part.reference = kept
        done += len(part)
    if fresh and run.process.is_main_process and not model.whole:
        _tell_rounding(run, model, rows, len(valid_rows or ()))
    return plan


def _tell_rounding(run: Run, model: LanguageModel, rows: PairRows, valid_count: int) -> None:
    """How far rounding alone moves a margin, so that nobody reads it as learning: the same weights judge some pairs
    again, each in a pass of its own. In bfloat16 sums of another order end in other log-probabilities."""
    chosen = sorted({int(row) for row in np.linspace(0, len(rows) - 1, ROUNDING_PAIRS)})
    model.network.eval()
    with model.forward_only():
        alone = [log_probabilities(model, collate(rows, [row], run.device))[0].cpu().numpy() for row in chosen]
    moved_R2 = rows.beta * (np.stack(alone) - rows.reference[chosen])
    noise = float(np.sqrt(np.mean((moved_R2[:, 0] - moved_R2[:, 1]) ** 2)))
    if noise < ROUNDING_TOLD:
        return
    text = f"Rounding in {run.spec.dtype} moves the margin of a pair by ±{noise:.2g}, measured on {len(chosen)} pairs"
    mean = (
        f"; the mean over all {valid_count} validation pairs by ±{noise / valid_count**0.5:.2g}" if valid_count else ""
    )
    run.note(f"{text}{mean}. Smaller differences say nothing; float32 shows them.")


def _kept(path: Path, count: int) -> np.ndarray | None:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or half of it: judged again
        return None
    return found if found.shape == (count, 2) and found.dtype == np.float32 else None


def _keep(path: Path, reference: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".npy.part")
    with part.open("wb") as file:
        np.save(file, reference)
    part.replace(path)


def _judge_what_fits(
    run: Run, model: LanguageModel, rows: PairRows, plan: MemoryPlan, done: int, total: int
) -> tuple[np.ndarray, MemoryPlan]:
    """As `_judge`; begun again with smaller passes where memory runs out. The longest rows come first, so that happens
    at the beginning or not at all."""
    while True:
        try:
            with told_to_all(run):
                found_R2 = _judge(run, model, rows, plan.micro_batch_tokens * run.validation_passes, done, total)
            return sum_over_processes(run, found_R2).cpu().numpy(), plan
        except torch.OutOfMemoryError:
            pass  # handled outside, when the error holds no tensors any more
        free_memory()
        plan = smaller_forward_plan(run, rows, plan)


def _judge(run: Run, model: LanguageModel, rows: PairRows, token_budget: int, done: int, total: int) -> Tensor:
    """This process's log-probabilities (rows, 2) of the weights as they are, which nothing has been trained on yet."""
    model.network.eval()
    found_R2 = torch.zeros(len(rows), 2, device=run.device)
    mine = range(run.process.process_index, len(rows), run.process.num_processes)
    passes = list(micro_batches(mine, rows.lengths, token_budget))
    with model.forward_only():
        for chosen, counts in model.in_step(passes, 0):
            batch = collate(rows, chosen, run.device)
            logps_S, _ = model.in_one_pass(partial(log_probabilities, model, batch))
            if not counts:
                continue
            found_R2[chosen] = logps_S.reshape(2, -1).T
            done += len(chosen) * run.process.num_processes
            run.phase("reference", min(done, total), total)
            if run.process.num_processes == 1:  # of several, one that leaves would let the others wait for it
                run.leave_if_asked()
    return found_R2


METHOD = Method(read=read, collate=collate, loss=batch_loss, metrics=METRICS, before=judge_by_reference)

if __name__ == "__main__":
    sys.exit(loop.main(METHOD))
