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


def options():
    """Each option of a transfer that a person may give, and what it does."""
    extra = DIR["nersc"] / "cli/extra"
    extra.write_text("not at the source")
    (DIR["als"] / "cli/skipped.tmp").write_text("x")
    words = ["--recursive", "--sync-level", "mtime", "--delete", "--skip-source-errors", "--fail-on-quota-errors", "--exclude", "*.tmp",
             "--include", "*", "--deadline", "2099-01-01"]
    done = finished(globus("transfer", f"{ALS}:/cli", f"{NERSC}:/cli", *words)["task_id"])
    equal((done["status"], done["skip_source_errors"], done["fail_on_quota_errors"], done["delete_destination_extra"], done["sync_level"]),
          ("SUCCEEDED", True, True, True, 2))
    assert not extra.exists() and not (DIR["nersc"] / "cli/skipped.tmp").exists()
    lines = "/cli/a.txt /batch/µ.txt\n--recursive /cli/sub /batch/sub\n/none /batch/none\n"
    words = ["transfer", ALS, NERSC, "--batch", "-", "--skip-source-errors", "-F", "json"]
    sent = subprocess.run([GLOBUS, *words], input=lines, capture_output=True, text=True, timeout=60)
    assert sent.returncode == 0, sent.stderr
    task = json.loads(sent.stdout)["task_id"]
    equal(finished(task)["subtasks_skipped_errors"], 1)
    skipped = globus("task", "show", "--skipped-errors", task)["DATA"]
    equal([(one["error_code"], one["source_path"]) for one in skipped], [("FILE_NOT_FOUND", "/none")])
    assert (DIR["nersc"] / "batch/µ.txt").exists() and (DIR["nersc"] / "batch/sub/b.txt").exists()


def finished(task):
    return until(lambda: (shown := globus("task", "show", task))["status"] != "ACTIVE" and shown, "the task ends")


def refusals():
    """What a person is told when something is in the way."""
    with fault("permission", path="*/mkdir"):
        assert "EndpointPermissionDenied" in globus("mkdir", f"{ALS}:/no", code=1)
    assert "ermission" in globus("mkdir", f"{ID['frozen']}:/x", code=1), "a collection that refuses writes"
    with fault("collection_offline", collection="als", times=0):
        assert "ExternalError" in globus("ls", f"{ALS}:/", code=1)
    with fault("expired_token", service="transfer"):
        globus("ls", f"{ALS}:/cli")
    with fault("status", path="*/ls", status=409, code="Conflict", message="µ in the way"):
        assert "µ in the way" in globus("ls", f"{ALS}:/", code=1)
    for code, told in (("PERMISSION_DENIED", "Path not allowed"), ("FILE_NOT_FOUND", "No such file")):
        with fault("file_fault", code=code, details=told, times=0):
            task = globus("transfer", f"{ALS}:/cli/a.txt", f"{NERSC}:/held-{code}")["task_id"]
            held = until(lambda: (t := globus("task", "show", task))["nice_status"] == code and t, code)
            equal(held["status"], "ACTIVE")
            events = globus("task", "event-list", task, "--filter-errors")["DATA"]
            assert events and all(event["is_error"] for event in events), events
            globus("task", "cancel", task, plain=True)
    with fault("file_fault", code="QUOTA_EXCEEDED", details="disk quota", times=0):
        task = globus("transfer", f"{ALS}:/cli/a.txt", f"{NERSC}:/full", "--fail-on-quota-errors")["task_id"]
        equal(finished(task)["fatal_error"]["code"], "QUOTA_EXCEEDED")
        globus("task", "wait", task, code=1)
    with fault("inactive", times=0):
        task = globus("transfer", f"{ALS}:/cli/a.txt", f"{NERSC}:/inactive")["task_id"]
        until(lambda: globus("task", "show", task)["status"] == "INACTIVE", "it waits for somebody")
        globus("task", "cancel", task, plain=True)
    for words in (("task", "show"), ("task", "cancel"), ("flows", "show"), ("flows", "run", "show")):
        globus(*words, str(uuid.uuid4()), code=1)
    wrong = dict(os.environ, GLOBUS_CLI_CLIENT_SECRET="sesame-832", HOME=str(DIR["als"] / "cli"))
    done = subprocess.run([GLOBUS, "ls", f"{ALS}:/"], env=wrong, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "sesame-832" not in done.stdout + done.stderr, done.stderr


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
    waits = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 600, "End": True}}}
    globus("flows", "update", flow["id"], "--definition", json.dumps(waits))
    waiting = globus("flows", "start", flow["id"], "--label", "waits")["run_id"]
    equal(globus("flows", "run", "show", waiting)["status"], "ACTIVE")
    globus("flows", "run", "cancel", waiting)
    ended = until(lambda: (r := globus("flows", "run", "show", waiting))["status"] != "ACTIVE" and r, "it is ended")
    assert ended["status"] in ("FAILED", "ENDED"), ended
    globus("flows", "update", flow["id"], "--definition", json.dumps({"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Bad", "Cause": "µ"}}}))
    failing = globus("flows", "start", flow["id"])["run_id"]
    until(lambda: globus("flows", "run", "show", failing)["status"] == "FAILED", "it fails")
    assert "Bad" in json.dumps(globus("flows", "run", "show-logs", failing)["entries"]), "the log says why"
    equal({r["run_id"] for r in globus("flows", "run", "list")["runs"]}, {started["run_id"], waiting, failing})
    globus("flows", "delete", flow["id"])


# Every command takes the better part of a second to start: the rest only where there is time.
run(files, transfers, *((who, collections, options, faults, refusals, deletes, flows) if LONG else ()))
