"""Makes filters.h5: stacks in filters and byte orders that the C library of the tests cannot write.

Needs h5py, hdf5plugin, numpy. Every group holds data (9, 6, 40) and theta; the values are those of
`value` in ../common/mod.rs: (projection * 31 + row * 17 + column * 7) % 251 + 1.
"""
import h5py
import hdf5plugin as p
import numpy as np

i, r, c = np.meshgrid(np.arange(9), np.arange(6), np.arange(40), indexing="ij")
data = (i * 31 + r * 17 + c * 7) % 251 + 1
theta = np.arange(9) * 20.0

with h5py.File("filters.h5", "w", libver="earliest") as f:
    def stack(name, dtype="<u2", **how):
        g = f.create_group(name)
        g.create_dataset("data", data=data.astype(dtype), **how)
        g["theta"] = theta

    chunk = dict(chunks=(2, 6, 40))
    stack("bitshuffle", **chunk, compression=p.Bitshuffle(cname="none"))
    stack("bitshuffle_lz4", **chunk, compression=p.Bitshuffle(cname="lz4"))
    stack("bitshuffle_lz4_blocks", **chunk, compression=p.Bitshuffle(nelems=64, cname="lz4"))
    stack("bitshuffle_lz4_odd", chunks=(1, 5, 37), compression=p.Bitshuffle(cname="lz4"))
    stack("bitshuffle_zstd_f4", "<f4", **chunk, compression=p.Bitshuffle(cname="zstd"))
    stack("lz4", **chunk, compression=p.LZ4(nbytes=256))
    stack("zstd", **chunk, compression=p.Zstd(clevel=3))
    stack("blosc_zlib_none", **chunk, compression=p.Blosc(cname="zlib", shuffle=p.Blosc.NOSHUFFLE))
    stack("blosc_lz4hc_bits", **chunk, compression=p.Blosc(cname="lz4hc", shuffle=p.Blosc.BITSHUFFLE))
    stack("blosc_zstd_u1", "u1", **chunk, compression=p.Blosc(cname="zstd", shuffle=p.Blosc.SHUFFLE))
    stack("big_u2", ">u2")
    stack("big_f4", ">f4")
    stack("big_i2", ">i2", **chunk, compression="gzip")
    stack("half", "<f2")
    stack("enum", h5py.enum_dtype({"A": 1}, basetype="u1"))
    stack("blosc2", **chunk, compression=p.Blosc2())
    stack("scaleoffset", **chunk, scaleoffset=0)
