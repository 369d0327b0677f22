"""Standard Webhooks (standardwebhooks.com): who sent it, when, and that nobody changed it on the way."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def headers(event_id: str, body: str, at: int, signed_with: Sequence[str]) -> dict[str, str]:
    """`at`: seconds since 1970. One signature a secret, so that a receiver may change its own within a day."""
    signatures = [f"v1,{_signature(secret, f'{event_id}.{at}.{body}')}" for secret in signed_with]
    return {"webhook-id": event_id, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def _signature(secret: str, text: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
