"""Executes a task with the worker code of globus-compute-endpoint itself.

Reads {"task_buffer", "result_serializers"} on stdin; tells {"data", "error"} on stdout. Works with
endpoint 4 and with endpoint 2, whose helper takes other arguments.
"""

import inspect
import json
import os
import sys
import tempfile
import uuid

from globus_compute_common import messagepack
from globus_compute_endpoint.engines.helper import execute_task

asked = json.load(sys.stdin)
task_id = uuid.uuid4()
message = {"task_id": str(task_id), "container_id": None, "container": None, "task_buffer": asked["task_buffer"]}
body = b"\x01" + json.dumps({"message_type": "task", "data": message}).encode()
known = inspect.signature(execute_task).parameters
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    offered = {
        "task_body": body,
        "task_id": task_id,
        "endpoint_id": None,
        "run_dir": folder,
        "result_serializers": asked.get("result_serializers"),
    }
    result = execute_task(**{name: value for name, value in offered.items() if name in known})
    os.chdir("/")
result = messagepack.unpack(result)
print(json.dumps({"data": result.data, "error": result.error_details is not None, "python": sys.version.split()[0]}))
