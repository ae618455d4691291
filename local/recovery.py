"""Runs that died with their supervisor.

Prefect goes on showing a run as Running when its process was killed, and its slot in the deployment stays taken, so the
connector's next run would wait for minutes. Here is the one place that knows better: a run names its process, and
a process that is gone runs nothing.
"""

import httpx
import psutil

_UNFINISHED = ["PENDING", "RUNNING", "CANCELLING"]


def crash_dead_runs(api: str, auth: str | None = None) -> int:
    """Marks every unfinished run whose process is gone as Crashed.

    Call it before a worker of this machine starts: a run that has not named its process yet is left alone.

    Args:
        api: URL of Prefect's API.
        auth: ``user:password`` when the server asks for one.

    Returns how many there were.
    """
    crashed = 0
    user, _, password = (auth or "").partition(":")
    with httpx.Client(base_url=api, timeout=30, auth=(user, password) if auth else None) as client:
        query = {"flow_runs": {"state": {"type": {"any_": _UNFINISHED}}}, "limit": 200}
        answer = client.post("/flow_runs/filter", json=query)
        answer.raise_for_status()
        for run in answer.json():
            # `host:pid` from one kind of worker, `pid` from another.
            pid = str(run.get("infrastructure_pid") or "").rpartition(":")[2]
            if not pid.isdigit() or _runs(int(pid), run["id"]):
                continue
            message = "The local platform was ended while this run was in progress."
            state = {"type": "CRASHED", "name": "Crashed", "message": message}
            client.post(f"/flow_runs/{run['id']}/set_state", json={"state": state, "force": True}).raise_for_status()
            crashed += 1
    return crashed


def _runs(pid: int, run_id: str) -> bool:
    """Whether this process is that run's: after a reboot the number may be anybody's."""
    try:
        return bool(psutil.Process(pid).environ().get("PREFECT__FLOW_RUN_ID") == run_id)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
