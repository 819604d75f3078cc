"""Environments of their own for engines whose packages do not go with promolake's: made on demand, from hashed requirements, kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.engines.engine import Say

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
CACHE = Path.home() / ".cache" / "promolake" / "bench"


def python_of(name: str, say: Say) -> Path:
    """The Python of the environment `requirements/<name>.txt` describes. A half-made one is made anew."""
    requirements = REQUIREMENTS / f"{name}.txt"
    root = CACHE / f"{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    python, done = root / "bin" / "python", root / ".done"
    if not done.exists():
        say(f"making the environment of {name} in {root}")
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
        # No build isolation: what comes as source is built with the locked setuptools, which are installed first.
        base = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        build = REQUIREMENTS / f"{name}-build.txt"
        if build.exists():
            subprocess.run([*base, "-r", str(build)], check=True)
        subprocess.run([*base, *(["--no-build-isolation"] if build.exists() else []), "-r", str(requirements)], check=True)
        done.touch()
    return python
