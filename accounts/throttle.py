"""Slows guessing and flooding: so many tries, then a wait. Kept in the cache of this process."""

import hashlib

from django.core.cache import cache
from django.http import HttpRequest

WINDOW_SECONDS = 10 * 60
TRIES_FROM_ONE_ADDRESS = 8  # for one e-mail; a colleague elsewhere is not locked out by them
TRIES_FROM_ANYWHERE = 60  # for one e-mail, from many addresses


def is_blocked(request: HttpRequest, email: str) -> bool:
    """Too many wrong passwords for this e-mail lately."""
    here, anywhere = _keys(request, email)
    return cache.get(here, 0) >= TRIES_FROM_ONE_ADDRESS or cache.get(anywhere, 0) >= TRIES_FROM_ANYWHERE


def record_failure(request: HttpRequest, email: str) -> None:
    for key in _keys(request, email):
        cache.add(key, 0, WINDOW_SECONDS)
        cache.incr(key)


def forget_failures(request: HttpRequest, email: str) -> None:
    """After a right password."""
    cache.delete(_keys(request, email)[0])


def _keys(request: HttpRequest, email: str) -> tuple[str, str]:
    name = hashlib.sha256(email.strip().lower().encode()).hexdigest()[:32]
    return f"tries:{name}:{request.META.get('REMOTE_ADDR', '')}", f"tries:{name}"


def is_too_often(what: str, most: int, seconds: int) -> bool:
    """Counts this try, and says whether there were more than `most` within about so many seconds."""
    key = f"often:{hashlib.sha256(what.encode()).hexdigest()[:32]}"
    cache.add(key, 0, seconds)
    try:
        return cache.incr(key) > most
    except ValueError:  # it expired in between
        return False
