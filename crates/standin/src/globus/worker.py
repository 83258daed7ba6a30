"""Executes one packed Globus Compute task, with the standard library only.

Reads task.json in the current folder, writes result.json there (whole or not at all). Understands source
text (st, sd), JSON (11) and pickles of plain values (03, 04, 00); what needs dill is refused by name.
"""

import base64
import inspect
import json
import os
import pickle
import platform
import sys
import time
import traceback


def unpack(text):
    """The buffers behind their lengths, which count code points."""
    found = []
    while text:
        length, rest = text.split("\n", 1)
        found.append(rest[: int(length)])
        text = rest[int(length) :]
    return found


def value(buffer):
    """Arguments: JSON, or a pickle of plain values."""
    header, body = buffer.split("\n", 1)
    if header == "11":
        return json.loads(body)
    if header == "00":
        return pickle.loads(base64.b64decode(body))
    raise ValueError(f"Invalid header: {header} in data payload")


def function(buffer):
    """The function that a buffer describes."""
    header, body = buffer.split("\n", 1)
    if header in ("st", "sd"):
        name, source = body.split(":", 1)
    elif header in ("03", "04"):
        name, source = pickle.loads(base64.b64decode(body))[:2]
    else:
        raise ValueError(f"Invalid header: {header} in code payload: this worker has no dill")
    scope = {"__name__": "__main__"}
    exec(compile(inspect.cleandoc(source) if source[:1].isspace() else source, f"<{name}>", "exec"), scope)
    return scope[name]


def execute(task):
    code, args, kwargs = unpack(task["task_buffer"])
    result = function(code)(*value(args), **value(kwargs))
    if any("JSONData" in name for name in task.get("result_serializers") or []):
        return "11\n" + json.dumps(result)
    return "00\n" + base64.b64encode(pickle.dumps(result, protocol=4)).decode() + "\n"


def main():
    details = {
        "os": platform.platform(),
        "python_version": platform.python_version(),
        "dill_version": None,
        "globus_compute_sdk_version": "stand-in",
        "endpoint_version": "stand-in",
    }
    folder = os.getcwd()
    # Whoever started this may be gone before noting it; nobody runs the task a second time.
    try:
        mark = os.open("pid", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        sys.exit(0)
    os.write(mark, str(os.getpid()).encode())
    os.close(mark)
    with open("task.json", encoding="utf-8") as file:
        task = json.load(file)
    began = time.time()
    try:
        told = {"data": execute(task), "error": False, "details": details}
        if len(told["data"]) > 10 * 1024 * 1024:
            raise ValueError(f"Task result of {len(told['data'])}B exceeded current limit of 10485760B")
    except BaseException:
        told = {"data": traceback.format_exc(), "error": True, "details": details}
    details["task_transitions"] = {"execution-start": began, "execution-end": time.time()}
    new = os.path.join(folder, "result.json.new")
    with open(new, "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(new, os.path.join(folder, "result.json"))
    sys.exit(0)


main()
