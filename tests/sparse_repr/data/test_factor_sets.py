from __future__ import annotations

import gzip
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from sparse_repr.data import cars3d, load_dataset, mpi3d, shapes3d, smallnorb
from sparse_repr.data.base import ArrayImages, full_grid
from sparse_repr.data.storage.file_images import FileImages


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSE_REPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSE_REPR_DATA", raising=False)
    return tmp_path / "cache"


def channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2)


def random_images(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


class TestShapes3d:
    SIZES = (2, 1, 3, 2, 2, 3)
    ITEMS = 72

    def labels(self) -> np.ndarray:
        units = [np.linspace(0, 1, size) for size in self.SIZES[:4]] + [np.arange(2.0), np.linspace(-30, 30, 3)]
        grid = full_grid(self.SIZES)
        return np.stack([unit[grid[:, k]] for k, unit in enumerate(units)], axis=1)

    def write(self, folder: Path, images: np.ndarray, labels: np.ndarray, **options: object) -> Path:
        path = folder / "3dshapes.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, **options)
            file["labels"] = labels
        return path

    @pytest.mark.parametrize("chunk", [None, 5, 100_000])
    def test_compressed_chunks_are_unpacked_once_and_plain_files_read_in_place(
        self, cache: Path, tmp_path: Path, chunk: int | None
    ) -> None:
        images = random_images(self.ITEMS)
        options = {} if chunk is None else {"chunks": (min(chunk, self.ITEMS), 64, 64, 3), "compression": "gzip"}
        path = self.write(tmp_path, images, self.labels(), **options)
        data = shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)
        assert data.source == str(path)
        np.testing.assert_array_equal(data.images(np.arange(self.ITEMS)), channels_first(images))
        assert data.is_full_grid
        np.testing.assert_array_equal(data.factors, full_grid(self.SIZES))
        np.testing.assert_allclose(data.factor_values, self.labels(), rtol=1e-6)
        assert data.nominal_factors == ("shape",)
        if chunk is None:
            assert isinstance(data.store, FileImages)
            assert not cache.exists()
        else:
            assert len(list(cache.iterdir())) == 1

    def test_the_official_sizes_are_expected_unless_told_otherwise(self, tmp_path: Path) -> None:
        self.write(tmp_path, random_images(self.ITEMS), self.labels())
        with pytest.raises(ValueError, match=r"3dshapes\.h5: images needs shape \(480000, 64, 64, 3\).*found \(72, 64"):
            load_dataset("shapes3d", tmp_path)

    def test_labels_out_of_grid_order_are_refused(self, tmp_path: Path) -> None:
        labels = self.labels()
        self.write(tmp_path, random_images(self.ITEMS), labels[::-1].copy()[np.random.default_rng(0).permutation(72)])
        with pytest.raises(ValueError, match=r"3dshapes\.h5: labels of \w+ are not in grid order"):
            shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)
        labels[:, 5] = 0.0  # one value where three are expected
        self.write(tmp_path, random_images(self.ITEMS), labels)
        with pytest.raises(ValueError, match="labels of orientation are not in grid order"):
            shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)

    def test_other_types_entries_and_files_are_refused_by_name(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, random_images(self.ITEMS).astype(np.int32), self.labels())
        with pytest.raises(ValueError, match=r"3dshapes\.h5: images needs .* uint8, found .* int32"):
            shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)
        with h5py.File(path, "w") as file:
            file["pictures"] = 1
        with pytest.raises(ValueError, match=r"3dshapes\.h5: not a readable 3dshapes\.h5 .*images"):
            shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)
        path.write_bytes(b"x" * 1000)
        with pytest.raises(ValueError, match=r"3dshapes\.h5: not a readable 3dshapes\.h5 .*download it again"):
            shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)

    def test_a_damaged_chunk_is_the_file_s_fault_and_leaves_no_cache(self, cache: Path, tmp_path: Path) -> None:
        path = self.write(tmp_path, random_images(self.ITEMS), self.labels(), chunks=(8, 64, 64, 3), compression="gzip")
        with h5py.File(path, "r") as file:
            chunk = file["images"].id.get_chunk_info(3)
        with path.open("r+b") as raw:
            raw.seek(chunk.byte_offset + 100)
            raw.write(b"\xff" * 5000)
        with pytest.raises(ValueError, match=r"3dshapes\.h5: not a readable"):
            shapes3d.load_shapes3d(tmp_path, progress=False, sizes=self.SIZES)
        assert list(cache.iterdir()) == []


