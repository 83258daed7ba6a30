#!/usr/bin/env python3
"""Judges a results folder with other people's software.

    judge_volume.py FOLDER [--ramp] [--voxel-um X]

FOLDER holds rec<stem>.zarr and, where there are any, rec<stem>/*.tiff and rec<stem>.manifest.json.
Every check prints one line; the exit code is 1 if one fails.

--ramp      the volume is a linear ramp (value = z + y + x in world coordinates): every voxel of every level
            must have the value of the place where its transforms put it.
--voxel-um  the voxel size that TIFF tags and transforms must state.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import warnings

import blake3
import numpy as np
import tifffile
import zarr

warnings.filterwarnings("ignore")
FAILED = []


def check(name, function):
    """Runs one check; it returns a remark, or raises."""
    try:
        print(f"ok    {name}: {function() or ''}".rstrip(": "))
    except Exception as error:  # any failure of a foreign tool is a failed check
        FAILED.append(name)
        text = " ".join(str(error).split())
        print(f"FAIL  {name}: {type(error).__name__}: {text[-600:]}")


def run(*command):
    """Runs a program that must succeed; its last lines of output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return done.stdout + done.stderr


def tool(name):
    """A program of the environment this script runs in."""
    return str(pathlib.Path(sys.executable).parent / name)


def attributes(path):
    """OME attributes of a group, and the version they are for."""
    attrs = zarr.open_group(str(path), mode="r").attrs.asdict()
    ome = attrs.get("ome", attrs)
    return ome, ome.get("version") or ome["multiscales"][0]["version"], attrs


def parent_of(fine):
    """The level above: means of 2x2x2 children, edges replicated, integers half to even."""
    for axis in range(3):
        if fine.shape[axis] % 2:
            fine = np.concatenate([fine, np.take(fine, [-1], axis)], axis)
    children = [fine[z::2, y::2, x::2] for x in (0, 1) for z in (0, 1) for y in (0, 1)]
    if fine.dtype.kind == "f":
        # The order in which the writer adds, so that the comparison can be exact.
        columns = [(c[0] + c[1]) + (c[2] + c[3]) for c in (children[:4], children[4:])]
        return (columns[0] + columns[1]) * fine.dtype.type(0.125)
    return np.rint(sum(c.astype(np.float64) for c in children) / 8).astype(fine.dtype)


def judge_zarr(path, tiffs, args):
    ome, version, attrs = attributes(path)
    multiscale = ome["multiscales"][0]
    group = zarr.open_group(str(path), mode="r")
    arrays = [group[d["path"]] for d in multiscale["datasets"]]

    def models():
        run(tool("ome-zarr-models"), "validate", str(path))

    def ngff():
        import ngff_zarr

        scales = ngff_zarr.from_ngff_zarr(str(path), validate=True)
        image = scales.images[0]
        return f"{len(scales.images)} levels, first {tuple(image.data.shape)}, scale {image.scale}"

    def info():
        text = run(tool("ome_zarr"), "info", str(path))
        for array in arrays:
            if str(tuple(array.shape)) not in text.replace("np.int64(", "").replace("),", ","):
                raise ValueError(f"does not show the shape {array.shape}: {text}")

    def layout():
        metadata = arrays[0].metadata
        if version == "0.4":
            if metadata.zarr_format != 2 or metadata.dimension_separator != "/":
                raise ValueError(metadata)
            consolidated = zarr.open_consolidated(str(path), mode="r", zarr_format=2)
            if sorted(consolidated.array_keys()) != sorted(d["path"] for d in multiscale["datasets"]):
                raise ValueError("consolidated metadata lacks arrays")
            raw = json.loads((path / ".zmetadata").read_text())["metadata"]
            for name, value in raw.items():
                if json.loads((path / name).read_text()) != value:
                    raise ValueError(f".zmetadata disagrees with {name}")
        elif metadata.zarr_format != 3 or arrays[0].shards is None:
            raise ValueError(metadata)
        return f"OME-Zarr {version}, chunks {arrays[0].chunks}, shards {arrays[0].shards}, {arrays[0].dtype}"

    def complete():
        for array in arrays:
            if array.nchunks_initialized != array.nchunks and version == "0.4":
                raise ValueError(f"{array.path}: {array.nchunks_initialized} of {array.nchunks} chunks")

    def levels():
        fine = arrays[0][:]
        for k, array in enumerate(arrays[1:], 1):
            coarse = array[:]
            if not np.array_equal(coarse, parent_of(fine), equal_nan=True):
                raise ValueError(f"level {k} is not the mean of level {k - 1}")
            fine = coarse
        if max(fine.shape) > 256:
            raise ValueError(f"the coarsest level is {fine.shape}")
        return f"{len(arrays)} levels, coarsest {fine.shape}"

    def transforms():
        before = None
        for d, array in zip(multiscale["datasets"], arrays):
            scale, shift = (np.array(t[t["type"]]) for t in d["coordinateTransformations"])
            if before is not None:
                # Centres of the children of voxel 0: one or two of them along each axis.
                two = np.array(before[2]) > 1
                np.testing.assert_allclose(shift, before[1] + np.where(two, 0.5, 0.0) * before[0], rtol=1e-12)
                np.testing.assert_allclose(scale, before[0] * np.where(two, 2, 1), rtol=1e-12)
            before = (scale, shift, array.shape)
        units = [a.get("unit") for a in multiscale["axes"]]
        if args.voxel_um and (units != ["micrometer"] * 3 or not np.isclose(
                multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][2], args.voxel_um)):
            raise ValueError(multiscale)
        return f"scale {multiscale['datasets'][0]['coordinateTransformations'][0]['scale']} {units[0]}"

    def ramp():
        worst = 0.0
        for d, array in zip(multiscale["datasets"], arrays):
            scale, shift = (np.array(t[t["type"]]) for t in d["coordinateTransformations"])
            where = [s * np.arange(n) + t for s, t, n in zip(scale, shift, array.shape)]
            expected = where[0][:, None, None] + where[1][None, :, None] + where[2]
            error = np.abs(array[:] - expected) / scale[2]
            # A replicated edge pulls the last voxel of an odd axis inwards; inside, there is no excuse.
            inner = error[tuple(slice(0, max(1, n - 1)) for n in array.shape)]
            worst = max(worst, float(inner.max()))
        if worst > 1e-3:
            raise ValueError(f"a voxel is {worst:.3g} voxels off its place")
        return f"all levels within {worst:.1e} voxels"

    def omero():
        window = ome["omero"]["channels"][0]["window"]
        data = arrays[0][:]
        inside = np.mean((data >= window["start"]) & (data <= window["end"]))
        if not window["min"] <= window["start"] < window["end"] <= window["max"]:
            raise ValueError(window)
        if data.dtype.kind == "f" and data.min() < data.max() and (window["min"] != data.min() or window["max"] != data.max()):
            raise ValueError(f"{window}, data {data.min()}..{data.max()}")
        return f"{window['start']:.4g} to {window['end']:.4g}, {inside:.1%} of the voxels inside"

    def provenance():
        beamrail = attrs["beamrail"]
        return f"value unit {beamrail['value_unit']}, keys {sorted(beamrail)}"

    def same():
        data = arrays[0][:]
        if len(tiffs) != len(data):
            raise ValueError(f"{len(tiffs)} TIFFs, {len(data)} slices")
        for slice_, name in zip(data, tiffs):
            image = tifffile.imread(name)
            if image.dtype != slice_.dtype or image.tobytes() != slice_.tobytes():
                raise ValueError(f"{name.name} differs from level 0")
        return f"{len(tiffs)} slices"

    check(f"{path.name} zarr-python layout", layout)
    check(f"{path.name} ome-zarr-models validate", models)
    check(f"{path.name} ngff_zarr validate", ngff)
    check(f"{path.name} ome_zarr info", info)
    check(f"{path.name} all chunks written", complete)
    check(f"{path.name} levels are means of children", levels)
    check(f"{path.name} transforms", transforms)
    check(f"{path.name} contrast window", omero)
    check(f"{path.name} provenance", provenance)
    if args.ramp:
        check(f"{path.name} ramp registration", ramp)
    if tiffs:
        check(f"{path.name} level 0 equals the TIFFs", same)


