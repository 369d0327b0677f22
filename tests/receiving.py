"""A program that is told by webhooks: it keeps what came and answers what it is set to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.http_serving import Quiet, serving


@dataclass
class Receiver:
    url: str = ""
    answer: int = 200
    came: "list[tuple[dict[str, str], str]]" = field(default_factory=list)  # headers, body


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            receiver.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.answer)
            self.send_header("Location", receiver.url)  # a redirect would lead back here
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as address:
        receiver.url = f"{address}/hook?token=1"
        yield receiver
