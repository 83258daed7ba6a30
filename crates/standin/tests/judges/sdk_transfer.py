"""Auth and Transfer, driven by the official SDK."""

import datetime
import os
import uuid

import globus_sdk
from globus_sdk import GlobusHTTPResponse, TransferAPIError
from globus_sdk.scopes import GCSCollectionScopes, TransferScopes

from judge import CLIENT, DIR, ID, SECRET, counts, equal, fails, fault, run, until

app = globus_sdk.ConfidentialAppAuthClient(CLIENT, SECRET)
tokens = app.oauth2_client_credentials_tokens(requested_scopes=[TransferScopes.all, "openid"]).by_resource_server
TOKEN = tokens["transfer.api.globus.org"]["access_token"]
tc = globus_sdk.TransferClient(authorizer=globus_sdk.AccessTokenAuthorizer(TOKEN))
ALS, NERSC = ID["als"], ID["nersc"]


def put(path, data=b"data", where="als"):
    file = DIR[where] / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def transfer(*items, wait=True, label=None, **options):
    document = globus_sdk.TransferData(source_endpoint=ALS, destination_endpoint=NERSC, label=label, **options)
    for source, destination, recursive in items:
        document.add_item(source, destination, recursive=recursive)
    task = tc.submit_transfer(document)
    return finish(task["task_id"]) if wait else task["task_id"]


def finish(task_id):
    assert tc.task_wait(task_id, timeout=20, polling_interval=1), f"task {task_id}: {tc.get_task(task_id).text}"
    return tc.get_task(task_id)


def codes(task_id):
    return [event["code"] for event in tc.task_event_list(task_id)]


def auth():
    answer = app.oauth2_client_credentials_tokens(requested_scopes=TransferScopes.all)
    entry = answer.by_resource_server["transfer.api.globus.org"]
    equal(entry["expires_at_seconds"] > datetime.datetime.now().timestamp() + 170000, True)
    info = app.oauth2_token_introspect(entry["access_token"])
    equal((info["active"], info["client_id"]), (True, CLIENT))
    app.oauth2_revoke_token(entry["access_token"])
    equal(app.oauth2_token_introspect(entry["access_token"])["active"], False)
    userinfo = globus_sdk.AuthClient(authorizer=globus_sdk.AccessTokenAuthorizer(tokens["auth.globus.org"]["access_token"])).userinfo()
    equal((userinfo["sub"], userinfo["identity_set"][0]["sub"]), (CLIENT, CLIENT))
    wrong = globus_sdk.ConfidentialAppAuthClient(CLIENT, "wrong")
    fails(lambda: wrong.oauth2_client_credentials_tokens(requested_scopes=TransferScopes.all), globus_sdk.AuthAPIError, http_status=401)
    guest = TransferScopes.all.with_dependency(GCSCollectionScopes(ALS).data_access.with_optional(True))
    error = fails(lambda: app.oauth2_client_credentials_tokens(requested_scopes=guest), globus_sdk.AuthAPIError, http_status=400)
    assert "unknown_scope" in str(error).lower(), str(error)


def app_with_credentials():
    """The way that new programs log in: an app that gets and renews tokens by itself."""
    with globus_sdk.ClientApp("judge", client_id=CLIENT, client_secret=SECRET) as application:
        client = globus_sdk.TransferClient(app=application)
        equal(client.get_endpoint(ALS)["display_name"], "als")


def consent():
    mapped = ID["mapped"]
    put("seen.txt", where="mapped")
    error = fails(lambda: tc.operation_ls(mapped), TransferAPIError, http_status=403, code="ConsentRequired")
    assert error.info.consent_required, error.text
    scopes = error.info.consent_required.required_scopes
    again = app.oauth2_client_credentials_tokens(requested_scopes=scopes).by_resource_server["transfer.api.globus.org"]
    client = globus_sdk.TransferClient(authorizer=globus_sdk.AccessTokenAuthorizer(again["access_token"]))
    equal([entry["name"] for entry in client.operation_ls(mapped)], ["seen.txt"])
    with fault("consent_required", path="/v0.10/operation/endpoint/*/ls", scopes=["x"]):
        error = fails(lambda: tc.operation_ls(ALS), TransferAPIError, code="ConsentRequired")
        equal(error.info.consent_required.required_scopes, ["x"])


