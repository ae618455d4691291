"""Key pairs: the private half in a file of its owner's, the public one as the setting that is served."""

import json
from pathlib import Path

import pytest
from joserfc.jwk import KeySet
from pydantic import ValidationError

from api.sources.key_pairs import Algorithm, main, make_pair
from pipelines.access.secrets import Secrets
from pipelines.sources.http.smart_backend import signing_key
from settings import Settings


@pytest.mark.parametrize("algorithm", [Algorithm.ES384, Algorithm.RS384])
def test_a_pair_is_made_beside_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], algorithm: Algorithm
) -> None:
    _, standing = make_pair("old", Algorithm.ES384)
    monkeypatch.setenv("CAI_PUBLIC_KEYS", json.dumps({"keys": [standing]}))
    file = tmp_path / "new.pem"
    main(["new", "--file", str(file), "--algorithm", algorithm])
    printed = capsys.readouterr()
    monkeypatch.setenv("CAI_PUBLIC_KEYS", printed.out)
    served = Settings().public_keys
    assert [(key["kid"], key["alg"]) for key in served] == [("old", Algorithm.ES384), ("new", algorithm)]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().splitlines()[1] not in printed.out + printed.err
    private = signing_key(file.read_text(), Secrets())
    public = KeySet.import_key_set({"keys": served}).get_by_kid("new")
    assert public.thumbprint() == private.thumbprint()
    for again in (["new", "--file", str(tmp_path / "b")], ["newer", "--file", str(file)]):
        with pytest.raises(SystemExit) as refused:
            main(again)
        assert isinstance(refused.value.code, str)


def test_no_private_key_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    _, public = make_pair("k", Algorithm.ES384)
    for bad in (
        [{**public, "d": "canary"}],
        [{"kty": "oct", "kid": "k", "k": "canary"}],
        [{"kty": "EC"}],
        [public] * 2,
    ):
        monkeypatch.setenv("CAI_PUBLIC_KEYS", json.dumps(bad))
        with pytest.raises(ValidationError) as refused:
            Settings()
        assert "canary" not in str(refused.value)
