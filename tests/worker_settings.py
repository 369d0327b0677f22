"""Settings of processes that a test starts: the same folder and database as the test itself."""

import os

from dashboard.settings import *  # noqa: F403
from dashboard.settings import DATABASES

DATABASES["default"]["NAME"] = os.environ["HONE_TEST_DATABASE"]