def endpoints():
    endpoint = tc.get_endpoint(ALS)
    equal((endpoint["id"], endpoint["display_name"], endpoint["entity_type"]), (ALS, "als", "GCSv5_guest_collection"))
    equal([found["id"] for found in tc.endpoint_search("ner")], [NERSC])
    equal(len(list(tc.endpoint_search("", filter_scope="my-endpoints"))), 4)
    fails(lambda: tc.get_endpoint(str(uuid.uuid4())), TransferAPIError, http_status=404, code="EndpointNotFound")


def file_operations():
    for name in ("b", "a", ".hidden", "c"):
        put(f"ops/{name}", b"x" * len(name))
    (DIR["als"] / "ops/folder").mkdir()
    os.symlink("/etc/passwd", DIR["als"] / "ops/link")
    listing = tc.operation_ls(ALS, path="/ops/")
    equal([entry["name"] for entry in listing], [".hidden", "a", "b", "c", "folder", "link"])
    equal((listing["path"], listing["absolute_path"]), ("/ops/", "/ops/"))
    equal([e["name"] for e in tc.operation_ls(ALS, path="/ops", show_hidden=False, filter="type:file")], ["a", "b", "c"])
    equal([e["name"] for e in tc.operation_ls(ALS, path="/ops", filter={"name": ["a", "b"]}, orderby="name DESC")], ["b", "a"])
    pages = [tc.operation_ls(ALS, path="/ops", limit=4, offset=offset) for offset in (0, 4)]
    equal([len(page["DATA"]) for page in pages], [4, 2])
    entry = tc.operation_stat(ALS, "/ops/a")
    equal((entry["name"], entry["size"], entry["type"]), ("a", 1, "file"))
    fails(lambda: tc.operation_stat(ALS, "/ops/none"), TransferAPIError, http_status=404, code="NotFound")
    fails(lambda: tc.operation_ls(ALS, path="/none"), TransferAPIError, http_status=404, code="ClientError.NotFound")
    fails(lambda: tc.operation_ls(ALS, path="/ops/a"), TransferAPIError, http_status=502, code="ExternalError.DirListingFailed.NotDirectory")
    for outside in ("/../x", "/ops/link/x", "/~/../../etc"):
        fails(lambda: tc.operation_ls(ALS, path=outside), TransferAPIError, http_status=403)
    equal(tc.operation_mkdir(ALS, "/ops/new")["code"], "DirectoryCreated")
    fails(lambda: tc.operation_mkdir(ALS, "/ops/new"), TransferAPIError, http_status=502, code="ExternalError.MkdirFailed.Exists")
    equal(tc.operation_rename(ALS, "/ops/a", "/ops/new/z")["code"], "FileRenamed")
    equal((DIR["als"] / "ops/new/z").read_bytes(), b"x")
    fails(lambda: tc.operation_rename(ALS, "/ops/a", "/ops/y"), TransferAPIError, http_status=404)
    fails(lambda: tc.operation_rename(ALS, "/ops/b", "/ops/c"), TransferAPIError, http_status=502)
    fails(lambda: tc.operation_mkdir(ID["frozen"], "/x"), TransferAPIError, http_status=403, code="EndpointPermissionDenied")
    with fault("collection_offline", collection="als", times=0):
        fails(lambda: tc.operation_ls(ALS), TransferAPIError, http_status=502)


def moves():
    """A folder and a file, with every option; files, counts and lists agree."""
    put("tree/one.bin", os.urandom(3_000_000))
    put("tree/sub/two.txt", "µ".encode())
    put("tree/sub/skip.tmp")
    put("tree/empty", b"")
    put("single.h5", b"single")
    os.symlink("/etc/passwd", DIR["als"] / "tree/link")
    document = globus_sdk.TransferData(
        source_endpoint=ALS, destination_endpoint=NERSC, label="everything", sync_level="checksum", verify_checksum=True,
        preserve_timestamp=True, encrypt_data=True, skip_source_errors=False, fail_on_quota_errors=True,
        delete_destination_extra=True, notify_on_succeeded=False, notify_on_failed=False, notify_on_inactive=False,
        deadline=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1),
    )
    document.add_item("/tree/", "/copy/")
    document.add_item("/single.h5", "/deep/er/single.h5")
    document.add_filter_rule("*.tmp", method="exclude", type="file")
    put("copy/extra", where="nersc")
    answer = tc.submit_transfer(document)
    equal(answer["code"], "Accepted")
    equal(answer["submission_id"], document["submission_id"])
    task = finish(answer["task_id"])
    equal((task["status"], task["label"], task["sync_level"]), ("SUCCEEDED", "everything", 3))
    copy = DIR["nersc"] / "copy"
    found = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    equal(found, ["empty", "one.bin", "sub/two.txt"])
    equal((copy / "one.bin").read_bytes(), (DIR["als"] / "tree/one.bin").read_bytes())
    equal(int((copy / "one.bin").stat().st_mtime), int((DIR["als"] / "tree/one.bin").stat().st_mtime))
    equal((DIR["nersc"] / "deep/er/single.h5").read_bytes(), b"single")
    equal((task["files"], task["files_transferred"], task["directories"]), (4, 4, 2))
    equal((task["bytes_transferred"], task["bytes_checksummed"]), (3_000_008, 3_000_008))
    pairs = {(file["source_path"], file["destination_path"]) for file in tc.task_successful_transfers(task["task_id"])}
    assert ("/tree/sub/two.txt", "/copy/sub/two.txt") in pairs and len(pairs) == 4, pairs
    equal(list(tc.task_skipped_errors(task["task_id"])), [])
    equal(codes(task["task_id"]), ["SUCCEEDED", "STARTED"])
    # The same again without the filter: what is in sync stays, and what was left out comes.
    again = transfer(("/tree/sub", "/copy/sub", True), sync_level="checksum")
    equal((again["files_skipped"], again["files_transferred"], again["bytes_transferred"]), (1, 1, 4))


