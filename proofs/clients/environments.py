"""The other programs, each in an environment of its own, with the versions that the table names."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from proofs.server import ROOT

CLIENTS = ROOT / "proofs" / "clients"
NODE = CLIENTS / "node"
INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Program:
    """A column of the table: what is installed, and the module that runs its rows."""

    name: str
    packages: tuple[str, ...]
    module: str


PROGRAMS = (
    Program("openai 3.54.0", ("openai==3.54.0", "pandas==3.0.0"), "proofs.clients.rows"),
    Program("openai 2.54.0", ("openai==2.54.0", "pandas==3.0.0"), "proofs.clients.rows"),
    Program("openai 1.109.1", ("openai==1.109.1", "pandas==3.0.0"), "proofs.clients.rows"),
    Program("litellm 1.106.2", ("litellm==1.106.2",), "proofs.clients.litellm_rows"),
    Program("wandb 0.31.0", ("wandb==0.31.0", "openai==3.54.0", "pandas==3.0.0"), "proofs.clients.wandb_sync"),
)
NODE_PROGRAM = "Node SDK 7.57.0"  # its version stands in node/package.json
NAMES = (*(program.name for program in PROGRAMS[:3]), NODE_PROGRAM, *(program.name for program in PROGRAMS[3:]))


class NotInstalled(Exception):
    """Why there is no such environment."""


def command_of(name: str, folder: Path) -> tuple[list[str], Path]:
    """What runs the rows of this program, and where; installs it below `folder` when it is not there yet."""
    if name == NODE_PROGRAM:
        return ["node", "rows.mjs"], with_node(folder / "node")
    program = next(each for each in PROGRAMS if each.name == name)
    return [str(with_packages(program, folder)), "-m", program.module], ROOT


def with_packages(program: Program, folder: Path) -> Path:
    """The Python of its environment. A stamp says that it is whole."""
    place = folder / program.name.replace(" ", "-")
    python, stamp = place / "bin" / "python", place / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(program.packages):
        shutil.rmtree(place, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(place))
        run(str(python), "-m", "pip", "install", "--quiet", *program.packages)
        stamp.write_text("\n".join(program.packages))
    return python


def with_node(folder: Path) -> Path:
    """A copy of node/ with its modules, which never lie in the repository."""
    if not shutil.which("npm"):
        raise NotInstalled("npm is not on this machine")
    wanted = (NODE / "package.json").read_text()
    if not (folder / "node_modules").is_dir() or (folder / "package.json").read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(NODE, folder)
        run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)
    shutil.copy(NODE / "rows.mjs", folder)
    return folder


def run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, env={**os.environ, "PYTHONPATH": ""}
    )
    if done.returncode:
        raise NotInstalled(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