class TestMpi3d:
    SIZES = (2, 1, 2, 1, 3, 2, 2)
    ITEMS = 48

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_pixels_are_read_in_place_or_inflated_once(
        self, cache: Path, tmp_path: Path, save: Callable[..., None]
    ) -> None:
        images = random_images(self.ITEMS)
        path = tmp_path / "mpi3d_real.npz"
        # another entry before it, so that the pixels do not start where the file does
        save(path, a=np.arange(1000), images=images)
        data = mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)
        np.testing.assert_array_equal(data.images(np.arange(self.ITEMS)), channels_first(images))
        assert data.is_full_grid
        np.testing.assert_array_equal(data.factors, full_grid(self.SIZES))
        np.testing.assert_array_equal(data.factor_values, full_grid(self.SIZES))
        assert data.nominal_factors == ("object_color", "object_shape", "background_color")
        assert cache.exists() == (save is np.savez_compressed)
        assert isinstance(data.store, FileImages if save is np.savez else ArrayImages)

    def test_the_real_pictures_are_found_before_the_toy_ones(self, tmp_path: Path) -> None:
        for name in ("mpi3d_toy", "mpi3d_real"):
            np.savez(tmp_path / f"{name}.npz", images=random_images(self.ITEMS))
        data = mpi3d.load_mpi3d(tmp_path, progress=False, sizes=self.SIZES)
        assert data.source.endswith("mpi3d_real.npz")

    def test_what_is_not_mpi3d_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "mpi3d_toy.npz"
        np.savez(path, images=random_images(self.ITEMS))
        with pytest.raises(ValueError, match=r"mpi3d_toy\.npz: images needs shape \(1036800, .* found \(48, 64"):
            load_dataset("mpi3d", path)
        np.savez(path, images=np.asfortranarray(random_images(self.ITEMS)))
        with pytest.raises(ValueError, match=r"found .* in Fortran order"):
            mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)
        np.savez(path, pictures=random_images(2))
        with pytest.raises(ValueError, match=r"mpi3d_toy\.npz: not a readable MPI3D file .*images"):
            mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)
        # a pickle: its type is refused before anything in it is read
        np.savez(path, images=np.array([{}], dtype=object))
        with pytest.raises(ValueError, match=r"images needs .* found \(1,\) and object"):
            mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", b"no array")
        with pytest.raises(ValueError, match=r"mpi3d_toy\.npz: not a readable MPI3D file .*magic"):
            mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_cut_off_and_damaged_files_are_refused(
        self, cache: Path, tmp_path: Path, save: Callable[..., None]
    ) -> None:
        path = tmp_path / "mpi3d_toy.npz"
        save(path, images=random_images(self.ITEMS))
        content = bytearray(path.read_bytes())
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=r"mpi3d_toy\.npz: not a readable MPI3D file .*download it again"):
            mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)
        if save is np.savez_compressed:
            content[300_000:300_100] = b"\xff" * 100
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"mpi3d_toy\.npz: not a readable MPI3D file"):
                mpi3d.load_mpi3d(path, progress=False, sizes=self.SIZES)
            assert list(cache.iterdir()) == []


