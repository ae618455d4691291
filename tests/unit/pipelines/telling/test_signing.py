"""Signatures of webhooks: the specification's own example, and what no key is."""

from datetime import UTC, datetime

import pytest

from pipelines.telling.signing import keys_of, signed

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = datetime.fromtimestamp(1614265330, UTC)


def test_the_example_of_the_specification() -> None:
    assert signed(keys_of(KEY), "msg_p5jXN8AQM9LWM0D4loKWxJek", AT, b'{"test": 2432232314}') == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_receiver_changes_keys_each_of_them_signs() -> None:
    both = signed(keys_of(f"{KEY} {KEY.removeprefix('whsec_')[::-1]}"), "m", AT, b"{}")["webhook-signature"]
    first, second = both.split(" ")
    assert first == signed(keys_of(KEY), "m", AT, b"{}")["webhook-signature"]
    assert second.startswith("v1,")
    assert second != first


@pytest.mark.parametrize("secret", ["hunter2-hunter2", "whsec_c2hvcnQ=", "whsec_" + "A" * 100, "whsec_%%%"])
def test_what_is_no_key_is_said_without_it(secret: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32") as refused:
        keys_of(secret)
    assert secret not in str(refused.value)
