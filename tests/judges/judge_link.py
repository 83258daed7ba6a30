#!/usr/bin/env python3
"""Lets zarr-python read a volume over HTTP, by a link that the viewer gave.

    judge_link.py BEAMRAIL FOLDER

FOLDER holds rec<stem>.zarr and rec<stem>/*.tiff. Prints what was read; the exit code is 1 if that is not what
the TIFFs hold.
"""
import json
import pathlib
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import tifffile
import zarr

beamrail, folder = sys.argv[1], pathlib.Path(sys.argv[2])
volume = next(folder.glob("*.zarr"))
server = subprocess.Popen([beamrail, "view", "--json", str(volume)], stdout=subprocess.PIPE, text=True)
try:
    text = ""
    while not text.rstrip().endswith("]"):
        line = server.stdout.readline()
        assert line, f"beamrail view ended: {text}"
        text += line
    page = json.loads(text)[0]
    server_address = page["url"].split("/view/")[0]
    request = urllib.request.Request(
        f"{server_address}/api/volumes/{page['id']}/share", b'{"hours": 1}', {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        path = json.load(answer)["path"]
    array = zarr.open_group(server_address + path, mode="r")["0"]
    files = sorted((folder / volume.stem).glob("*.tiff"))
    assert array.shape[0] == len(files), f"{array.shape} and {len(files)} files"
    for z in (0, len(files) // 2, len(files) - 1):
        assert np.array_equal(np.asarray(array[z]), tifffile.imread(files[z])), f"slice {z} differs"
    print(f"{array.shape} by {type(array.store_path.store).__name__}")
finally:
    server.send_signal(signal.SIGINT)
    server.wait(timeout=10)
