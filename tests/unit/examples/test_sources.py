"""Packages and their parts."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from stdlib_index.sources import TOP_LEVEL, cut, files_of, find_packages


def test_packages_are_folders_with_python_files(tmp_path: Path) -> None:
    """In order, with the modules beside them; site-packages and caches are left out."""
    for name in ("os.py", "json/a.py", "json/b.py", "json/deep/c.py", "empty/x.txt", "site-packages/d.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_packages(tmp_path) == [TOP_LEVEL, "json", "json.deep"]
    assert [path.name for path in files_of(tmp_path, "json")] == ["a.py", "b.py"]
    assert [path.name for path in files_of(tmp_path, TOP_LEVEL)] == ["os.py"]


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(1, 200))
def test_parts_cover_every_file_once(sizes: list[int], limit: int) -> None:
    """No file is lost or counted twice, and only a part of one file may be larger than the limit."""
    parts = cut("p", sizes, limit)
    assert [n for part in parts for n in range(part.first, part.first + part.count)] == list(range(len(sizes)))
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert all(part.of == len(parts) for part in parts)
    for part in parts:
        assert part.count == 1 or sum(sizes[part.first : part.first + part.count]) <= limit
