"""What cannot be taken in, in words for people."""


class IntakeError(Exception):
    """What is wrong and what to do; `line` where it stands, 0 for the file as a whole."""

    def __init__(self, message: str, fix: str, *, line: int = 0, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.message, self.fix, self.line, self.kind = message, fix, line, kind
