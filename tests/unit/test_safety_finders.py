"""What is found in a text, and what only looks like it. Secrets are put together here: none stands in the code."""

import json
import random
import string

import pytest

from training.safety.finders import excerpts, find, may_hold, redacted
from training.safety.rows import texts_of

rng = random.Random(5)
ALNUM = string.ascii_letters + string.digits


def some(count: int, letters: str = ALNUM) -> str:
    return "".join(rng.choice(letters) for _ in range(count))


SECRETS = {
    "openai_key": ["sk-proj-" + some(74), "sk-" + some(20) + "T3Blbk" + "FJ" + some(20), "sk-svcacct-" + some(60)],
    "anthropic_key": ["sk-ant-" + "api03-" + some(93) + "AA", "sk-ant-" + "admin01-" + some(80)],
    "aws_key": ["AKIA" + some(16, string.ascii_uppercase + "234567"), "ASIA" + some(16, string.ascii_uppercase + "23")],
    "github_token": ["ghp_" + some(36), "gho_" + some(36), "github_pat_" + some(22) + "_" + some(59)],
    "gitlab_token": ["glpat-" + some(20), "glrt-" + some(20)],
    "slack_token": [
        "xoxb-123456789012-1234567890123-" + some(24),
        "https://hooks.slack.com/" + "services/T01/B02/" + some(24),
    ],
    "stripe_key": ["sk_live_" + some(24), "rk_test_" + some(24), "whsec_" + some(32)],
    "google_key": ["AIza" + some(35), "GOCSPX-" + some(28)],
    "huggingface_token": ["hf_" + some(34)],
    "other_key": ["npm_" + some(36), "SG." + some(22) + "." + some(43)],
    "jwt": ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9." + some(43)],
    "private_key": ["-----BEGIN RSA " + f"PRIVATE KEY-----\n{some(64)}\n{some(64)}\n-----END RSA PRIVATE KEY-----"],
}
PERSONAL = {
    "email": ["jane.doe@acme-corp.io", "j+news@sub.mail.co.uk"],
    "phone": ["+49 30 901820", "+1 (415) 555-2671", "(415) 555-2671", "415-555-2671", "0044 20 7946 0958"],
    "card": ["4111 1111 1111 1111", "5555555555554444", "3782 822463 10005", "6011-1111-1111-1117"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NL91ABNA0417164300"],
    "ip": ["81.2.69.142", "2a02:26f0:1180:17::1"],
}
BEGIN = "-----BEGIN " + "PRIVATE KEY-----\n"
EVERY = [(kind, text) for kinds in (SECRETS, PERSONAL) for kind, texts in kinds.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), EVERY)
@pytest.mark.parametrize("around", ["{}", "It is {}.", "see ({}), please", "one\n{}\ntwo", 'x = "{}"'])
def test_each_kind_is_found_in_any_surroundings_at_its_exact_place(kind: str, text: str, around: str) -> None:
    whole = around.format(text)
    assert [(span.kind, whole[span.start : span.end]) for span in find(whole)] == [(kind, text)]


@pytest.mark.parametrize(("kind", "text"), EVERY)
def test_no_line_that_holds_something_is_passed_over_unparsed(kind: str, text: str) -> None:
    for escaped in (True, False):
        row = {"messages": [{"role": "user", "content": f"grüße\n{text} €"}]}
        assert may_hold(json.dumps(row, ensure_ascii=escaped).encode())


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password: Tr0ub4dor&3.", "Tr0ub4dor&3"),
        ("My password is hunter22!", "hunter22"),
        ("DB_PASSWORD='pa55-word'", "pa55-word"),
        ('{"client_secret": "9f86d081884c7d659a2feaa0c55ad015"}', "9f86d081884c7d659a2feaa0c55ad015"),
        ("accessToken = aB3dE5fG7hI9jK1lM2nO", "aB3dE5fG7hI9jK1lM2nO"),
        ("api_key=aB3dE5fG7hI9jK1lM2nO&page=2", None),  # part of a longer value: all of it goes
        ("postgres://bob:s3cr3tPw@db.acme.io/x", "s3cr3tPw"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzz1234wXyZ",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzz1234wXyZ",
        ),
    ],
)
def test_what_stands_after_the_name_of_a_secret_is_found(text: str, secret: str | None) -> None:
    [span] = find(text)
    assert span.kind in ("password", "aws_secret")
    assert secret is None or text[span.start : span.end] == secret


