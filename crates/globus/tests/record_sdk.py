"""What the official SDK sends for the calls of bodies.rs: one JSON line each (name, method, path, query, body).

A recorder on a free port of this host answers every request with something that the SDK takes.
"""

import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import globus_sdk
from globus_sdk.scopes import GCSCollectionScopes, TransferScopes

RECORDED = []
NAME = [""]


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        url = urllib.parse.urlsplit(self.path)
        form = "urlencoded" in (self.headers.get("Content-Type") or "")
        RECORDED.append({
            "name": NAME[0], "method": self.command, "path": url.path,
            "query": dict(urllib.parse.parse_qsl(url.query)),
            "body": dict(urllib.parse.parse_qsl(body)) if form else json.loads(body) if body else None,
            "basic": (self.headers.get("Authorization") or "").startswith("Basic "),
        })
        answer = {
            "value": "s", "task_id": "t", "DATA": [], "access_token": "a", "expires_in": 172800, "scope": "x",
            "token_type": "Bearer", "resource_server": "r", "other_tokens": [], "function_uuid": "f",
        }
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = answer


server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = "http://127.0.0.1:%d/" % server.server_port
C1, C2, TASK, FLOW, EP, FN = ("%d" % n * 8 + "-1111-4111-8111-" + "%d" % n * 12 for n in range(1, 7))
who = globus_sdk.AccessTokenAuthorizer("token")
transfer = globus_sdk.TransferClient(base_url=base, authorizer=who)
flows = globus_sdk.FlowsClient(base_url=base, authorizer=who)
flow = globus_sdk.SpecificFlowClient(FLOW, authorizer=who)
flow.base_url = base
compute2 = globus_sdk.ComputeClientV2(base_url=base, authorizer=who)
compute3 = globus_sdk.ComputeClientV3(base_url=base, authorizer=who)


def call(name, function, *args, **kwargs):
    NAME[0] = name
    function(*args, **kwargs)


auth = globus_sdk.ConfidentialAppAuthClient("id", "secret")
auth.base_url = base
scope = TransferScopes.all.with_dependency(GCSCollectionScopes(C1).data_access.with_optional(True))
call("token", auth.oauth2_client_credentials_tokens, requested_scopes=[scope])

call("submission_id", transfer.get_submission_id)
short = globus_sdk.TransferData(C1, C2, label="t", submission_id="s", verify_checksum=True, sync_level="checksum")
short.add_item("/a/", "/b/", recursive=True)
call("transfer_short", transfer.submit_transfer, short)
full = globus_sdk.TransferData(
    C1, C2, label="scan ü 1", submission_id="s", sync_level="mtime", verify_checksum=True, preserve_timestamp=True,
    encrypt_data=True, deadline="2026-11-23T13:00:00+00:00", skip_source_errors=False, fail_on_quota_errors=True,
    delete_destination_extra=True, notify_on_succeeded=False, notify_on_failed=False, notify_on_inactive=False)
full.add_item("/a/µ.h5", "/b/µ.h5", external_checksum="abc", checksum_algorithm="SHA256")
full.add_item("/d/", "/e/", recursive=True)
full.add_filter_rule("*.tmp", method="exclude", type="file")
full.add_filter_rule("keep*", method="include")
call("transfer_full", transfer.submit_transfer, full)
small = globus_sdk.DeleteData(C1, submission_id="s")
small.add_item("/a/x")
call("delete_short", transfer.submit_delete, small)
large = globus_sdk.DeleteData(
    C1, label="l", submission_id="s", recursive=True, ignore_missing=True, interpret_globs=False,
    deadline="2026-11-23T13:00:00+00:00", notify_on_succeeded=False, notify_on_failed=False,
    notify_on_inactive=False)
large.add_item("/a/x")
large.add_item("/a/y")
call("delete_full", transfer.submit_delete, large)
call("task", transfer.get_task, TASK)
call("cancel", transfer.cancel_task, TASK)
call("pause_info", transfer.task_pause_info, TASK)
call("events", transfer.task_event_list, TASK, limit=3, offset=0)
call("successful", transfer.task_successful_transfers, TASK)
call("skipped", transfer.task_skipped_errors, TASK)
call("tasks", transfer.task_list, limit=3, offset=0, orderby="request_time DESC", filter={"status": "ACTIVE"})
call("ls", transfer.operation_ls, C1, path="/a µ/", show_hidden=True, limit=10000, offset=0)
call("stat", transfer.operation_stat, C1, path="/a µ")
call("mkdir", transfer.operation_mkdir, C1, path="/a µ")
call("rename", transfer.operation_rename, C1, oldpath="/a", newpath="/b")
call("endpoint", transfer.get_endpoint, C1)
call("search", transfer.endpoint_search, "als", limit=5, offset=0)

call("register", compute3.register_function, json.load(open(sys.argv[1]))["register"])
call("submit", compute3.submit, EP, json.load(open(sys.argv[1]))["submit"])
call("function", compute2.get_function, FN)
call("compute_task", compute2.get_task, TASK)
call("batch_status", compute2.get_task_batch, [TASK])
call("task_group", compute2.get_task_group, TASK)
call("compute_endpoint", compute2.get_endpoint, EP)
call("endpoint_status", compute2.get_endpoint_status, EP)
call("version", compute2.get_version, service="all")

definition = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
call("create_flow", flows.create_flow, title="t", definition=definition, input_schema={}, keywords=["a"])
call("update_flow", flows.update_flow, FLOW, title="t2", definition=definition)
call("get_flow", flows.get_flow, FLOW)
call("run", flow.run_flow, body={"input": {"x": "µ"}}, label="l", tags=["a"])
call("run_status", flows.get_run, TASK)
call("runs", flows.list_runs, filter_flow_id=FLOW)
call("log", flows.get_run_logs, TASK)
call("cancel_run", flows.cancel_run, TASK)
call("delete_flow", flows.delete_flow, FLOW)

for one in RECORDED:
    print(json.dumps(one))
