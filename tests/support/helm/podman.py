"""A kubelet of sorts: runs the pods that the chart renders with podman, as near to Kubernetes as one machine comes.

Commands, environment, security context, limits, volumes, probes and grace are taken from the rendered objects. Services
are names in the network's DNS, which answers with all pods of a Service in turn.
"""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.helm.chart import Object, of_kind, selects

MOST_RESTARTS = 3

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(quantity: str) -> int:
    """A memory quantity in bytes."""
    for unit, factor in _UNITS.items():
        if quantity.endswith(unit):
            return int(float(quantity.removesuffix(unit)) * factor)
    return int(quantity)


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Waits for a condition; the seconds that it took.

    Raises:
        AssertionError: when it is not true in time.
    """
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"{what}: not after {seconds:.0f} s"
        time.sleep(0.25)
    return time.monotonic() - began


@contextlib.contextmanager
def relay(port: int) -> Iterator[int]:
    """Makes a port of 127.0.0.1 reachable from containers: a port on every address that passes bytes on to it."""
    loop = asyncio.new_event_loop()
    listening = threading.Event()
    ports: list[int] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copy(reader, back), copy(there, writer))

    async def serve() -> None:
        server = await asyncio.start_server(accept, "0.0.0.0", 0)
        ports.append(server.sockets[0].getsockname()[1])
        listening.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert listening.wait(10)
    yield ports[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@dataclass
class Running:
    """A pod's container that was started."""

    name: str
    pod: Object
    container: dict[str, Any]
    node: "Node"
    grace: int
    restarts: int = 0

    @property
    def address(self) -> str:
        """Its address in the network."""
        shown = self.node.podman("inspect", self.name, "--format", "{{json .NetworkSettings.Networks}}")
        return str(next(iter(json.loads(shown).values()))["IPAddress"])

    def state(self) -> tuple[str, int]:
        """Status and exit code."""
        shown = self.node.podman("inspect", self.name, "--format", "{{.State.Status}} {{.State.ExitCode}}").split()
        return shown[0], int(shown[1])

    def log(self) -> str:
        """What it has said."""
        done = subprocess.run([*self.node.command, "logs", self.name], check=False, capture_output=True, text=True)
        return done.stdout + done.stderr

    def is_ready(self) -> bool:
        """Whether its readiness probe passes; once it has ended, it is started again, as the kubelet does.

        Raises:
            AssertionError: when it ends again and again.
        """
        if self.state()[0] != "running":
            self.restarts += 1
            assert self.restarts < MOST_RESTARTS, self.log()[-3000:]
            self.node.podman("start", self.name)
        return self.passes("readinessProbe")

    def passes(self, probe: str) -> bool:
        """Whether one of its rendered probes passes now."""
        how = self.container[probe]
        patience = how.get("timeoutSeconds", 1)
        if "exec" in how:
            command = [*self.node.command, "exec", self.name, *how["exec"]["command"]]
            with contextlib.suppress(subprocess.TimeoutExpired):
                return subprocess.run(command, check=False, capture_output=True, timeout=patience).returncode == 0
            return False
        if "tcpSocket" in how:
            port = self._port(how["tcpSocket"]["port"])
            return (
                subprocess.run(
                    ["bash", "-c", f"exec 3<>/dev/tcp/{self.address}/{port}"],
                    check=False,
                    capture_output=True,
                    timeout=10,
                ).returncode
                == 0
            )
        url = f"http://{self.address}:{self._port(how['httpGet']['port'])}{how['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=patience) as answer:
                return 200 <= int(answer.status) < 400
        except (urllib.error.URLError, OSError):
            return False

    def _port(self, name: str) -> int:
        return next(int(port["containerPort"]) for port in self.container["ports"] if port["name"] == name)

    def stop(self) -> tuple[int, float]:
        """The rendered preStop, SIGTERM, SIGKILL after the rendered grace: exit code, and the seconds that it took."""
        began = time.monotonic()
        before = self.container.get("lifecycle", {}).get("preStop", {}).get("exec")
        if before is not None:
            self.node.podman("exec", self.name, *before["command"])
        left = max(0, self.grace - round(time.monotonic() - began))
        self.node.podman("stop", "--time", str(left), self.name)
        return self.state()[1], time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL, as when its node dies."""
        self.node.podman("kill", "--signal", "KILL", self.name)


@dataclass
class Node:
    """Runs pods of a release.

    Args:
        objects: of the release.
        secrets: those that were there before it: name to key to value.
        image: that stands for the chart's.
        root: where volumes are.
    """

    objects: list[Object]
    secrets: dict[str, dict[str, str]]
    image: str
    root: Path
    command: tuple[str, ...] = ("podman",)
    network: str = f"cai-test-{os.getpid()}"
    started: list[Running] = field(default_factory=list)
    _count: int = 0

    def podman(self, *arguments: str) -> str:
        """Runs podman and gives what it printed.

        Raises:
            AssertionError: when it failed.
        """
        done = subprocess.run([*self.command, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def __enter__(self) -> "Node":
        self.podman("network", "create", self.network)
        return self

    def __exit__(self, *_: object) -> None:
        for running in self.started:
            subprocess.run(
                [*self.command, "rm", "--force", "--time", "0", running.name], check=False, capture_output=True
            )
        self.podman("network", "rm", self.network)

    @property
    def gateway(self) -> str:
        """The address under which containers reach this machine."""
        (network,) = json.loads(self.podman("network", "inspect", self.network))
        return str(network["subnets"][0]["gateway"])

    def start(self, pod: Object, name: str, container: dict[str, Any], volumes: Path) -> Running:
        """Starts one container of a pod (its template's `metadata` and `spec`)."""
        self._count += 1
        hostname = f"{name}-{self._count}"
        spec = pod["spec"]
        who = {**spec["securityContext"], **container["securityContext"]}
        assert who["readOnlyRootFilesystem"]
        assert who["capabilities"] == {"drop": ["ALL"]}
        assert not who["allowPrivilegeEscalation"]
        arguments = [
            *("run", "--detach", "--name", f"{self.network}-{hostname}", "--hostname", hostname),
            *("--network", self.network, "--read-only", "--read-only-tmpfs=false"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--user", f"{who['runAsUser']}:{who['runAsGroup']}"),
            *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
            *("--memory", str(bytes_of(container["resources"]["limits"]["memory"]))),
        ]
        for service in of_kind(self.objects, "Service"):
            if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"]):
                arguments += ["--network-alias", service["metadata"]["name"]]
        for key, value in self._environment(container).items():
            arguments += ["--env", f"{key}={value}"]
        for mount in container["volumeMounts"]:
            source = self._volume(spec["volumes"], mount, volumes)
            arguments += ["--volume", f"{source}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}"]
        if "workingDir" in container:
            arguments += ["--workdir", container["workingDir"]]
        self.podman(*arguments, self.image, *container["args"])
        running = Running(
            f"{self.network}-{hostname}", pod, container, self, spec.get("terminationGracePeriodSeconds", 30)
        )
        self.started.append(running)
        return running

    def deploy(self, deployment: Object) -> list[Running]:
        """Starts the pods of a Deployment, as many as it wants."""
        name = deployment["metadata"]["name"]
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        return [
            self.start(template, name, container, self.root / f"{name}-{number}")
            for number in range(deployment["spec"]["replicas"])
        ]

    def run(self, job: Object, seconds: float) -> None:
        """Runs the containers of a Job's pod, one after the other.

        Raises:
            AssertionError: when one fails or takes longer.
        """
        name = job["metadata"]["name"]
        template = job["spec"]["template"]
        for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            running = self.start(template, name, container, self.root / name)
            wait_until(lambda it=running: it.state()[0] == "exited", seconds, container["name"])  # type: ignore[misc]
            assert running.state()[1] == 0, f"{container['name']}: {running.log()}"

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                variables.update(self._config(source["configMapRef"]["name"]))
            else:
                variables.update(self.secrets[source["secretRef"]["name"]])
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                variables[variable["name"]] = self._secret(reference["name"])[reference["key"]]
            else:
                variables[variable["name"]] = variable["value"]
        return variables

    def _config(self, name: str) -> dict[str, str]:
        (found,) = [item for item in of_kind(self.objects, "ConfigMap") if item["metadata"]["name"] == name]
        data: dict[str, str] = found["data"]
        return data

    def _secret(self, name: str) -> dict[str, str]:
        for item in of_kind(self.objects, "Secret"):
            if item["metadata"]["name"] == name:
                return {key: base64.b64decode(value).decode() for key, value in item["data"].items()}
        return self.secrets[name]

    def _volume(self, volumes: list[dict[str, Any]], mount: dict[str, Any], at: Path) -> Path:
        (volume,) = [volume for volume in volumes if volume["name"] == mount["name"]]
        place: Path = at / volume["name"] / mount.get("subPath", "")
        if "configMap" in volume:
            place.mkdir(parents=True, exist_ok=True)
            for key, value in self._config(volume["configMap"]["name"]).items():
                (place / key).write_text(value)
            return place
        if not place.exists():
            place.mkdir(parents=True)
            # As the kubelet leaves it: root's, and the pod's group may write.
            shutil.chown(place, 0, 10001)
            place.chmod(0o2775)
        return place
