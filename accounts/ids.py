"""Public ids: a prefix and letters and digits, as OpenAI writes them."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """For example `new_id("file-")`."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))
