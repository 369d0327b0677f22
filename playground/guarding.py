"""A guard model of Hone's own list, served for moderation: training/safety/classifiers.py has it by SERVE_GUARD."""

from asgiref.sync import async_to_sync

from accounts.models import Project
from playground import deployments, gateway

IN_PAGE_SECONDS = 20.0


def serve(project: Project, model_name: str, *, in_page: bool = False) -> tuple[str, str]:
    """Base URL of its vLLM and its name there, once it answers; loaded first if it has to be. Raises ApiError."""
    target = deployments.find_target(project, model_name)
    wait_seconds = IN_PAGE_SECONDS if in_page else gateway.PAGE_WAIT_SECONDS
    deployment = async_to_sync(gateway.ready)(target, wait_seconds)
    return f"{deployment.url}/v1", deployment.served_name
