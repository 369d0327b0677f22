"""The kinds of secrets and personal data that are looked for, with the words and placeholders for each."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Kind:
    name: str
    placeholder: str  # what redaction writes in its place
    secret: bool  # else personal data


KINDS: dict[str, Kind] = {
    "private_key": Kind("Private key", "[PRIVATE-KEY]", True),
    "openai_key": Kind("OpenAI key", "[OPENAI-KEY]", True),
    "anthropic_key": Kind("Anthropic key", "[ANTHROPIC-KEY]", True),
    "aws_key": Kind("AWS key", "[AWS-KEY]", True),
    "aws_secret": Kind("AWS secret access key", "[AWS-SECRET]", True),
    "github_token": Kind("GitHub token", "[GITHUB-TOKEN]", True),
    "gitlab_token": Kind("GitLab token", "[GITLAB-TOKEN]", True),
    "slack_token": Kind("Slack token or webhook", "[SLACK-TOKEN]", True),
    "stripe_key": Kind("Stripe key", "[STRIPE-KEY]", True),
    "google_key": Kind("Google key", "[GOOGLE-KEY]", True),
    "huggingface_token": Kind("Hugging Face token", "[HUGGINGFACE-TOKEN]", True),
    "other_key": Kind("Key of another provider", "[KEY]", True),
    "jwt": Kind("JSON web token", "[JWT]", True),
    "password": Kind("Password, or a key by its name", "[SECRET]", True),
    "card": Kind("Payment card", "[CARD]", False),
    "iban": Kind("IBAN", "[IBAN]", False),
    "ssn": Kind("US social security number", "[SSN]", False),
    "email": Kind("E-mail address", "[E-MAIL]", False),
    "phone": Kind("Phone number", "[PHONE]", False),
    "ip": Kind("IP address", "[IP]", False),
}
NOT_LOOKED_FOR = (
    "names of people, street addresses, dates of birth, and national numbers (passports, identity cards, tax) other "
    "than the US social security number"
)

FLAGGED = "flagged"  # a whole row that moderation flagged; it is kept or dropped, never redacted


class Span(NamedTuple):
    """Where in a text something was found."""

    kind: str
    start: int
    end: int
