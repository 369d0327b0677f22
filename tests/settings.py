"""Settings of the test session: everything lies in a folder of its own that is thrown away."""

import os
import tempfile

os.environ["HONE_HOME"] = os.environ.get("HONE_TEST_HOME") or tempfile.mkdtemp(prefix="hone-test-")

from dashboard.settings import *  # noqa: F403
from dashboard.settings import DATABASES, HONE_HOME

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(HONE_HOME / "test.sqlite3")}
