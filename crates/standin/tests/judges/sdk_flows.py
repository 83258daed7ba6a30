"""Flows and the web service of Compute, driven by the official SDK."""

import json
import sys
import uuid

import globus_sdk
from globus_sdk import ComputeClientV2, ComputeClientV3, FlowsAPIError, FlowsClient, SpecificFlowClient
from globus_sdk.scopes import ComputeScopes, FlowsScopes

from judge import CLIENT, DIR, ID, SECRET, STANDIN, counts, equal, fails, fault, run, until

app = globus_sdk.ConfidentialAppAuthClient(CLIENT, SECRET)


def authorizer(scopes):
    return globus_sdk.ClientCredentialsAuthorizer(app, scopes)


flows = FlowsClient(authorizer=authorizer([FlowsScopes.manage_flows, FlowsScopes.view_flows, FlowsScopes.run_status, FlowsScopes.run_manage]))
compute = ComputeClientV3(authorizer=authorizer(ComputeScopes.all))
compute2 = ComputeClientV2(authorizer=authorizer(ComputeScopes.all))
ENDPOINT = STANDIN["endpoint"]

SOURCE = '''def work(path, text="", code=0):
    """Plain source, as a client without Python writes it: µ."""
    import os
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    if code:
        raise ValueError("on purpose ü")
    return {"wrote": len(text), "cwd": os.getcwd(), "text": text}
'''


def pack(*buffers):
    return "".join(f"{len(buffer)}\n{buffer}" for buffer in buffers)


def register():
    code = pack("st\nwork:" + SOURCE)
    body = {"function_name": "work", "function_code": code, "serialized": True, "meta": {"python_version": "3.11.0", "sdk_version": "4.19.0", "serde_identifier": "st"}}
    return compute.register_function(body)["function_uuid"]


def call(function, *args, **kwargs):
    payload = pack("11\n" + json.dumps(args), "11\n" + json.dumps(kwargs))
    body = {"create_queue": False, "tasks": {function: [payload]}, "result_serializers": ["globus_compute_sdk.serialize.JSONData"]}
    answer = compute.submit(ENDPOINT, body)
    return answer["tasks"][function][0]


def ended(task):
    return until(lambda: (t := compute2.get_task(task)) and t["status"] in ("success", "failed") and t, "the task ends")


def functions_and_tasks():
    equal(compute2.get_version(service="all")["api"].count("."), 2)
    function = register()
    equal(compute2.get_function(function)["function_name"], "work")
    task = call(function, str(DIR["als"] / "tâche"), text="µm \U0001f52c")
    done = ended(task)
    equal(done["status"], "success", done.text)
    head, body = done["result"].split("\n", 1)
    equal((head, json.loads(body)["text"]), ("11", "µm \U0001f52c"))
    equal((DIR["als"] / "tâche").read_text(encoding="utf-8"), "µm \U0001f52c")
    failed = ended(call(function, str(DIR["als"] / "x"), code=1))
    assert failed["status"] == "failed" and "on purpose ü" in failed["exception"], failed.text
    batch = compute2.get_task_batch([task, failed["task_id"]])
    equal({id: t["status"] for id, t in batch["results"].items()}, {task: "success", failed["task_id"]: "failed"})
    unpicklable = compute.register_function({"function_name": "f", "function_code": pack("01\nAAAA"), "serialized": True})
    refused = ended(call(unpicklable["function_uuid"]))
    assert "Invalid header" in refused["exception"], refused.text
    source = compute.register_function({"function_name": "work", "function_code": SOURCE, "serialized": False})
    equal(ended(call(source["function_uuid"], str(DIR["als"] / "y")))["status"], "success")
    group = compute2.submit({"tasks": [[function, ENDPOINT, pack('11\n["/nonexistent/x"]', "11\n{}")]]})
    equal(len(compute2.get_task_group(group["task_group_id"])["tasks"]), 1)
    equal(ended(group["results"][0]["task_uuid"])["status"], "failed")
    fails(lambda: compute2.get_task(str(uuid.uuid4())), globus_sdk.GlobusAPIError, http_status=404)
    fails(lambda: compute.submit(str(uuid.uuid4()), {"tasks": {function: [""]}}), globus_sdk.GlobusAPIError, http_status=404)
    equal(compute2.delete_function(function).http_status, 200)


