#!/usr/bin/env bash
# pysequoia can't check the signature of a message as GnuPG writes it by default: signed, compressed, encrypted.
#
# pysequoia 0.1.35
# Behaviour: decrypt() gives the plain bytes without a store of certificates; with one it refuses the message, for its
# layers are encryption, compression and signature, and only two of them are expected. Of a message that is not encrypted
# the compression was taken in by its pull request 77. Key and message below were made by GnuPG 2.2.40.
# Seen: RuntimeError: Unexpected message structure
# Exits with another status than 0 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pysequoia==0.1.35
cat > "$folder/key.asc" <<'KEY'
-----BEGIN PGP PRIVATE KEY BLOCK-----

lFgEaw5YjRYJKwYBBAHaRw8BAQdATdqnZzUzA1xVDgNHlVUqiXMXOCyON5UkYgBo
KlHTMfYAAQDy/JwsL5albz+ln8fK6NciUgtXJZQPnZrktYnZEATRhBCctBNleGFt
cGxlQGV4YW1wbGUub3JniJAEExYIADgWIQRK/kmoThxxLTqHY42yJ2Bz5TSSVgUC
aw5YjQIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAKCRCyJ2Bz5TSSVqACAP9N
iT5gn0IVIfGq5CgzD3rK2EhV1hGabx6rD3xViRVG9wEA9pDzd+c9ZBOyiGmX1ZJz
dMARPHgSKyGhEIsnrO1e/QWcXQRrDliNEgorBgEEAZdVAQUBAQdAqlToZNTmwLkb
Lklcpr6vSMnU3Hg08wZIop58H4Up9jADAQgHAAD/W69/4NOPsRzl97GUpk2wUZEl
kr9VlyNIF0p3kCNIL/gRBIh4BBgWCAAgFiEESv5JqE4ccS06h2ONsidgc+U0klYF
AmsOWI0CGwwACgkQsidgc+U0klbjXAD+LIUCVh1uV8zDbzx8YT8fr6piNi2s8Zvj
ujpIYIPV3zgBALFvRlTGqBZs6DHJsadnX+xf7IVqYKapdYJjEXEHbxQE
=Gm8O
-----END PGP PRIVATE KEY BLOCK-----
KEY
cat > "$folder/message.asc" <<'MESSAGE'
-----BEGIN PGP MESSAGE-----

hF4D+bTEJKq1WqISAQdAaQLNugdW6ZpX0agwlqR6vcLd5rZhFhnG/jP6EtcXhTEw
Y+DVsPOc9AlFdhu06fmR23NCUoWItCxX4MoM54h5iFShBiWXuuQ/AmiiZ5SReHmj
0sAGARuBmFANqZal4ix+3rStEHMvPZyAbDmQZfvXEFWqVo5Lzj5/hNnXUwpQEgln
zE7N364j2I8kfQuEqNCzMlakKIl793LsqyC6sJD+crj32V1eghZ9LwvAWIHaZyB2
xgUQxPe2wLeocR5Y8qdA1DxvGAoDWOTaY74zhKD2+JsoZxZn509sZMifqtbRWXLt
EASbzkyJvDWbfV6+rvyy8PUjE0Rms2ZHI9KomqJ0JLPjkiz1CYuy1KzC4/dmshft
ZBOZScNup4p4
=yTDq
-----END PGP MESSAGE-----
MESSAGE
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path
from pysequoia import Tsk, decrypt

folder = Path(sys.argv[1])
key = Tsk.from_bytes((folder / "key.asc").read_bytes())
message = (folder / "message.asc").read_bytes()
print(decrypt(bytes=message, decryptor=key.decryptor()).bytes)
try:
    found = decrypt(bytes=message, decryptor=key.decryptor(), store=lambda _: [key.extract_certificate()])
except RuntimeError as error:
    words = str(error).splitlines()[0]
    print("RuntimeError:", words)
    assert words == "Unexpected message structure"
else:
    raise SystemExit(f"it is checked: {found.valid_sigs}")
PYTHON
