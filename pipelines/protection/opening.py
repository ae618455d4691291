"""The values of tokens of `protect`, for who has the key: `python -m pipelines.protection.opening`.

Reads a token a line and writes its value, an empty line for what is no token. Nothing is kept.
"""

import sys

from pipelines.protection.masking import masking_key
from pipelines.protection.methods.tokens import Tokens
from settings import Settings


def main() -> int:
    """Entry point: with the key that this machine's runs have."""
    settings = Settings()
    tokens = Tokens(masking_key(settings.data_dir, required=settings.mask_key_required))
    for line in sys.stdin:
        opened = tokens.opened(line.rstrip("\r\n"))
        sys.stdout.write(f"{'' if opened is None else opened}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
