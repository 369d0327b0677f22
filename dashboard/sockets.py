"""All websocket addresses."""

from django.urls import URLPattern

from dashboard import consumers
from playground import consumers as playground_consumers

routes: list[URLPattern] = [*consumers.routes, *playground_consumers.routes]
