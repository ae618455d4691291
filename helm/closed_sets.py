"""Closed sets of the chart's values: its own, and those of Kubernetes, which are written as Kubernetes writes them."""

from connectors.limits.closed_sets import ClosedSet


class Profile(ClosedSet):
    """How an installation is meant; `templates/validation.yaml` asks more of the one for production."""

    SMALL = "small"
    PRODUCTION = "production"


class LogLevel(ClosedSet):
    """The least that is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class PoolType(ClosedSet):
    """Types of work pools that the chart has workers for."""

    PROCESS = "process"
    WARM = "clinical-ai-warm"
    KUBERNETES = "kubernetes"


class PullPolicy(ClosedSet):
    """When an image is pulled."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class TolerationOperator(ClosedSet):
    """How a toleration meets a taint's value."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(ClosedSet):
    """What a taint does to pods that do not endure it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Spread(ClosedSet):
    """What happens to pods that cannot be spread over nodes."""

    ANYWAY = "ScheduleAnyway"
    NOT_AT_ALL = "DoNotSchedule"


class ServiceType(ClosedSet):
    """How a Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class AccessMode(ClosedSet):
    """Who may mount a volume at a time."""

    ONE_NODE = "ReadWriteOnce"
    ONE_POD = "ReadWriteOncePod"
    MANY_NODES = "ReadWriteMany"
