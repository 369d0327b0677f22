"""Read settings from the environment; a wrong value is named, never guessed."""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    """The value of HONE_<name>, or the content of the file that HONE_<name>_FILE names."""
    file = os.environ.get(f"HONE_{name}_FILE")
    if file:
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"HONE_{name}_FILE={file}: {error.strerror}") from error
    return os.environ.get(f"HONE_{name}", default)


def number(name: str, default: float) -> float:
    """HONE_<name> as a number."""
    value = text(name, str(default))
    try:
        return float(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"HONE_{name}={value!r} is not a number") from error


def integer(name: str, default: int) -> int:
    """HONE_<name> as a whole number."""
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"HONE_{name}={value!r} is not a whole number") from error


def boolean(name: str, default: bool) -> bool:
    """HONE_<name> as yes or no."""
    value = text(name, "1" if default else "0").lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off", ""}:
        return False
    raise ImproperlyConfigured(f"HONE_{name}={value!r}: write 1 or 0")


def words(name: str, default: str = "") -> list[str]:
    """HONE_<name> as a list, separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]
