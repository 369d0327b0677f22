"""The one error type that a request handler raises to answer the caller in OpenAI's error shape."""


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
