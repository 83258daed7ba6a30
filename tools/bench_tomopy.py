"""What TomoPy with ngff-zarr takes for the same scan, in CPU seconds per slice. Run by tools/bench.py.

    PYTHON tools/bench_tomopy.py SCAN FOLDER ROWS

PYTHON has TomoPy, h5py and tifffile, and ngff-zarr with dask-image for the OME-Zarr. The stages, their order
and their parameters are those of the reconstruction and conversion scripts of beamline 8.3.2 (ALS) in production:
normalisation, -ln of at least 0.01, Fourier-wavelet stripe removal (level 8, db5, sigma 3), edge padding
to sqrt(2) of the width, gridrec with a Butterworth filter (0.25, 2), circular mask, one float32 TIFF a slice;
then those TIFFs into OME-Zarr 0.4 by a Gaussian of Dask.

One core (ncore=1): it is the cheapest way in CPU seconds. Each stage counts as its fastest of the blocks of 16
rows, a call of its own as its fastest of three, which favours them on a busy machine. Prints one line of JSON:
`gridrec` and `stripes` as calls on two slices; `stages` of the whole job; and, where ngff-zarr is there,
`zarr` and `all`, the sum of the stages. Seconds of child processes are counted.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

# With several MKL threads TomoPy's stripe removal can deadlock.
os.environ.update(MKL_NUM_THREADS="1", OMP_NUM_THREADS="1")

import h5py
import numpy
import tifffile
import tomopy

BLOCK = 16
STRIPES = {"level": 8, "wname": "db5", "sigma": 3, "pad": True, "ncore": 1}
GRIDREC = {"algorithm": "gridrec", "filter_name": "butterworth", "filter_par": numpy.array([0.25, 2.0]), "ncore": 1}


def cpu():
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


class Stages(dict):
    """CPU seconds per slice by stage, the fastest block of each."""

    def timed(self, stage, slices, work):
        began = cpu()
        result = work()
        self[stage] = min(self.get(stage, float("inf")), (cpu() - began) / slices)
        return result


def frames(file, first, rows):
    """Projections, flats and darks of some detector rows, as float32."""
    names = ["data", "data_white", "data_dark"]
    return [file[f"exchange/{name}"][:, first:first + rows].astype(numpy.float32) for name in names]


def minus_log(normalised):
    normalised[normalised < 0.01] = 0.01
    return tomopy.minus_log(normalised, ncore=1)


def finish(slices, npad):
    """The field of view, in 1/cm, zero outside its circle."""
    inside = slices[:, npad:-npad, npad:-npad]
    inside /= 0.000065
    return tomopy.circ_mask(inside, 0, ratio=1, val=0.0, ncore=1)


def write(folder, first, slices):
    for row, image in enumerate(slices, first):
        tifffile.imwrite(folder / f"{row:05d}.tiff", image)


def reconstruct(stages, file, folder, rows):
    theta = -numpy.deg2rad(file["exchange/theta"][:])
    columns = file["exchange/data"].shape[2]
    npad = int(numpy.ceil(columns * 2**0.5) - columns) // 2
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        tomo, flat, dark = stages.timed("read", count, lambda: frames(file, first, count))
        tomo = stages.timed("normalise", count, lambda: tomopy.normalize(tomo, flat, dark, ncore=1))
        tomo = stages.timed("-ln", count, lambda: minus_log(tomo))
        tomo = stages.timed("stripes", count, lambda: tomopy.remove_stripe_fw(tomo, **STRIPES))
        tomo = stages.timed("pad", count, lambda: tomopy.pad(tomo, 2, npad=npad, mode="edge", ncore=1))
        made = stages.timed("gridrec", count, lambda: tomopy.recon(tomo, theta, center=columns / 2 + npad, **GRIDREC))
        made = stages.timed("mask", count, lambda: finish(made, npad))
        stages.timed("tiff", count, lambda: write(folder, first, made))


def alone(file):
    """Stripe removal and gridrec of two slices, each as a call of its own."""
    tomo = minus_log(tomopy.normalize(*frames(file, 0, 2), ncore=1))
    theta = -numpy.deg2rad(file["exchange/theta"][:])
    columns = tomo.shape[2]
    npad = int(numpy.ceil(columns * 2**0.5) - columns) // 2
    wide = tomopy.pad(tomo, 2, npad=npad, mode="edge", ncore=1)
    calls = Stages()
    for _ in range(4):
        copy = tomo.copy()
        calls.timed("stripes", 2, lambda: tomopy.remove_stripe_fw(copy, **STRIPES))
        calls.timed("gridrec", 2, lambda: tomopy.recon(wide, theta, center=columns / 2 + npad, **GRIDREC))
    return calls


def convert(tiffs, zarr):
    """TIFFs to OME-Zarr 0.4 with all levels."""
    from ngff_zarr import Methods, cli_input_to_ngff_image, detect_cli_io_backend, to_multiscales, to_ngff_zarr
    paths = sorted(str(path) for path in tiffs.iterdir())
    image = cli_input_to_ngff_image(detect_cli_io_backend(paths), paths)
    image.scale = dict.fromkeys("zyx", 0.65)
    image.axes_units = dict.fromkeys("zyx", "micrometer")
    to_ngff_zarr(str(zarr), to_multiscales(image, method=Methods.DASK_IMAGE_GAUSSIAN, cache=False), version="0.4")


def main():
    scan, folder, rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    tiffs = folder / "tiffs"
    tiffs.mkdir(parents=True)
    stages = Stages()
    with h5py.File(scan) as file:
        found = dict(alone(file))
        rows = min(rows, file["exchange/data"].shape[1])
        reconstruct(stages, file, tiffs, rows)
    try:
        import dask_image
        import ngff_zarr
    except ImportError as missing:
        print(f"OME-Zarr is not measured: {missing}", file=sys.stderr)
    else:
        stages.timed("zarr", rows, lambda: convert(tiffs, folder / "theirs.zarr"))
        found |= {"zarr": stages["zarr"], "all": sum(stages.values())}
    print(json.dumps(found | {"stages": stages, "rows": rows, "version": tomopy.__version__}))


if __name__ == "__main__":
    main()
