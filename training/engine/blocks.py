"""Raw text as rows: how many blocks its documents make, and the numbers behind its autos. No torch, no numpy.

`tokens.Blocks` cuts them; what is counted here is what it will have.
"""

import math

from training.engine.spec import DataFacts

BLOCK_TOKENS = 2048
STEPS_A_PASS = 50
BATCH_TOKENS = 1 << 19
FEW_TOKENS = 10_000_000


def block_facts(documents: DataFacts, length: int, packed: bool) -> DataFacts:
    """Facts of the blocks of at most `length` tokens that these documents make. Exact when packed, or when the length
    of every document is known."""
    stride = length - 1
    if packed:
        blocks = math.ceil((documents.tokens - 1) / stride)
    else:
        lengths = documents.lengths or [documents.longest_tokens]
        share = documents.rows / len(lengths)
        blocks = round(share * sum(max(1, math.ceil((tokens - 1) / stride)) for tokens in lengths))
    longest = min(length, documents.tokens if packed else documents.longest_tokens)
    return documents.model_copy(update={"rows": max(1, blocks), "longest_tokens": longest, "lengths": []})


def auto_block_length(documents: DataFacts, context: int) -> tuple[int, str]:
    usual = min(context, BLOCK_TOKENS)
    if documents.tokens >= STEPS_A_PASS * usual:
        return usual, f"Blocks of {usual:,} tokens: the model's context, at most {BLOCK_TOKENS:,}."
    length = 1 << max(6, math.floor(math.log2(max(1, documents.tokens // STEPS_A_PASS))))
    return min(usual, length), f"Short blocks, so that a pass over {documents.tokens:,} tokens has enough of them."


def auto_text_epochs(documents: DataFacts) -> tuple[int, str]:
    if documents.tokens < FEW_TOKENS:
        return 4, "Up to four passes teach about as much as new text (Muennighoff et al., 2023)."
    return 1, f"{documents.tokens / 1e6:,.0f}M tokens: once through."


def auto_block_batch(blocks: DataFacts, length: int) -> tuple[int, str]:
    size = max(1, min(256, BATCH_TOKENS // length, blocks.rows // STEPS_A_PASS))
    return (
        size,
        f"{size * length:,} tokens a step: about {STEPS_A_PASS} steps a pass or more, at most {BATCH_TOKENS:,}.",
    )
