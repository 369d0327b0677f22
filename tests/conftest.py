"""The fixed cast: owner and teammate share a project, stranger has another."""

import pytest
from django.test import Client

from accounts.models import ApiKey, Membership, Project, User


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(name="Support")


@pytest.fixture
def owner(project: Project) -> User:
    user = User.objects.create_user("owner@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role=Membership.Role.OWNER)
    return user


@pytest.fixture
def teammate(project: Project) -> User:
    user = User.objects.create_user("teammate@example.com", "a long password")
    Membership.objects.create(user=user, project=project)
    return user


@pytest.fixture
def stranger(db: None) -> User:
    user = User.objects.create_user("stranger@example.com", "a long password")
    Membership.objects.create(user=user, project=Project.objects.create(name="Elsewhere"), role=Membership.Role.OWNER)
    return user


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def owner_client(owner: User) -> Client:
    return _signed_in(owner)


@pytest.fixture
def stranger_client(stranger: User) -> Client:
    return _signed_in(stranger)


@pytest.fixture
def api_key(owner: User, project: Project) -> str:
    return ApiKey.make(project=project, user=owner, name="test")[1]
