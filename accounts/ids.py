"""Public ids: a prefix and letters and digits, as OpenAI writes them."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """For example `new_id("file-")`."""
    number, letters = secrets.randbelow(len(ALPHABET) ** length), []  # the system is asked once, not for each letter
    for _ in range(length):
        number, letter = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[letter])
    return prefix + "".join(letters)