def sync_levels():
    source, target = put("sync/f", b"new!"), put("sync/f", b"old!", where="nersc")
    os.utime(source, (1_000_000, 1_000_000))
    for level, written in ((0, False), (1, False), (2, False), (3, True)):
        target.write_bytes(b"old!")
        task = transfer(("/sync/f", "/sync/f", False), sync_level=level)
        equal(target.read_bytes(), b"new!" if written else b"old!", f"sync_level {level}")
        equal(task["files_skipped"], 0 if written else 1)
    os.utime(source, None)
    target.write_bytes(b"old!")
    os.utime(target, (1_000_000, 1_000_000))
    transfer(("/sync/f", "/sync/f", False), sync_level="mtime")
    equal(target.read_bytes(), b"new!", "a newer source is written at level mtime")
    target.write_bytes(b"longer")
    transfer(("/sync/f", "/sync/f", False), sync_level="size")
    equal(target.read_bytes(), b"new!", "another size is written at level size")


def duplicate():
    """A lost answer: the SDK sends the same submission id again and gets the same task."""
    put("dup", b"d")
    before = counts()["transfers"]
    with fault("lost_answer", method="POST", path="/v0.10/transfer") as lost:
        document = globus_sdk.TransferData(source_endpoint=ALS, destination_endpoint=NERSC)
        document.add_item("/dup", "/dup")
        answer = tc.submit_transfer(document)
        equal((answer["code"], lost.acted()), ("Duplicate", 1))
    equal(tc.submit_transfer(document)["task_id"], answer["task_id"])
    equal(counts()["transfers"], before + 1)
    equal(counts()["submissions"][document["submission_id"]]["posts"], 3)
    equal(finish(answer["task_id"])["status"], "SUCCEEDED")


def refusals():
    empty = globus_sdk.TransferData(source_endpoint=ALS, destination_endpoint=NERSC)
    fails(lambda: tc.submit_transfer(empty), TransferAPIError, http_status=400, code="ClientError.BadRequest.NoTransferItems")
    nowhere = globus_sdk.TransferData(source_endpoint=ALS, destination_endpoint=str(uuid.uuid4()))
    nowhere.add_item("/a", "/b")
    fails(lambda: tc.submit_transfer(nowhere), TransferAPIError, http_status=404, code="EndpointNotFound")
    fails(lambda: tc.get_task(str(uuid.uuid4())), TransferAPIError, http_status=404)
    anonymous = globus_sdk.TransferClient(authorizer=globus_sdk.AccessTokenAuthorizer("wrong"))
    error = fails(lambda: anonymous.get_endpoint(ALS), TransferAPIError, http_status=401, code="AuthenticationFailed")
    assert error.request_id, error.text


