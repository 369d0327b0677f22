"""Takes requests of the seeded project's minute as if they had come some seconds ago: `... MODEL COUNT SECONDS_AGO`."""

import os
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

import django

django.setup()

# ruff: noqa: E402 - models need the app registry
from accounts.models import Project
from playground.limits import reserving
from playground.limits.windows import Rates, RedisWindows, SQLiteWindows

if __name__ == "__main__":
    model, count, ago = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    key = f"{Project.objects.get(name='Support').pk}:{model}"
    windows = reserving.windows()
    then = time.time() - ago  # all in one second, so that they leave the window together
    if isinstance(windows, SQLiteWindows):
        for _ in range(count):
            windows.take(key, Rates(0, 0), 1, now=then)
    else:
        assert isinstance(windows, RedisWindows)
        windows._redis.hset(f"hone:rate:{key}", str(int(then)), f"{count} {count}")
