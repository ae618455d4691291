"""Do Prefect's background services of this pod move?

They have no port. Their event loop leaves a heartbeat in Redis every two seconds, under this pod's name; a loop that
hangs leaves none, though its process lives. Exit code 0: a heartbeat of the last 30 seconds is there.
"""

import os
import socket
import sys
import time
from typing import Any

import redis

OLDEST_SECONDS = 30

client = redis.Redis.from_url(
    os.environ["PREFECT_SERVER_DOCKET_URL"], socket_timeout=5, socket_connect_timeout=5, decode_responses=True
)
beats: Any = client.zrange("prefect:workers", 0, -1, withscores=True)
own = [score for name, score in beats if name.startswith(f"{socket.gethostname()}#")]
if not own:
    sys.exit("The background services have left no heartbeat in Redis.")
age = time.time() - max(own)
if age > OLDEST_SECONDS:
    sys.exit(f"The last heartbeat of the background services is {age:.0f} s old.")
