"""The `/v1` API: authentication, error shape and all routers."""

from ninja import NinjaAPI

api = NinjaAPI(title="Hone", version="1", urls_namespace="api")