def lists():
    ids = [transfer(("/single.h5", f"/list/{n}", False), label=f"list {n}")["task_id"] for n in range(3)]
    listed = tc.task_list(limit=2, filter={"label": "~list*", "status": ["SUCCEEDED", "FAILED"]}, orderby="request_time DESC")
    equal((listed["total"], len(listed["DATA"])), (3, 2))
    paged = [task["task_id"] for task in tc.paginated.task_list(limit=2, filter="label:~list*").items()]
    equal(set(paged), set(ids))
    equal(tc.task_list(filter={"status": "ACTIVE", "type": "TRANSFER"})["total"], 0)
    equal(tc.task_list(filter={"task_id": ids[0]})["DATA"][0]["label"], "list 0")
    # Pages of files behind markers.
    for number in range(7):
        put(f"many/{number}")
    many = transfer(("/many", "/many", True))
    equal(len(list(tc.paginated.task_successful_transfers(many["task_id"]).items())), 7)
    first = tc.get(f"/v0.10/task/{many['task_id']}/successful_transfers", query_params={"limit": 3})
    equal((len(first["DATA"]), first["next_marker"]), (3, 3))
    equal(isinstance(tc.task_pause_info(many["task_id"]), GlobusHTTPResponse), True)


def queue():
    """Three at a time; the fourth is Queued, and goes on when one is cancelled."""
    put("slow", b"s" * 400_000)
    with fault("slow_transfer", bytes_per_second=100_000, times=0, file="/slow"):
        tasks = [transfer(("/slow", f"/slow{n}", False), wait=False) for n in range(4)]
        until(lambda: tc.get_task(tasks[2])["nice_status"] == "OK", "the third is at work")
        equal(tc.get_task(tasks[3])["nice_status"], "Queued")
        equal(tc.task_wait(tasks[0], timeout=1, polling_interval=1), False)
        until(lambda: tc.get_task(tasks[0])["bytes_transferred"] > 0, "bytes move")
        equal(tc.cancel_task(tasks[0])["code"], "Canceled")
        task = tc.get_task(tasks[0])
        equal((task["status"], task["fatal_error"]["code"]), ("FAILED", "CANCELED"))
        equal(codes(tasks[0])[0], "CANCELED")
        until(lambda: tc.get_task(tasks[3])["nice_status"] == "OK", "the fourth follows")
        for task_id in tasks[1:]:
            tc.cancel_task(task_id)
    equal(tc.cancel_task(tasks[0])["code"], "TaskComplete")


def faults_while_active():
    put("bad/denied"), put("bad/good")
    with fault("file_fault", code="PERMISSION_DENIED", details="no", file="/bad/denied", times=2):
        task_id = transfer(("/bad", "/bad", True), wait=False)
        task = until(lambda: (t := tc.get_task(task_id)) and t["nice_status"] == "PERMISSION_DENIED" and t, "the fault is told")
        equal((task["status"], task["is_ok"]), ("ACTIVE", False))
        task = finish(task_id)
        equal((task["status"], task["faults"]), ("SUCCEEDED", 2))
        errors = tc.task_event_list(task_id, query_params={"filter_is_error": 1})
        equal({event["code"] for event in errors}, {"PERMISSION_DENIED"})
    missing = transfer(("/nothing", "/nothing", False), wait=False)
    until(lambda: tc.get_task(missing)["nice_status"] == "FILE_NOT_FOUND", "an absent source is told")
    put("nothing")
    equal(finish(missing)["status"], "SUCCEEDED")
    skipped = transfer(("/absent", "/absent", False), ("/bad/good", "/good", False), skip_source_errors=True)
    equal((skipped["status"], skipped["subtasks_skipped_errors"]), ("SUCCEEDED", 1))
    equal([error["error_code"] for error in tc.task_skipped_errors(skipped["task_id"])], ["FILE_NOT_FOUND"])
    with fault("file_fault", code="QUOTA_EXCEEDED", details="full", file="/bad/good"):
        quota = transfer(("/bad/good", "/q", False), fail_on_quota_errors=True)
        equal((quota["status"], quota["fatal_error"]["code"]), ("FAILED", "QUOTA_EXCEEDED"))
    with fault("task_failed", code="ENDPOINT_ERROR", file="/bad/good"):
        equal(transfer(("/bad/good", "/q", False))["status"], "FAILED")
    frozen = globus_sdk.TransferData(source_endpoint=ALS, destination_endpoint=ID["frozen"])
    frozen.add_item("/bad/good", "/x")
    frozen = tc.submit_transfer(frozen)["task_id"]
    until(lambda: tc.get_task(frozen)["nice_status"] == "PERMISSION_DENIED", "a read-only collection is told")
    tc.cancel_task(frozen)


