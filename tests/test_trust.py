"""The user's key: who has it, who can make a hash with it, and what happens without a place to keep it."""

from __future__ import annotations

import pwd
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index import trust
from index.trust import DIGEST_BYTES, KEY_NAME, keyed_hash, user_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the key that does not exist yet."""
    monkeypatch.setenv("LATENT_DATA", str(tmp_path / "data"))
    trust._key.cache_clear()
    return tmp_path / "data"


def digest_elsewhere(folder: Path | str, purpose: str = "cache") -> str:
    """The keyed hash of nothing, by another process."""
    asking = f"from index.trust import keyed_hash; print(keyed_hash({purpose!r}).hexdigest())"
    done = subprocess.run(
        [sys.executable, "-c", asking], env={"LATENT_DATA": str(folder)}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_processes_of_one_user_share_a_key_that_is_made_once(home: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        digests = set(pool.map(lambda _: digest_elsewhere(home), range(6)))
    assert digests == {keyed_hash("cache").hexdigest()}
    assert [one.name for one in home.iterdir()] == [KEY_NAME]
    assert home.stat().st_mode & 0o777 == 0o700 and (home / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert keyed_hash("cache").digest_size == DIGEST_BYTES


def test_hashes_differ_by_purpose_and_by_user(home: Path, tmp_path: Path) -> None:
    mine = keyed_hash("cache").hexdigest()
    assert len({mine, keyed_hash("journal").hexdigest(), digest_elsewhere(tmp_path / "other")}) == 3


@pytest.mark.parametrize("fault", ["readable", "short", "link"])
def test_a_key_that_others_may_know_is_not_used(home: Path, tmp_path: Path, fault: str) -> None:
    before = keyed_hash("cache").hexdigest()
    path = home / KEY_NAME
    if fault == "readable":
        path.chmod(0o644)
    elif fault == "short":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.rename(tmp_path / "planted")
        path.symlink_to(tmp_path / "planted")
    assert digest_elsewhere(home) != before != digest_elsewhere(home) != digest_elsewhere(home)


def test_without_a_place_each_process_has_a_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "data", Path("data")):
        monkeypatch.setenv("LATENT_DATA", str(place))
        assert user_folder() is None
        assert digest_elsewhere(place) != digest_elsewhere(place)


def test_a_user_whom_the_system_does_not_know_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is run with any number as its user."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("LATENT_DATA", "HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert user_folder() is None