def endpoint():
    equal(compute2.get_endpoint_status(ENDPOINT)["status"], "online")
    equal(compute2.get_endpoint(ENDPOINT)["uuid"], ENDPOINT)
    equal([e["uuid"] for e in compute2.get_endpoints()], [ENDPOINT])
    function = register()
    with fault("endpoint_offline", times=0):
        equal(compute2.get_endpoint_status(ENDPOINT)["status"], "offline")
        task = call(function, str(DIR["als"] / "later"))
        until(lambda: compute2.get_task(task)["status"] == "waiting-for-ep", "the task waits")
    equal(ended(task)["status"], "success")
    with fault("worker_lost"):
        lost = ended(call(function, str(DIR["als"] / "lost"), text="x"))
        assert lost["status"] == "failed" and "WorkerLost" in lost["exception"], lost.text
    with fault("slow_job", milliseconds=700):
        task = call(function, str(DIR["als"] / "queued"))
        until(lambda: compute2.get_task(task)["status"] == "waiting-for-nodes", "the task is queued")
        equal(ended(task)["status"], "success")
    with fault("job_failed", message="Traceback: no"):
        equal(ended(call(function, "x"))["exception"], "Traceback: no")
    before = counts()["jobs"]["accepted"]
    with fault("lost_answer", method="POST", path="/v3/endpoints/*"):
        call(function, str(DIR["als"] / "twice"))
        # Compute has no submission id: the SDK's own retry makes a second task, and the count shows it.
        equal(counts()["jobs"]["accepted"], before + 2)


def definition(function):
    return {
        "StartAt": "Reconstruct",
        "States": {
            "Reconstruct": {
                "Type": "Action", "ActionUrl": "https://compute.actions.globus.org/fxap", "WaitTime": 3600,
                "ActionScope": "https://auth.globus.org/scopes/compute.actions.globus.org/fxap",
                "Parameters": {"endpoint.$": "$.endpoint", "function": function, "kwargs.$": "$.kwargs"},
                "ResultPath": "$.reconstruction", "Next": "Return",
            },
            "Return": {
                "Type": "Action", "ActionUrl": "https://actions.globus.org/transfer/transfer",
                "Parameters": {
                    "source_endpoint_id": ID["als"], "destination_endpoint_id": ID["nersc"],
                    "transfer_items": [{"source_path.$": "$.from", "destination_path.$": "$.to", "recursive": False}],
                },
                "ResultPath": "$.transfer", "End": True,
            },
        },
    }


def start(flow, scope, **values):
    flow_client = SpecificFlowClient(flow, authorizer=authorizer(scope))
    body = {"endpoint": ENDPOINT, "from": "/out", "to": "/flow/out", "kwargs": {"path": str(DIR["als"] / "out"), "text": "é"}, **values}
    return flow_client.run_flow(body=body, label="a run", tags=["scan"])


def run_ended(run_id):
    return until(lambda: (r := flows.get_run(run_id)) and r["status"] != "ACTIVE" and r, "the run ends")


