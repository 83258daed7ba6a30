"""What the judges share: the stand-in as its announcement tells it, its control calls, checks."""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

STANDIN = json.loads(sys.argv[1])
URL = STANDIN["base_url"]
CLIENT, SECRET = os.environ["GLOBUS_CLIENT_ID"], os.environ["GLOBUS_CLIENT_SECRET"]
ID = {collection["name"]: collection["id"] for collection in STANDIN["collections"]}
DIR = {collection["name"]: Path(collection["path"]) for collection in STANDIN["collections"]}


def control(method, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{URL}/standin/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


class fault:
    """Arms a fault for a while."""

    def __init__(self, kind, **where):
        values = {name: where.pop(name) for name in list(where) if name not in MATCH}
        self.body = {"fault": {"kind": kind, **values}, **where}

    def __enter__(self):
        self.number = control("POST", "faults", self.body)["number"]
        return self

    def __exit__(self, *_):
        control("DELETE", f"faults/{self.number}")

    def acted(self):
        return next(f["acted"] for f in control("GET", "counts")["faults"] if f["number"] == self.number)


MATCH = {"service", "method", "path", "collection", "label", "file", "nth", "times"}


def counts():
    return control("GET", "counts")


def until(ready, what, seconds=20):
    """Asks until the answer is true; gives it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def equal(found, wanted, what=""):
    assert found == wanted, f"{what}: {found!r} is not {wanted!r}"


def fails(call, error, **fields):
    """The call must raise this error, with these attributes."""
    try:
        call()
    except error as raised:
        for name, wanted in fields.items():
            equal(getattr(raised, name), wanted, f"{type(raised).__name__}.{name}: {raised}")
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def run(*checks):
    """Runs checks in order; each starts from an empty list of faults."""
    for check in checks:
        control("DELETE", "faults")
        started = time.monotonic()
        check()
        print(f"passed: {check.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
