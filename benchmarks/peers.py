"""The peers' environment, var/bench/venv, made once: it sees Hone's packages and adds those of requirements.txt."""

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def environment(folder: Path) -> Path:
    """Returns its interpreter."""
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == REQUIREMENTS.read_text():
        return python
    print(f"Making the peers' environment in {folder} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(own) / "hone.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    done = subprocess.run(pip, stderr=subprocess.PIPE, text=True, check=False)  # its warnings are of others' packages
    if done.returncode:
        sys.exit(f"{done.stderr}\nThe peers' environment could not be made: {' '.join(pip)}")
    stamp.write_text(REQUIREMENTS.read_text())
    return python