def flow():
    function = register()
    made = flows.create_flow("Reconstruction flow", definition(function), {"required": ["from"]})
    scope = made["globus_auth_scope"]
    equal(flows.get_flow(made["id"])["title"], "Reconstruction flow")
    equal([f["id"] for f in flows.list_flows()], [made["id"]])
    equal(flows.update_flow(made["id"], title="Renamed")["title"], "Renamed")
    started = start(made["id"], scope)
    equal((started["status"], started["label"]), ("ACTIVE", "a run"))
    ended_run = run_ended(started["run_id"])
    equal(ended_run["status"], "SUCCEEDED", ended_run.text)
    equal((DIR["nersc"] / "flow/out").read_text(encoding="utf-8"), "é")
    output = ended_run["details"]["output"]
    equal(output["reconstruction"]["details"]["result"][0]["text"], "é")
    equal(output["transfer"]["status"], "SUCCEEDED")
    codes = [entry["code"] for entry in flows.paginated.get_run_logs(started["run_id"]).items()]
    equal(codes, ["FlowStarted", "ActionStarted", "ActionCompleted", "ActionStarted", "ActionCompleted", "FlowSucceeded"])
    equal(flows.get_run_definition(started["run_id"])["flow_id"], made["id"])
    equal([r["run_id"] for r in flows.list_runs(filter_flow_id=made["id"])], [started["run_id"]])
    failed = run_ended(start(made["id"], scope, kwargs={"path": "/nonexistent/x"})["run_id"])
    equal((failed["status"], failed["details"]["code"]), ("FAILED", "FlowFailed"))
    assert "No such file" in json.dumps(failed["details"]), failed.text
    equal(flows.delete_flow(made["id"])["DELETED"], True)


def cancelled():
    """Cancelling a run cancels its transfer."""
    (DIR["als"] / "big").write_bytes(b"b" * 300_000)
    states = definition("")
    states["StartAt"] = "Return"
    del states["States"]["Reconstruct"]
    made = flows.create_flow("Transfer only", states, {})
    before = counts()["written"]["bytes"]
    with fault("slow_transfer", bytes_per_second=50_000, times=0):
        started = start(made["id"], made["globus_auth_scope"], **{"from": "/big", "to": "/big"})
        until(lambda: counts()["written"]["bytes"] > before, "bytes move")
        equal(flows.cancel_run(started["run_id"])["status"], "FAILED")
    equal(flows.get_run(started["run_id"])["details"]["code"], "FlowCanceled")
    fails(lambda: flows.cancel_run(started["run_id"]), FlowsAPIError, http_status=409, code="STATE_CONFLICT")
    assert "FAILED" in [s["status"] for s in counts()["submissions"].values()], counts()


def refusals():
    fails(lambda: flows.get_flow(str(uuid.uuid4())), FlowsAPIError, http_status=404)
    bad = {"StartAt": "Nowhere", "States": {"A": {"Type": "Pass", "End": True}}}
    fails(lambda: flows.create_flow("bad", bad, {}), FlowsAPIError, http_status=422, code="UNPROCESSABLE_ENTITY")
    viewer = FlowsClient(authorizer=authorizer(FlowsScopes.view_flows))
    good = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
    fails(lambda: viewer.create_flow("x", good, {}), FlowsAPIError, http_status=403, code="MISSING_SCOPE")
    made = flows.create_flow("choice", {
        "StartAt": "C", "States": {
            "C": {"Type": "Choice", "Choices": [{"Variable": "$.go", "BooleanEquals": True, "Next": "W"}], "Default": "F"},
            "W": {"Type": "Wait", "Seconds": 0.1, "Next": "P"},
            "P": {"Type": "Pass", "Parameters": {"x.$": "$.go"}, "ResultPath": "$.y", "End": True},
            "F": {"Type": "Fail", "Error": "No", "Cause": "told not to"},
        }}, {})
    equal(run_ended(start(made["id"], made["globus_auth_scope"], go=True)["run_id"])["details"]["output"]["y"], {"x": True})
    equal(run_ended(start(made["id"], made["globus_auth_scope"], go=False)["run_id"])["status"], "FAILED")
    wrong = SpecificFlowClient(made["id"], authorizer=authorizer(FlowsScopes.all))
    fails(lambda: wrong.run_flow(body={}), FlowsAPIError, http_status=401)


sys.setrecursionlimit(2000)
run(functions_and_tasks, endpoint, flow, cancelled, refusals)
