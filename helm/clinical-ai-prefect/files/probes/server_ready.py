"""Waits until the Prefect server of PREFECT_API_URL is ready, at most ten minutes."""

import os
import sys
import time
import urllib.error
import urllib.request

LONGEST_SECONDS = 600

url = f"{os.environ['PREFECT_API_URL']}/ready"
deadline = time.monotonic() + LONGEST_SECONDS
while True:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # the chart's own http URL
            break
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        if time.monotonic() > deadline:
            sys.exit(f"The Prefect server at {url} is not ready after {LONGEST_SECONDS} s: {error}.")
    time.sleep(1)
