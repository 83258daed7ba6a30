"""Between the stand-in and RabbitMQ: tasks in on stdin, heartbeats and results out on stdout.

argv: broker URL, endpoint id, client id. A real endpoint 4.19 has a manager, which is told to start a
user endpoint; the user endpoint takes the tasks. Ends when stdin does.
"""

import json
import queue
import sys
import threading
import time
import uuid

import pika

url, endpoint, client = sys.argv[1:4]
user_endpoint = str(uuid.uuid5(uuid.UUID(endpoint), "user endpoint"))
lines = queue.Queue()


def read():
    for line in sys.stdin:
        lines.put(json.loads(line))
    lines.put(None)


def publishing(which, kind):
    key = f"{which}.{kind}"
    kwargs = {"exchange": kind, "routing_key": key, "mandatory": True, "properties": {"delivery_mode": 2}}
    return {"connection_url": url, "queue": key, "exchange": kind, "queue_publish_kwargs": kwargs}


def say(**what):
    print(json.dumps(what), flush=True)


def start_command():
    queues = {
        "endpoint_id": user_endpoint,
        "task_queue_info": {"connection_url": url, "queue": f"{user_endpoint}.tasks"},
        "result_queue_info": publishing(user_endpoint, "results"),
        "heartbeat_queue_info": publishing(user_endpoint, "heartbeats"),
    }
    return {
        "command": "cmd_start_endpoint",
        "globus_effective_identity": client,
        "globus_username": f"{client}@clients.auth.globus.org",
        "globus_identity_set": [{"sub": client}],
        "kwargs": {"name": "uep_standin", "user_opts": {}, "user_runtime": {}, "amqp_creds": queues},
    }


def on_result(channel, method, properties, body):
    # One byte of version stands before the JSON.
    message = json.loads(body[1:] if body[:1] == b"\x01" else body)
    data = message.get("data", {})
    failed = bool(data.get("error_details"))
    details = data.get("details") or {}
    # The service tells when a task began and ended in seconds, the endpoint in nanoseconds.
    names = {"exec-start": "execution-start", "exec-end": "execution-end"}
    details["task_transitions"] = {
        names.get(step["state"], step["state"]): step["timestamp"] / 1e9 for step in data.get("task_statuses") or []
    }
    say(result=data.get("task_id"), data=data.get("data"), error=failed, details=details)
    channel.basic_ack(method.delivery_tag)


def main():
    threading.Thread(target=read, daemon=True).start()
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for exchange in ("results", "heartbeats"):
        channel.exchange_declare(exchange, exchange_type="topic", durable=True)
    for name in (f"{endpoint}.commands", f"{user_endpoint}.tasks"):
        channel.queue_declare(name, durable=True)
    for which in (endpoint, user_endpoint):
        for kind in ("heartbeats", "results"):
            channel.queue_declare(f"{which}.{kind}", durable=True)
            channel.queue_bind(f"{which}.{kind}", kind, f"{which}.{kind}")
    channel.basic_consume(f"{user_endpoint}.results", on_result)
    commanded = 0.0
    heard = {"manager": False, "user": False}
    while True:
        connection.process_data_events(time_limit=0.1)
        for which, name in ((endpoint, "manager"), (user_endpoint, "user")):
            _, _, body = channel.basic_get(f"{which}.heartbeats", auto_ack=True)
            if body is not None:
                heard[name] = True
                say(heartbeat=name)
        # A command is good for three minutes; it is given again until the user endpoint is heard.
        if heard["manager"] and not heard["user"] and time.time() - commanded > 60:
            commanded = time.time()
            properties = pika.BasicProperties(content_type="application/json", timestamp=int(commanded))
            channel.basic_publish("", f"{endpoint}.commands", json.dumps(start_command()).encode(), properties)
        while not lines.empty():
            line = lines.get()
            if line is None:
                connection.close()
                return
            task = {"task_id": line["task"], "container_id": None, "container": None, "task_buffer": line["buffer"]}
            body = b"\x01" + json.dumps({"message_type": "task", "data": task}).encode()
            headers = {
                "function_uuid": line["function"],
                "task_uuid": line["task"],
                "result_serializers": line["serializers"],
            }
            channel.basic_publish("", f"{user_endpoint}.tasks", body, pika.BasicProperties(headers=headers))


main()