@pytest.mark.parametrize(
    "text",
    [
        "Order 4155552671 from 2024-10-11 12:30:45, invoice 2024-0012345678",
        "order number 1234-5678-9012-3456 and 4111 1111 1111 1112",  # no issuer; a wrong check digit
        "version 81.2.69.142, v10.2.3.4, 1.22.333.4444, 256.1.1.1, 192.168.0.1, 127.0.0.1, 203.0.113.9, 8.8.8.8",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709, md5 d41d8cd98f00b204e9800998ecf8427e",
        "id 550e8400-e29b-41d4-a716-446655440000, key: 550e8400-e29b-41d4-a716-446655440000",
        "write to you@example.com, bob@mail.example.org, noreply@acme.io, logo@2x.png or git@github.com:acme/x.git",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, sk-your-key-here, AKIAIOSFODNN7EXAMPLE, hf_your_token",
        "password: must contain 8 characters; password=get_pass1(); PASSWORD=$DB_PASS; password = self.password2",
        "max_tokens: 1000000000000000000, tokenizer = gpt2, the key is to divide by 12, token: <your token>",
        "DE89 3704 0044 0532 0130 01 and GB82 TEST 1234",
        "Each phone has 2400 / 200 = 12 parts; call 555 for 10; 1,234,567,890 people; 3.14159265358979",
        "std::vector<int>, abc::def, at 12:30:45, 00:1a:2b:3c:4d:5e, fe80::1, ::1, 2001:db8::1",
        "It begins with -----BEGIN RSA " + "PRIVATE KEY----- and ends with a line like it.",
        "eyJub3QiOiJhIHRva2VuIn0.eyJzdWIiOiI0MiJ9.not-a-token-at-all-really",  # its head names no algorithm
        "ISBN 978-3-16-148410-0, EAN 4006381333931, 1700000000000, task-" + "a" * 40,
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert [(span.kind, text[span.start : span.end]) for span in find(text)] == []


@pytest.mark.parametrize(
    "text",
    ["SSN: 536-22-8145", "my social security number is 536 22 8145.", "ssn 536228145", "536-22-8145 (SSN of Jane)"],
)
def test_a_social_security_number_counts_beside_the_word_for_it(text: str) -> None:
    spans = find(text)
    [(_, masked, _)] = excerpts(text, spans)
    assert [span.kind for span in spans] == ["ssn"] and masked == "5…45"


@pytest.mark.parametrize(
    "text",
    [
        "Part 536-22-8145, ticket 536228145",  # without the word
        "SSN 000-12-3456, SSN 666-12-3456, SSN 912-12-3456, SSN 536-00-8145, SSN 536-22-0000",  # never handed out
        "SSN 078-05-1120",  # of an advertisement
        f"SSN: {'word ' * 20} 536-22-8145",
    ],
)
def test_what_only_looks_like_a_social_security_number_is_left_alone(text: str) -> None:
    assert find(text) == []


AWS_ID = "AKIA" + "Q4ZT7HJN2WXKP5RM"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYzz1234wXyZ"


@pytest.mark.parametrize(
    "text",
    [
        f"Use {AWS_ID} and {AWS_SECRET}",
        f"{AWS_SECRET} goes with\n{AWS_ID}",
        f"{AWS_ID}:{AWS_SECRET}. {'word ' * 30}",
        f"{AWS_ID} {'word ' * 30} {AWS_SECRET}",
        f'{{"id": "{AWS_ID}", "value": "{AWS_SECRET}"}}',
    ],
)
def test_the_secret_beside_the_id_of_an_aws_key_is_found_and_masked(text: str) -> None:
    spans = find(text)
    values = {span.kind: text[span.start : span.end] for span in spans}
    assert values == {"aws_key": AWS_ID, "aws_secret": AWS_SECRET}
    assert not any(AWS_SECRET[:6] in part for shown in excerpts(text, spans) for part in shown)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"the secret {AWS_SECRET} works", "aws_secret"),
        (f"Secret key: `{AWS_SECRET}`", "aws_secret"),
        (f"My secret access key is {AWS_SECRET}.", "aws_secret"),
        (f"AWS_SECRET_ACCESS_KEY={AWS_SECRET}", "aws_secret"),
        (f"the secret {AWS_SECRET[:39]}", "password"),  # of no known length, but called a secret
        ("its secret da39a3ee5e6b4b0d3255bfef95601890afd80709", "password"),
    ],
)
def test_what_is_called_a_secret_needs_no_sign_before_it(text: str, kind: str) -> None:
    assert [span.kind for span in find(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        f"{AWS_ID} in commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        f"{AWS_ID} in src/Components/Button/styles/Main2/abcde",
        f"{AWS_ID} and {AWS_SECRET}0 or {AWS_SECRET}== or {AWS_SECRET[:39]}",  # of another length
        f"{AWS_ID} {'word ' * 60} {AWS_SECRET}",  # too far away
        f"{AWS_ID} with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ],
)
def test_beside_the_id_of_an_aws_key_other_runs_are_no_secrets(text: str) -> None:
    assert [span.kind for span in find(text)] == ["aws_key"]


def test_a_national_number_counts_where_the_words_before_it_say_what_it_is() -> None:
    assert [span.kind for span in find("Call me at 4155552671, or Telefon: 030 901820")] == ["phone", "phone"]
    assert find("Ticket 4155552671 about 030 901820") == []


def test_a_find_is_shown_so_that_neither_it_nor_its_neighbour_can_be_used() -> None:
    key, address = "ghp_" + some(36), "jane.doe@acme-corp.io"
    text = f"Ask {address} for {key}, soon."
    (before, masked, after), second = excerpts(text, find(text))
    assert (before, masked) == ("Ask ", "j…@a….io")
    assert second[1] == "ghp_…"
    assert key[4:12] not in after and "jane" not in second[0]


def test_redaction_writes_a_placeholder_for_each_and_nothing_else_changes() -> None:
    text = "a jane@acme.io b 4111 1111 1111 1111 c"
    assert redacted(text, find(text)) == "a [E-MAIL] b [CARD] c"


def test_every_text_of_a_row_is_looked_at_with_its_place() -> None:
    row = {
        "messages": [{"role": "user", "content": "a"}, {"tool_calls": [{"function": {"arguments": "b"}}]}],
        "tools": [{"function": {"description": "c"}}],
        "n": 3,
    }
    assert [(place.field, place.text) for place in texts_of(row)] == [
        ("messages[0].role", "user"),
        ("messages[0].content", "a"),
        ("messages[1].tool_calls[0].function.arguments", "b"),
        ("tools[0].function.description", "c"),
    ]


def test_a_text_made_to_be_slow_is_not() -> None:
    """Each is 200 kB of the beginning of something; none takes a second."""
    for piece in (
        "a@",
        "a.",
        "1 ",
        "1-",
        "sk-",
        "AA11 ",
        "1.",
        "::",
        "password ",
        "+1 ",
        "eyJ",
        "key=",
        "secret ",
        AWS_ID + " ",
        "SSN ",
        "SSN 536-22-0000 ",
        "a" * 50,
        BEGIN,
    ):
        find(piece * (200_000 // len(piece)))
