"""Of a large package only the files that are used are served."""

from pathlib import Path

from django.contrib.staticfiles.finders import find, get_finders
from pytest_django import Settings

from vmsnap_site.single_files import SingleFilesFinder

ECHARTS = "vendor/echarts/echarts.min.js"


def test_the_chart_library_is_found_and_its_other_files_are_not() -> None:
    found = find(ECHARTS)
    assert found is not None
    assert Path(found).stat().st_size > 100_000
    assert find("vendor/echarts/echarts.js") is None
    assert find("vendor/echarts/../echarts/echarts.min.js.map") is None


def test_gathering_copies_just_that_file() -> None:
    own = next(finder for finder in get_finders() if isinstance(finder, SingleFilesFinder))
    gathered = [f"{storage.prefix}/{name}" for name, storage in own.list([])]
    assert gathered == [ECHARTS]


def test_a_file_that_is_missing_is_told_at_the_start(settings: Settings, tmp_path: Path) -> None:
    settings.STATICFILES_SINGLE = {"vendor/x.js": tmp_path / "x.js"}
    errors = SingleFilesFinder().check()
    assert [error.id for error in errors] == ["vmsnap.E010"]
    assert SingleFilesFinder().find("vendor/x.js") == []
