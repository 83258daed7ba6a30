"""The official command line, as a person at a terminal would use it (with JSON for answers)."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

from judge import CLIENT, DIR, ID, counts, equal, fault, run, until

GLOBUS = Path(sys.executable).with_name("globus")
LONG = os.environ.get("BEAMRAIL_LONG") == "1"
ALS, NERSC = ID["als"], ID["nersc"]


def globus(*words, code=0, plain=False):
    """Runs `globus`; gives its JSON, its text, or what it says when it fails."""
    command = [GLOBUS, *words] + ([] if plain or code else ["-F", "json"])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = f"{' '.join(map(str, words))}: {done.stdout}\n{done.stderr}"
    assert done.returncode == code, f"exit {done.returncode}, not {code}: {told}"
    if code:
        return done.stdout + done.stderr
    return done.stdout if plain else json.loads(done.stdout)


def who():
    equal(globus("whoami", plain=True).strip(), f"{CLIENT}@clients.auth.globus.org")
    equal(globus("get-identities", CLIENT)["identities"][0]["id"], CLIENT)


def collections():
    equal([found["id"] for found in globus("endpoint", "search", "ner")["DATA"]], [NERSC])
    # It looks the collection up, and sends to the collection's own server, which is not stood in for.
    assert "Guest Collection" in globus("endpoint", "show", ALS, code=3)
    assert "Mapped Collection" in globus("endpoint", "show", ID["mapped"], code=3)
    assert "No such endpoint" in globus("endpoint", "show", str(uuid.uuid4()), code=1)


def files():
    (DIR["als"] / "cli/sub").mkdir(parents=True)
    (DIR["als"] / "cli/a.txt").write_text("a")
    (DIR["als"] / "cli/sub/b.txt").write_text("b")
    equal(globus("mkdir", f"{ALS}:/cli/new")["code"], "DirectoryCreated")
    assert "onsent" in globus("ls", ID["mapped"], code=4), "the command line says that a consent is missing"
    if not LONG:
        return
    equal(globus("ls", f"{ALS}:/cli", plain=True).split(), ["a.txt", "new/", "sub/"])
    equal(sorted(globus("ls", "-r", f"{ALS}:/cli", plain=True).split()), ["a.txt", "new/", "sub/", "sub/b.txt"])
    equal([e["name"] for e in globus("ls", "--filter", "~*.txt", f"{ALS}:/cli")["DATA"]], ["a.txt"])
    assert "2" in globus("ls", "-l", f"{ALS}:/cli", plain=True)
    equal(globus("stat", f"{ALS}:/cli/a.txt")["size"], 1)
    assert "Exists" in globus("mkdir", f"{ALS}:/cli/new", code=1)
    equal(globus("rename", ALS, "/cli/new", "/cli/newer")["code"], "FileRenamed")
    assert "NotFound" in globus("ls", f"{ALS}:/none", code=1)


def transfers():
    submission = globus("task", "generate-submission-id", plain=True).strip()
    words = ["transfer", f"{ALS}:/cli", f"{NERSC}:/cli", "--recursive", "--label", "by cli", "--sync-level", "checksum",
             "--preserve-mtime", "--verify-checksum", "--encrypt", "--exclude", "*.tmp", "--notify", "off", "--submission-id", submission]
    task = globus(*words)
    equal((task["code"], task["submission_id"]), ("Accepted", submission))
    equal(globus(*words)["code"], "Duplicate")
    equal(counts()["submissions"][submission]["posts"], 2)
    globus("task", "wait", task["task_id"], "--timeout", "20", "--polling-interval", "1", plain=True)
    equal((DIR["nersc"] / "cli/sub/b.txt").read_text(), "b")
    shown = globus("task", "show", task["task_id"])
    equal((shown["status"], shown["label"], shown["files_transferred"]), ("SUCCEEDED", "by cli", 2))
    if not LONG:
        return
    assert "/cli/sub/b.txt" in globus("task", "show", "--successful-transfers", task["task_id"], plain=True)
    equal(globus("task", "show", "--skipped-errors", task["task_id"])["DATA"], [])
    assert "SUCCEEDED" in globus("task", "show", task["task_id"], plain=True)
    equal([event["code"] for event in globus("task", "event-list", task["task_id"])["DATA"]], ["SUCCEEDED", "STARTED"])
    listed = globus("task", "list", "--filter-label", "by*", "--filter-status", "SUCCEEDED")
    equal([t["task_id"] for t in listed["DATA"]], [task["task_id"]])
    assert "by cli" in globus("task", "list", plain=True)


def faults():
    with fault("slow_transfer", bytes_per_second=1, times=0):
        task = globus("transfer", f"{ALS}:/cli/a.txt", f"{NERSC}:/slow")["task_id"]
        (DIR["als"] / "cli/long").write_text("long" * 10)
        slow = globus("transfer", f"{ALS}:/cli/long", f"{NERSC}:/slower")["task_id"]
        equal(globus("task", "update", slow, "--label", "other", plain=True).strip() != "", True)
        globus("task", "wait", slow, "--timeout", "1", "--polling-interval", "1", code=1)
        assert "cancelled" in globus("task", "cancel", slow, plain=True)
        equal(globus("task", "show", slow)["status"], "FAILED")
        until(lambda: globus("task", "show", task)["status"] == "SUCCEEDED", "one byte goes over")
    with fault("paused", times=0):
        held = globus("transfer", f"{ALS}:/cli/a.txt", f"{NERSC}:/held")["task_id"]
        until(lambda: globus("task", "show", held)["is_paused"], "it is paused")
        assert "Paused by an administrator" in globus("task", "pause-info", held, plain=True)
    with fault("rate_limit", service="transfer") as limited:
        globus("ls", f"{ALS}:/cli")
        equal(limited.acted(), 1)
    with fault("lost_answer", path="/v0.10/transfer"):
        equal(globus("transfer", f"{ALS}:/cli/a.txt", f"{NERSC}:/lost")["code"], "Duplicate")


def deletes():
    task = globus("delete", f"{ALS}:/cli/sub", "--recursive", "--label", "away", "--notify", "off")
    globus("task", "wait", task["task_id"], "--timeout", "20", "--polling-interval", "1", plain=True)
    assert not (DIR["als"] / "cli/sub").exists()
    globus("rm", f"{ALS}:/cli/a.txt", "--timeout", "20", "--polling-interval", "1", "--notify", "off", plain=True)
    assert not (DIR["als"] / "cli/a.txt").exists()


def flows():
    definition = {"StartAt": "P", "States": {"P": {"Type": "Pass", "Parameters": {"x": 1}, "ResultPath": "$.y", "End": True}}}
    flow = globus("flows", "create", "by cli", json.dumps(definition), "--input-schema", "{}")
    equal(globus("flows", "show", flow["id"])["title"], "by cli")
    equal([f["id"] for f in globus("flows", "list")["flows"]], [flow["id"]])
    equal(globus("flows", "update", flow["id"], "--title", "renamed")["title"], "renamed")
    started = globus("flows", "start", flow["id"], "--input", '{"scan": "µ"}', "--label", "cli run")
    until(lambda: globus("flows", "run", "show", started["run_id"])["status"] == "SUCCEEDED", "the run ends")
    codes = [entry["code"] for entry in globus("flows", "run", "show-logs", started["run_id"])["entries"]]
    equal(sorted(codes), sorted(["FlowStarted", "PassStarted", "PassCompleted", "FlowSucceeded"]))
    globus("flows", "run", "cancel", started["run_id"], code=1)
    equal([r["run_id"] for r in globus("flows", "run", "list")["runs"]], [started["run_id"]])
    globus("flows", "delete", flow["id"])


# Every command takes the better part of a second to start: the rest only where there is time.
run(files, transfers, *((who, collections, faults, deletes, flows) if LONG else ()))
