import pytest

from miha.errors import StorageError
from miha.rasters.verify import verify_raster


def test_a_raster_that_was_not_written_whole_is_noticed(tmp_path):
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(StorageError, match=r"empty\.tif .*written whole"):
        verify_raster(tmp_path / "empty.tif")
