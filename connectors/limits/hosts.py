"""Hosts that no connector may reach unless an installation says otherwise (`CAI_DENIED_HOSTS`). Pure."""

DENIED_HOSTS = (
    "169.254.0.0/16",  # link-local, and with it the metadata services of AWS, Azure and Google
    "fe80::/10",
    "fd00:ec2::254",  # AWS by IPv6
    "metadata.google.internal",
    "100.100.100.200",  # Alibaba Cloud
    "192.0.0.192",  # Oracle Cloud
    "168.63.129.16",  # Azure's wire server
)
"""Where machines get credentials of their own, or are told what to do: no source of rows."""
