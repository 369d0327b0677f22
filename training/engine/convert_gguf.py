"""Turn one GGUF file into safetensors that can be trained on. Runs as a process of its own, because it loads torch:

    python -m training.engine.convert_gguf FILE.gguf OUT_FOLDER

The quantised weights are unpacked and stored as bfloat16, with tokenizer and chat template; OUT_FOLDER appears only
when it is complete.
"""

import argparse
import os
import shutil
from pathlib import Path


def convert(file: Path, out: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the file
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),  # otherwise they stay packed and cannot be saved
    ).to(torch.bfloat16)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.replace(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    convert(arguments.file, arguments.out)