class TestCars3d:
    def views(self, car: int) -> np.ndarray:
        """Every view is a plain colour of its own: (car, azimuth, elevation)."""
        views = np.empty((128, 128, 3, 24, 4), dtype=np.uint8)
        views[:, :, 0] = 50 * car
        views[:, :, 1] = 10 * np.arange(24)[:, None]
        views[:, :, 2] = 60 * np.arange(4)
        return views

    def write(self, folder: Path, cars: int = 2) -> Path:
        folder.mkdir()
        for car in range(cars):
            scipy.io.savemat(folder / f"car_{car:03d}_mesh.mat", {"im": self.views(car)}, do_compression=True)
        return folder

    def test_views_are_in_grid_order_and_resized(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "cars")
        data = cars3d.load_cars3d(tmp_path, progress=False, models=2)
        assert data.source == str(folder)
        assert data.image_shape == (3, 64, 64)
        assert data.factor_sizes == (2, 24, 4)
        assert data.nominal_factors == ("model",)
        assert data.is_full_grid
        assert data.factors is not None
        assert data.factor_values is not None
        images = data.images(np.arange(len(data)))
        assert (images == images[:, :, :1, :1]).all()
        np.testing.assert_array_equal(images[:, :, 0, 0], data.factors * [50, 10, 60])
        np.testing.assert_allclose(data.factor_values, data.factors * [1, 15, 1])
        again = cars3d.load_cars3d(folder, image_size=32, progress=False, models=2)
        assert again.image_shape == (3, 32, 32)

    def test_height_comes_before_width(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "cars", 0)
        views = np.zeros((128, 128, 3, 24, 4), dtype=np.uint8)
        views[:64] = 255  # the upper half
        scipy.io.savemat(folder / "car.mat", {"im": views})
        image = cars3d.load_cars3d(folder, progress=False, models=1).images([5])[0]
        assert image[:, :30].min() == 255
        assert image[:, 34:].max() == 0

    def test_a_missing_file_is_counted(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "cars")
        with pytest.raises(ValueError, match=r"cars: expected a folder of 183 \.mat files.*found 2"):
            load_dataset("cars3d", folder)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"im": np.zeros((128, 128, 3, 24), dtype=np.uint8)}, r"needs an entry im of shape .*found .*uint8"),
            ({"im": np.zeros((128, 128, 3, 24, 4), dtype=np.int16)}, "needs an entry im .* class uint8, found .*int16"),
            ({"im": np.array([[{"a": 1}]], dtype=object)}, "needs an entry im .* found .*cell"),
            ({"im": {"a": 1}}, "needs an entry im .* found .*struct"),
            ({"other": np.zeros(3)}, r"needs an entry im .* found .*other"),
        ],
    )
    def test_other_shapes_and_types_are_refused_by_file(self, tmp_path: Path, content, message: str) -> None:
        folder = self.write(tmp_path / "cars")
        scipy.io.savemat(folder / "car_001_mesh.mat", content)
        with pytest.raises(ValueError, match=rf"car_001_mesh\.mat: {message}"):
            cars3d.load_cars3d(folder, progress=False, models=2)

    def test_damaged_files_are_refused_by_name(self, cache: Path, tmp_path: Path) -> None:
        folder = self.write(tmp_path / "cars")
        damaged = folder / "car_001_mesh.mat"
        os.truncate(damaged, damaged.stat().st_size // 2)
        with pytest.raises(ValueError, match=r"car_001_mesh\.mat: not a readable MATLAB 5 file"):
            cars3d.load_cars3d(folder, progress=False, models=2)
        damaged.write_bytes(b"x" * 500)
        with pytest.raises(ValueError, match=r"car_001_mesh\.mat: not a readable MATLAB 5 file"):
            cars3d.load_cars3d(folder, progress=False, models=2)
        assert list(cache.iterdir()) == []


class TestSmallNorb:
    ITEMS = 12

    def numbers(self, shape: tuple[int, ...], array: np.ndarray, magic: int) -> bytes:
        sizes = (*shape, *(1,) * (3 - len(shape)))
        return struct.pack(f"<II{len(sizes)}i", magic, len(shape), *sizes) + array.tobytes()

    def write(self, folder: Path, *, compress: bool = False) -> np.ndarray:
        """Six files; returns the factors in the order of the files. A picture's level tells its factors."""
        folder.mkdir()
        generator = np.random.default_rng(0)
        grid = full_grid(smallnorb.FACTOR_SIZES)
        factors = grid[generator.choice(len(grid), 2 * self.ITEMS, replace=False)]
        for part, rows in zip(smallnorb.PARTS, (factors[: self.ITEMS], factors[self.ITEMS :]), strict=True):
            pairs = np.zeros((self.ITEMS, 2, 96, 96), dtype=np.uint8)
            pairs[:, 0] = self.level(rows)[:, None, None]
            category, instance, elevation, azimuth, lighting = rows.astype("<i4").T
            information = np.stack([instance, elevation, 2 * azimuth, lighting], axis=1)
            for kind, content in (
                ("dat", self.numbers((self.ITEMS, 2, 96, 96), pairs, 0x1E3D4C55)),
                ("cat", self.numbers((self.ITEMS,), category, 0x1E3D4C54)),
                ("info", self.numbers((self.ITEMS, 4), information, 0x1E3D4C54)),
            ):
                path = folder / f"smallnorb-{part}-{kind}.mat"
                if compress:
                    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
                else:
                    path.write_bytes(content)
        return factors

    def level(self, factors: np.ndarray) -> np.ndarray:
        return factors @ [50, 2, 3, 1, 1]

    def load(self, folder: Path):
        return smallnorb.load_smallnorb(folder, progress=False, items=self.ITEMS)

    @pytest.mark.parametrize("compress", [False, True])
    def test_both_halves_are_joined_and_sorted_by_factors(self, tmp_path: Path, compress: bool) -> None:
        written = self.write(tmp_path / "norb", compress=compress)
        data = self.load(tmp_path / "norb")
        assert data.image_shape == (1, 64, 64)
        assert data.factors is not None
        assert data.factors.tolist() == sorted(written.tolist())
        images = data.images(np.arange(len(data)))
        np.testing.assert_array_equal(
            images, np.broadcast_to(self.level(data.factors)[:, None, None, None], images.shape)
        )
        assert not data.is_full_grid
        assert data.factor_values is not None
        np.testing.assert_allclose(data.factor_values[:, 2], 30 + 5 * data.factors[:, 2])
        np.testing.assert_allclose(data.factor_values[:, 3], 20 * data.factors[:, 3])
        assert data.nominal_factors == ("category", "instance", "lighting")

    def test_one_of_the_files_may_be_named(self, tmp_path: Path) -> None:
        self.write(tmp_path / "norb")
        assert len(self.load(next((tmp_path / "norb").glob("*testing-cat*")))) == 2 * self.ITEMS

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path / "norb")
        next((tmp_path / "norb").glob("*testing-info*")).unlink()
        with pytest.raises(FileNotFoundError, match=r"no smallnorb-5x01235.*testing-info\.mat or .*\.gz in .*Download"):
            self.load(tmp_path / "norb")

    def test_the_official_number_is_expected_unless_told_otherwise(self, tmp_path: Path) -> None:
        self.write(tmp_path / "norb")
        with pytest.raises(ValueError, match=r"training-cat\.mat: needs shape \(24300,\), found \(12,\)"):
            load_dataset("smallnorb", tmp_path / "norb")

    @pytest.mark.parametrize(
        ("kind", "offset", "content", "message"),
        [
            (
                "dat",
                0,
                struct.pack("<I", 0x1E3D4C51),
                "needs the type 0x1e3d4c55 with 4 axes .* found 0x1e3d4c51 with 4",
            ),
            ("cat", 0, b"PK\x03\x04", "needs the type 0x1e3d4c54 with 1 axes"),
            ("info", 4, struct.pack("<I", 3), "needs the type .* with 2 axes .* found 0x1e3d4c54 with 3"),
            ("dat", 16, struct.pack("<i", 32), r"needs shape \(12, 2, 96, 96\), found \(12, 2, 32, 96\)"),
            ("cat", 20, struct.pack("<i", 5), r"category needs numbers 0\.\.4, found \d\.\.5"),
            ("info", 20, struct.pack("<i", -1), r"instance needs numbers 0\.\.9, found -1"),
        ],
    )
    def test_other_types_shapes_and_numbers_are_refused_by_file(
        self, tmp_path: Path, kind: str, offset: int, content: bytes, message: str
    ) -> None:
        self.write(tmp_path / "norb")
        path = next((tmp_path / "norb").glob(f"*testing-{kind}.mat"))
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(content)
        with pytest.raises(ValueError, match=rf"testing-{kind}\.mat: {message}"):
            self.load(tmp_path / "norb")

    @pytest.mark.parametrize("kind", ["dat", "cat", "info"])
    @pytest.mark.parametrize("compress", [False, True])
    def test_cut_off_files_are_refused_by_name(self, cache: Path, tmp_path: Path, kind: str, compress: bool) -> None:
        self.write(tmp_path / "norb", compress=compress)
        path = next((tmp_path / "norb").glob(f"*training-{kind}.mat*"))
        os.truncate(path, path.stat().st_size - 10)
        with pytest.raises(
            ValueError, match=rf"training-{kind}\.mat(\.gz)?: (damaged or )?cut off .*download it again"
        ):
            self.load(tmp_path / "norb")
        assert not cache.exists() or list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("shapes3d", "3dshapes.h5"),
        ("mpi3d", "mpi3d_real.npz"),
        ("cars3d", "nips2015-analogy-data"),
        ("smallnorb", "smallnorb-"),
    ],
)
def test_without_files_the_error_says_what_to_download_and_where_to_put_it(name: str, file: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name}: .*Download .*{file}.*--data-path.*SPARSE_REPR_DATA"):
        load_dataset(name)
