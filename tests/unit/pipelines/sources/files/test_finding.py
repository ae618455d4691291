"""Choice of files: those that are read, in their order, and those that are left alone and told."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.access.secrets import Secrets
from pipelines.errors import ConfigurationError
from pipelines.sources import Context
from pipelines.sources.files.finding import Choice, chosen, find, waiting_sentence
from pipelines.sources.files.stores import Found
from tests.support.data_plane.samples import files_source


def choice(names: str, **keys: Any) -> Choice:
    return chosen([Found(f"/in/{name}", name, "") for name in names.split("|")], files_source(**keys))


def found(names: str, **keys: Any) -> str:
    return "|".join(file.name for file in choice(names, **keys).files)


@pytest.mark.parametrize(
    ("names", "keys", "expected"),
    [
        ("a.csv|b.csv.gz|LABS.CSV|c.Csv.GZ|x/y/d.csv|csv", {}, "LABS.CSV|a.csv|b.csv.gz|c.Csv.GZ|x/y/d.csv"),
        ("a.csv.1|a.csv.2024-01-01|b.csv_20240101.gz", {}, "a.csv.1|a.csv.2024-01-01|b.csv_20240101.gz"),
        ("a.csv.md5|a.csvx|a.csv.7z|a.csv.ok|b.csv.zip|c.csv.zst", {}, "b.csv.zip|c.csv.zst"),
        ("a.csv.bak|b.csv.filepart|c.csv~|d.csv.tmp|e.csv.PART|f.csv.crdownload|g.csv.swp|h.csv.lock", {}, ""),
        (".hidden.csv|.snap/a.csv|~$labs.csv|.~lock.labs.csv#|_temporary/0/a.csv", {}, ""),
        ("a.csv.bak|b.csv~|.c.csv|d.csv", {"glob": "**/*"}, "d.csv"),
        ("a.csv.bak|b.csv", {"glob": "*.bak"}, "a.csv.bak"),
        (".a/b.csv|c.csv", {"glob": ".a/*.csv"}, ".a/b.csv"),
        ("labs [2024].csv|labs 2.csv", {"glob": "labs [2024].csv"}, "labs 2.csv|labs [2024].csv"),
        ("labs [2024] a.csv|other.csv", {"glob": "labs [2024]*.csv"}, "labs [2024] a.csv"),
        ("LABS_1.CSV|labs_2.csv|x.csv|in/labs_3.csv", {"glob": "Labs_*.csv"}, "LABS_1.CSV|labs_2.csv"),
        ("a.csv|x/a.csv|x/y/a.csv|x/b.csv", {"glob": "x/**/a.csv"}, "x/a.csv|x/y/a.csv"),
        ("a.csv|x/a.csv|x/y/a.csv", {"glob": "x/**"}, "x/a.csv|x/y/a.csv"),
        ("a.csv|x/a.csv", {"glob": "*/a.csv"}, "x/a.csv"),
    ],
)  # fmt: skip
def test_names_say_which_files_are_read(names: str, keys: dict[str, Any], expected: str) -> None:
    assert found(names, **keys) == expected


def test_what_is_left_alone_is_told() -> None:
    assert choice("a.csv|b.csv~").remarks == (
        "1 file was left alone, for the names are those of unfinished, hidden or saved copies: b.csv~.",
    )
    assert choice("export.zip|x.tar.gz").remarks == (
        "1 file was left alone, for the names end otherwise than .csv: export.zip; name them with glob if they belong "
        "to the table.",
    )
    assert choice("a.csv.md5|b.csv.bak|c.csv.part|d.csv.tmp|.e.csv|x.txt").remarks == (
        "4 files were left alone, for the names are those of unfinished, hidden or saved copies: .e.csv, b.csv.bak, "
        "c.csv.part, and 1 more.",
        "1 file was left alone, for the names end otherwise than .csv: a.csv.md5; name them with glob if they belong "
        "to the table.",
    )


def test_files_are_read_in_the_order_in_which_they_came() -> None:
    files = [Found("", "b.csv", "", 5), Found("", "a.csv", "", 9), Found("", "c.csv", "", 5), Found("", "d.csv", "", 1)]
    assert [file.name for file in chosen(files, files_source()).files] == ["d.csv", "b.csv", "c.csv", "a.csv"]


def read_from(directory: Path, url: Path, **keys: Any) -> Choice:
    context = Context(Secrets(), local_file_roots=(directory,))
    return find(files_source(url=str(url), **keys), context)[1]


def test_a_url_names_one_file_as_it_stands(tmp_path: Path) -> None:
    for name in ("labs [2024].csv", "labs 2.csv", "LABS.CSV", "labs.csv"):
        (tmp_path / name).write_text("id\n1\n")
    for name in ("labs [2024].csv", "LABS.CSV", "labs.csv"):
        assert [file.name for file in read_from(tmp_path, tmp_path / name).files] == [name]
    (tmp_path / "run [1]").mkdir()
    (tmp_path / "run [1]" / "a.csv").write_text("id\n1\n")
    assert [file.name for file in read_from(tmp_path, tmp_path / "run [1]").files] == ["a.csv"]
    (tmp_path / "spark.csv").mkdir()
    (tmp_path / "spark.csv" / "part-0.csv").write_text("id\n1\n")
    assert [file.name for file in read_from(tmp_path, tmp_path / "spark.csv").files] == ["part-0.csv"]


def test_a_file_that_is_named_and_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="names a file that is not there"):
        read_from(tmp_path, tmp_path / "labs.csv")
    with pytest.raises(ConfigurationError, match="is no directory"):
        read_from(tmp_path, tmp_path / "labs")


def test_directories_are_looked_into_as_deep_as_the_pattern_says(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("1.csv", "a/2.csv", "a/b/3.csv"):
        (tmp_path / name).write_text("id\n1\n")
    patterns = {"*.csv": "1.csv", "a/*.csv": "a/2.csv", "*/*.csv": "a/2.csv", "a/*/*.csv": "a/b/3.csv"}
    for pattern, expected in patterns.items():
        assert [file.name for file in read_from(tmp_path, tmp_path, glob=pattern).files] == [expected]
    assert len(read_from(tmp_path, tmp_path, glob="**/*.csv").files) == 3


def test_the_marks_of_files_stay_those_of_earlier_versions(tmp_path: Path) -> None:
    """Another formula would bring every file again after an upgrade."""
    (tmp_path / "a.csv").write_text("id\n1\n")
    os.utime(tmp_path / "a.csv", ns=(0, 1_700_000_000_123_456_789))
    (file,) = read_from(tmp_path, tmp_path).files
    assert file.mark == hashlib.blake2b(b"1700000000123456789-5", digest_size=9).hexdigest()


def test_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"M\xfcller.csv")).write_text("id\n1\n")
    (file,) = read_from(tmp_path, tmp_path).files
    assert file.shown == "M\N{REPLACEMENT CHARACTER}ller.csv"


def test_a_directory_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "a.csv").write_text("id\n1\n")
    walk = os.scandir

    def denied(path: Any) -> Any:
        # Who runs the tests may be root, who may read everything.
        if str(path).endswith(("private", "closed")):
            raise PermissionError(13, "Permission denied", str(path))
        return walk(path)

    monkeypatch.setattr(os, "scandir", denied)
    choice = read_from(tmp_path, tmp_path)
    assert [file.name for file in choice.files] == ["a.csv"]
    assert choice.remarks == ("The worker may not look into private, so what is there is not read.",)
    (tmp_path / "closed").mkdir()
    with pytest.raises(ConfigurationError, match="may not read"):
        read_from(tmp_path, tmp_path / "closed")


def test_links_to_directories_are_followed_where_a_pattern_names_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.csv").write_text("id\n1\n")
    (tmp_path / "in" / "near").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    assert [file.name for file in read_from(tmp_path, tmp_path / "in", glob="*/*.csv").files] == ["near/a.csv"]
    assert read_from(tmp_path, tmp_path / "in").files == ()


def test_a_file_waits_for_its_marker() -> None:
    listed = {"a.csv": 5, "a.csv.done": 5, "b.csv": 5, "c.csv": 6, "c.csv.done": 5, "x/a.csv": 1, "D.CSV.gz": 0}
    files = [Found("", name, "", changed) for name, changed in listed.items()]
    choice = chosen(files, files_source(marker="{name}.done"))
    assert [file.name for file in choice.files] == ["a.csv"]
    assert choice.remarks == ()
    assert waiting_sentence(choice.waiting, files_source(marker="{name}.done")) == (
        "4 files wait for their markers: D.CSV.gz (D.CSV.gz.done), x/a.csv (x/a.csv.done), b.csv (b.csv.done), "
        "and 1 more"
    )
    directory = [*files, Found("", "x/_SUCCESS", "", 2), Found("", "_SUCCESS", "", 5)]
    choice = chosen(directory, files_source(marker="_SUCCESS"))
    assert [file.name for file in choice.files] == ["D.CSV.gz", "x/a.csv", "a.csv", "b.csv"]
    assert [file.name for file in choice.waiting] == ["c.csv"]
    choice = chosen([*files, Found("", "D.ok", "", 9)], files_source(marker="{stem}.ok", glob="**/*.csv.gz"))
    assert [file.name for file in choice.files] == ["D.CSV.gz"]


@pytest.mark.parametrize("marker", ["{name}", "done/{name}", "{file}.done", "*.done"])
def test_a_marker_is_a_name(marker: str) -> None:
    with pytest.raises(ValueError, match=r"must be a file's name, such as '\{name\}\.done'"):
        files_source(marker=marker)


def test_the_marker_of_a_file_that_the_url_names_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    assert [file.name for file in read_from(tmp_path, tmp_path / "a.csv", marker="{name}.done").waiting] == ["a.csv"]
    (tmp_path / "a.csv.done").touch()
    assert [file.name for file in read_from(tmp_path, tmp_path / "a.csv", marker="{name}.done").files] == ["a.csv"]
