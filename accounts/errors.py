"""The one error type that a request handler raises to answer the caller in OpenAI's error shape."""

from errno import EDQUOT, EFBIG, ENOSPC


class ApiError(Exception):
    """Becomes `{"error": {"message", "type", "param", "code"}}` with this status."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.type, self.param, self.code = message, status, type, param, code
        self.headers = headers or {}

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON body OpenAI's SDK understands."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def is_disk_full(error: BaseException) -> bool:
    """Whether this came of a full disk: the file system's own error, or a database's words for it."""
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG):
        return True
    return any(words in str(error) for words in ("database or disk is full", "No space left on device"))


def disk_full() -> ApiError:
    return ApiError(
        "The server's disk is full, so nothing was stored. Delete files, jobs or models that are no longer needed, "
        "then try again.",
        status=507,
        type="server_error",
        code="disk_full",
    )
