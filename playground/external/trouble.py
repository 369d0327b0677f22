"""What went wrong with somebody else's server, in plain words: what, where, what to do. The key is in none of them."""

import errno
import json
import re
import socket
from typing import Any, Final
from urllib.parse import SplitResult

import aiohttp

from accounts.errors import ApiError
from playground.external.models import ExternalModel
from training.addresses import Refused

MOST_WORDS = 300  # characters of somebody else's words that are told
KEY_IS_LONG: Final = 8  # characters from which on a key is masked inside words, too
ON_ITS_PAGE: Final = " on the page of external models"  # left out on that page


def refused(external: ExternalModel, why: str, code: str = "external_refused") -> ApiError:
    """Hone does not ask, or does not read on."""
    return ApiError(f"{external.name}: {why}", status=502, type="server_error", code=code)


def failed(external: ExternalModel, what: str, code: str = "external_failed", **headers: str) -> ApiError:
    return ApiError(f"{external.name}: {what}", status=502, type="server_error", code=code, headers=headers)


def not_reached(external: ExternalModel, error: Exception, address: SplitResult) -> ApiError:
    """The request did not get there."""
    where = address.netloc
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    blocked = next((one for one in (inner, error, *_causes(error)) if isinstance(one, Refused)), None)
    if blocked:
        return refused(external, str(blocked))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = f"the certificate of {where} is not valid ({_certificate(error)}). Nothing was sent to it."
        return failed(external, why, "external_tls")
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorSSLError):
        return failed(external, f"{where} does not speak TLS. Is its address http:// instead?", "external_tls")
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return failed(external, f"no server is called {address.hostname}. Is it written right?", "external_unreachable")
    if isinstance(inner, OSError) and inner.errno == errno.ECONNREFUSED:
        return failed(external, f"nothing answers at {where}. Does that server run?", "external_unreachable")
    if isinstance(error, aiohttp.SocketTimeoutError):
        return failed(external, f"{where} took the question but said nothing for two minutes.", "external_silent")
    if isinstance(error, TimeoutError):
        return failed(external, f"{where} did not take the connection in time.", "external_unreachable")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return failed(external, f"{where} hung up without an answer.", "external_unreachable")
    return failed(external, f"{where} could not be asked ({type(error).__name__}).", "external_unreachable")


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while (error := error.__cause__ or error.__context__) and len(found) < 5:  # type: ignore[assignment]
        found.append(error)
    return found


def _certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    inner = error.certificate_error
    return str(getattr(inner, "verify_message", "") or inner)[:MOST_WORDS]


def broke_off(external: ExternalModel, error: Exception) -> ApiError:
    """In the middle of an answer."""
    if isinstance(error, TimeoutError):
        return failed(external, "it fell silent in the middle of its answer. Retry.", "external_broke_off")
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return failed(external, "its answer is not the JSON of OpenAI's API.", "external_not_understood")
    if isinstance(error, ValueError):
        return failed(external, f"its answer is not that of OpenAI's API ({error}).", "external_not_understood")
    return failed(external, "it broke off in the middle of its answer. Retry.", "external_broke_off")


def not_a_stream(external: ExternalModel, kind: str) -> ApiError:
    what = f" but {kind.split(';')[0]}" if kind else ""
    why = f"its answer is no stream of OpenAI's API{what}. Most base URLs end in /v1: is this one complete?"
    return failed(external, why, "external_not_understood")


def answered(external: ExternalModel, status: int, headers: dict[str, str], content: bytes, key: str) -> ApiError:
    """It said no. `status` 0: in the middle of an answer."""
    said, code = _words(content, key)
    told = f" It says: “{said}”" if said else ""
    if status in (401, 403):
        what = "the key was refused" if key else "it wants a key"
        return failed(external, f"{what} ({status}). Enter another one{ON_ITS_PAGE}.{told}", "external_key")
    if status == 404:
        what = f"there is no model “{external.model}” at {external.base_url}, or the base URL is not complete (404)."
        return failed(external, f"{what} Most end in /v1.{told}", "external_not_found")
    if status == 429:
        return _too_much(external, headers, code, told)
    if 300 <= status < 400:
        why = "it sends its callers to another address. Redirects are not followed: enter the address where it ends."
        return failed(external, why, "external_redirect")
    if status in (400, 413, 422):
        return failed(external, f"it does not take this question ({status}).{told}", "external_bad_request")
    if status == 0:
        return failed(external, f"it failed in the middle of its answer.{told}", "external_broke_off")
    return failed(external, f"it failed ({status}).{told or ' It gave no reason.'}", "external_failed")


def _too_much(external: ExternalModel, headers: dict[str, str], code: str, told: str) -> ApiError:
    if code == "insufficient_quota":
        return failed(external, f"its account has no quota left (429).{told}", "external_quota")
    wait = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    seconds = wait if wait.isdecimal() and len(wait) < 7 else ""
    when = f"Retry in {seconds} s." if seconds else "Retry in a while."
    return failed(
        external,
        f"it is asked too often (429). {when}{told}",
        "external_busy",
        **({"Retry-After": seconds} if seconds else {}),
    )


def _words(content: bytes, key: str) -> tuple[str, str]:
    """Its own words, short and on one line, and the code of its error. Nothing of a page of HTML."""
    try:
        body: Any = json.loads(content)
    except ValueError:
        text = content.decode(errors="replace").strip()
        return ("", "") if text.startswith("<") else (_short(text, key), "")
    inner = body.get("error", body) if isinstance(body, dict) else body
    inner = inner if isinstance(inner, dict) else {"message": inner}
    message = inner.get("message") or inner.get("detail") or ""
    code = inner.get("code") or inner.get("type") or ""
    return _short(message if isinstance(message, str) else json.dumps(message), key), str(code)


def _short(text: str, key: str) -> str:
    """A server that repeats the key it was given must not bring it onto a page."""
    if key:  # a short one also occurs inside words, which say nothing of it
        text = re.sub(
            re.escape(key) if len(key) >= KEY_IS_LONG else rf"(?<!\w){re.escape(key)}(?!\w)", "[the key]", text
        )
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= MOST_WORDS else text[:MOST_WORDS] + "…"