def judge_tiffs(folder, tiffs, args):
    def tags():
        for name in tiffs:
            with tifffile.TiffFile(name) as file:
                page = file.pages[0]
                unit = page.tags["ResolutionUnit"].value
                n, d = page.tags["XResolution"].value
                text = page.tags["ImageDescription"].value
                if len(file.pages) != 1 or not page.is_contiguous or file.byteorder != "<":
                    raise ValueError(f"{name.name} is not one contiguous little-endian image")
                if page.compression != 1:
                    raise ValueError(f"{name.name} is compressed")
                if args.voxel_um:
                    if unit != tifffile.RESUNIT.CENTIMETER or not np.isclose(n / d, 1e4 / args.voxel_um, rtol=1e-9):
                        raise ValueError(f"{name.name}: {n}/{d} per {unit!r}")
                    if "unit=um\n" not in text:
                        raise ValueError(f"{name.name}: {text}")
                elif unit == tifffile.RESUNIT.NONE and "unit=pixel\n" not in text:
                    raise ValueError(f"{name.name}: {text}")
        return f"{len(tiffs)} files, {n}/{d} per {unit.name.lower()}, voxels at byte {page.dataoffsets[0]}"

    check(f"{folder.name} TIFF tags", tags)


def judge_manifest(path):
    def digests():
        manifest = json.loads(path.read_text())
        listed = {f["path"]: f for f in manifest["files"]}
        for name, record in listed.items():
            data = (path.parent / name).read_bytes()
            if len(data) != record["size"] or blake3.blake3(data).hexdigest() != record["blake3"]:
                raise ValueError(f"{name} is not what the manifest says")
        tops = {name.split("/")[0] for name in listed if "/" in name}
        found = {str(f.relative_to(path.parent)) for top in tops for f in (path.parent / top).rglob("*") if f.is_file()}
        if found - listed.keys():
            raise ValueError(f"not in the manifest: {sorted(found - listed.keys())[:5]}")
        return f"{len(listed)} files, {manifest['bytes']} bytes"

    check(f"{path.name} sizes and digests", digests)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--ramp", action="store_true")
    parser.add_argument("--voxel-um", type=float)
    args = parser.parse_args()
    zarrs = sorted(args.folder.glob("*.zarr"))
    if not zarrs:
        sys.exit(f"{args.folder} holds no .zarr")
    for path in zarrs:
        tiffs = sorted((args.folder / path.stem).glob("*.tiff"))
        judge_zarr(path, tiffs, args)
        if tiffs:
            judge_tiffs(args.folder / path.stem, tiffs, args)
    for path in sorted(args.folder.glob("*.manifest.json")):
        judge_manifest(path)
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
