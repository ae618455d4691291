"""Variables of local processes, and the file that lets another terminal join in."""

import stat
import subprocess
import sys
from pathlib import Path

from local.environment import joining, prefect_server, write_env_file
from settings import Settings, read_env_file


def _variables(data_dir: Path) -> dict[str, str]:
    settings = Settings(data_dir=data_dir, api_port=18080)
    return joining(settings, 14200, "postgresql://postgres:pass@127.0.0.1:5/cai", "postgresql://x:y@127.0.0.1:5/clinic")


def test_the_env_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("CAI_DATABASE_URL=of last time\n")
    path.chmod(0o644)
    write_env_file(path, _variables(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_env_file_is_what_the_settings_read(tmp_path: Path) -> None:
    write_env_file(tmp_path / "env", _variables(tmp_path))
    assert Settings(data_dir=tmp_path).resolved_database_url() == "postgresql://postgres:pass@127.0.0.1:5/cai"


def test_another_terminal_joins_in_by_sourcing_the_env_file(tmp_path: Path) -> None:
    data_dir = tmp_path / "with a space"
    data_dir.mkdir()
    write_env_file(data_dir / "env", _variables(data_dir))
    script = 'set -a; . "$1/env"; exec printenv CAI_DATA_DIR CAI_API_URL PREFECT_API_URL'
    seen = subprocess.run(["sh", "-c", script, "sh", data_dir], capture_output=True, text=True, check=True)
    assert seen.stdout.split("\n")[:3] == [str(data_dir), "http://127.0.0.1:18080", "http://127.0.0.1:14200/api"]


def test_a_server_that_reads_none_of_the_systems_zone_files_knows_all_their_zones() -> None:
    ask = "import zoneinfo; print(len(zoneinfo.TZPATH), *(zoneinfo.available_timezones() - {'localtime'}))"

    def asked(environment: dict[str, str]) -> list[str]:
        told = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
        return told.stdout.split()

    paths, *zones = asked(prefect_server(Settings(), 14200))
    assert (paths, set(zones)) == ("0", set(asked({})[1:]))


def test_the_env_file_has_plain_lines(tmp_path: Path) -> None:
    write_env_file(tmp_path / "env", _variables(tmp_path))
    assert read_env_file(tmp_path / "env") == _variables(tmp_path)
