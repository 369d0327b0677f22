"""How every page of a dataset gets it."""

from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from training.models import DatasetFile


def one_dataset(request: HttpRequest, file_id: str) -> DatasetFile:
    """One dataset of the current project; anybody else's is not there."""
    found: DatasetFile = get_object_or_404(DatasetFile.objects.of(request.project).datasets(), pk=file_id)
    return found