def corruption():
    put("flip", b"0" * 1000)
    with fault("corrupt", file="/flip"):
        task = transfer(("/flip", "/flip", False), verify_checksum=True)
        equal((task["status"], task["faults"]), ("SUCCEEDED", 1))
        equal((DIR["nersc"] / "flip").read_bytes(), b"0" * 1000)
        assert "VERIFY_CHECKSUM" in codes(task["task_id"])
    with fault("corrupt", file="/flip"):
        equal(transfer(("/flip", "/flop", False), verify_checksum=False)["status"], "SUCCEEDED")
        assert (DIR["nersc"] / "flop").read_bytes() != b"0" * 1000, "unverified damage stays"


def held_up():
    put("held")
    with fault("paused", collection="als", times=0):
        task_id = transfer(("/held", "/held", False), wait=False)
        task = until(lambda: (t := tc.get_task(task_id)) and t["is_paused"] and t, "paused")
        equal((task["status"], task["nice_status"]), ("ACTIVE", "PAUSED"))
        equal(len(tc.task_pause_info(task_id)["pause_rules"]), 1)
    equal(finish(task_id)["status"], "SUCCEEDED")
    equal(codes(task_id), ["SUCCEEDED", "UNPAUSED", "PAUSED", "STARTED"])
    with fault("collection_offline", collection="nersc"):
        task_id = transfer(("/held", "/held", False), wait=False)
        until(lambda: tc.get_task(task_id)["nice_status"] == "CONNECT_FAILED", "the endpoint cannot be reached")
    equal(finish(task_id)["status"], "SUCCEEDED")
    with fault("inactive", collection="als", times=0):
        task_id = transfer(("/held", "/held", False), wait=False)
        # The SDK's wait ends here: INACTIVE is not ACTIVE.
        until(lambda: tc.get_task(task_id)["status"] == "INACTIVE", "inactive")
        equal(tc.task_wait(task_id, timeout=5, polling_interval=1), True)
    until(lambda: tc.get_task(task_id)["status"] == "SUCCEEDED", "it goes on")
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    late = transfer(("/never", "/never", False), deadline=soon)
    equal((late["status"], late["fatal_error"]["code"]), ("FAILED", "EXPIRED"))


def deletes():
    put("del/a"), put("del/sub/b"), put("keep")
    document = globus_sdk.DeleteData(endpoint=ALS, recursive=True, label="gone")
    document.add_item("/del")
    answer = tc.submit_delete(document)
    equal(answer["DATA_TYPE"], "delete_result")
    task = finish(answer["task_id"])
    equal((task["status"], task["type"]), ("SUCCEEDED", "DELETE"))
    assert not (DIR["als"] / "del").exists() and (DIR["als"] / "keep").exists()
    equal(tc.submit_delete(document)["code"], "Duplicate")
    missing = globus_sdk.DeleteData(endpoint=ALS, ignore_missing=True)
    missing.add_item("/del")
    equal(finish(tc.submit_delete(missing)["task_id"])["status"], "SUCCEEDED")
    climb = globus_sdk.DeleteData(endpoint=ALS, recursive=True)
    climb.add_item("/../nersc")
    task_id = tc.submit_delete(climb)["task_id"]
    until(lambda: tc.get_task(task_id)["nice_status"] == "PERMISSION_DENIED", "climbing out is refused")
    tc.cancel_task(task_id)
    assert DIR["nersc"].exists()


def retries():
    """The SDK retries what it should, and not what it should not."""
    for kind, values in (("rate_limit", {"retry_after": 0}), ("rate_limit", {}), ("status", {"status": 503}),
                         ("status", {"status": 500}), ("lost_answer", {}), ("lost_request", {}), ("slow", {"milliseconds": 200})):
        with fault(kind, method="GET", path="/v0.10/endpoint/*", **values) as armed:
            equal((tc.get_endpoint(ALS)["id"], armed.acted()), (ALS, 1), kind)
    with fault("status", status=502, code="ExternalError.DirListingFailed.GCDisconnected", path="*/ls") as armed:
        fails(lambda: tc.operation_ls(ALS), TransferAPIError, http_status=502)
        equal(armed.acted(), 1)
    with fault("permission", path="*/ls"):
        fails(lambda: tc.operation_ls(ALS), TransferAPIError, http_status=403, code="EndpointPermissionDenied")
    renewing = globus_sdk.ClientCredentialsAuthorizer(app, TransferScopes.all)
    client = globus_sdk.TransferClient(authorizer=renewing)
    with fault("expired_token", service="transfer") as armed:
        equal((client.get_endpoint(ALS)["id"], armed.acted()), (ALS, 1))


run(auth, app_with_credentials, consent, endpoints, file_operations, moves, sync_levels, duplicate, refusals, lists,
    queue, faults_while_active, corruption, held_up, deletes, retries)
