"""What a run costs besides its work: beamrail's worker and Prefect's own process worker, side by side on one server.

    make prefect && python3 tools/prefect_overhead.py [--runs 10] [--steps 8] [--out FILE]

Starts Prefect 3.9.1 of .tools/prefect3 on a fresh database, and both workers. The same flow, some steps that note the
time, is run on them in turn. Each worker speaks to the server through a counter, so what is counted is what was sent,
by whatever process. What an idle worker sends in the same time is taken off.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from repo import ROOT

PREFECT = ROOT / ".tools/prefect3"
FLOW = '''
import time
from prefect import flow, task

@task
def step(path: str, number: int):
    with open(path, "a") as file:
        file.write(f"{time.time():.6f} {number}\\n")

@flow(name="steps_py", log_prints=False)
def steps(path: str, count: int):
    for number in range(count):
        step(path, number)
'''
DEPLOY = '''
from prefect import flow
flow.from_source(source="{folder}", entrypoint="steps_py.py:steps").deploy(
    name="python", work_pool_name="python", build=False, push=False, print_next_steps=False)
'''


class Counter:
    """A proxy that counts requests, and messages on websockets from the client."""

    def __init__(self, server: int):
        self.server, self.requests, self.messages = server, 0, 0

    async def start(self) -> str:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}/api"

    async def serve(self, reader, writer):
        upstream = None
        try:
            back, upstream = await asyncio.open_connection("127.0.0.1", self.server)
            answers = asyncio.ensure_future(self.copy(back, writer))
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                upstream.write(head)
                if b"upgrade: websocket" in head.lower():
                    await self.frames(reader, upstream)
                    break
                length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if length:
                    upstream.write(await reader.readexactly(int(length[0])))
                await upstream.drain()
            await answers
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for end in (writer, upstream):
                if end:
                    end.close()

    async def frames(self, reader, upstream):
        """Frames of the client, which are masked; pings and the like are not counted."""
        while True:
            head = await reader.readexactly(2)
            size, more = head[1] & 127, b""
            if size >= 126:
                more = await reader.readexactly(2 if size == 126 else 8)
                size = int.from_bytes(more, "big")
            self.messages += head[0] & 15 in (1, 2)
            upstream.write(head + more + await reader.readexactly(4 + size))
            await upstream.drain()

    async def copy(self, reader, writer):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()


def ask(api: str, path: str, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(api + path, data, {"content-type": "application/json"})
    for _ in range(600):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except OSError as error:
            if getattr(error, "code", 503) != 503:
                raise
            time.sleep(0.2)
    raise SystemExit(f"{path}: no answer")


def cpu(pid: int) -> float:
    """CPU seconds of a process and of all its descendants, those that have ended included."""
    ticks, todo = 0, [pid]
    while todo:
        one = todo.pop()
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(int(field) for field in fields[11:15])
            todo += [int(child) for task in os.listdir(f"/proc/{one}/task")
                     for child in Path(f"/proc/{one}/task/{task}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident megabytes of a process and its descendants now."""
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            todo += [int(child) for task in os.listdir(f"/proc/{one}/task")
                     for child in Path(f"/proc/{one}/task/{task}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total / 1e6


async def settled(api: str, deployment: str):
    for _ in range(600):
        found = await asyncio.to_thread(ask, api, "/deployments/filter", {})
        for one in found:
            if one["name"] == deployment:
                return one["id"]
        await asyncio.sleep(0.2)
    raise SystemExit(f"deployment {deployment} does not appear")


async def one(api: str, deployment: str, counter: Counter, process, folder: Path, steps: int, number: int):
    """A run: seconds to the first step and to its end, what was sent, CPU seconds, megabytes."""
    path = folder / f"{deployment}-{number}"
    requests, messages, before = counter.requests, counter.messages, cpu(process.pid)
    body = {"parameters": {"path": str(path), "count": steps}, "state": {"type": "SCHEDULED"}}
    asked = time.time()
    run = (await asyncio.to_thread(ask, api, f"/deployments/{deployment_ids[deployment]}/create_flow_run", body))["id"]
    most = 0.0
    while True:
        most = max(most, memory(process.pid))
        state = (await asyncio.to_thread(ask, api, f"/flow_runs/{run}"))["state_type"]
        if state in ("COMPLETED", "FAILED", "CRASHED"):
            break
        if time.time() - asked > 120:
            raise SystemExit(f"{deployment}: run {run} is {state} after two minutes")
        await asyncio.sleep(0.1)
    ended = time.time()
    if state != "COMPLETED":
        raise SystemExit(f"{deployment}: run {run} ended {state}")
    # Events and the last reports arrive a little later.
    await asyncio.sleep(5)
    times = [float(line.split()[0]) for line in path.read_text().splitlines()]
    assert len(times) == steps, f"{deployment}: {len(times)} steps"
    return {
        "first": times[0] - asked, "end": ended - asked, "between": (times[-1] - times[0]) / (steps - 1),
        "requests": counter.requests - requests, "messages": counter.messages - messages,
        "cpu": cpu(process.pid) - before, "memory": most, "seconds": time.time() - asked,
    }


async def measure(arguments, home: Path) -> list[str]:
    shutil.copy(PREFECT / "home/prefect.db", home / "prefect.db")
    (home / "steps_py.py").write_text(FLOW)
    with __import__("socket").create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": api, "DO_NOT_TRACK": "1",
                   "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PYTHONUNBUFFERED": "1"}
    log = open(home / "log", "ab")
    processes = []

    def start(command, **more):
        process = subprocess.Popen(command, env={**environment, **more}, stdin=subprocess.PIPE, stdout=log,
                                   stderr=log, cwd=home, start_new_session=True)
        processes.append(process)
        return process

    try:
        start([PREFECT / "bin/prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)])
        await asyncio.to_thread(ask, api, "/health")
        subprocess.run([PREFECT / "bin/prefect", "work-pool", "create", "python", "--type", "process"],
                       env=environment, check=True, stdout=log)
        subprocess.run([PREFECT / "bin/python", "-c", DEPLOY.format(folder=home)], env=environment, check=True,
                       stdout=log, cwd=home)
        counters = {name: Counter(port) for name in ("beamrail", "python")}
        addresses = {name: await counter.start() for name, counter in counters.items()}
        journal = home / "journal"
        journal.mkdir()
        example = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release/examples/steps"
        more = {"BEAMRAIL_POLL": str(arguments.poll)} if arguments.poll else {}
        workers = {"beamrail": start([example, journal], PREFECT_API_URL=addresses["beamrail"], **more)}
        more = {"PREFECT_WORKER_QUERY_SECONDS": str(arguments.poll)} if arguments.poll else {}
        workers["python"] = start([PREFECT / "bin/prefect", "worker", "start", "--pool", "python"],
                                  PREFECT_API_URL=addresses["python"], **more)
        for name in workers:
            deployment_ids[name] = await settled(api, name)
        # A run of each beforehand: caches and bytecode are warm.
        for name in workers:
            await one(api, name, counters[name], workers[name], home, arguments.steps, -1)
        idle = {name: counter.requests for name, counter in counters.items()}
        await asyncio.sleep(arguments.idle)
        idle = {name: (counter.requests - idle[name]) / arguments.idle for name, counter in counters.items()}
        results = {name: [] for name in workers}
        for number in range(arguments.runs):
            for name in workers:
                # Runs are asked for at any moment between two polls.
                await asyncio.sleep(0.37 * number % 3)
                results[name].append(await one(api, name, counters[name], workers[name], home, arguments.steps, number))
                print(name, {key: round(value, 3) for key, value in results[name][-1].items()}, file=sys.stderr)
    finally:
        for process in reversed(processes):
            if process.stdin:
                process.stdin.close()
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return table(results, idle, arguments)


def table(results, idle, arguments) -> list[str]:
    def median(name, value):
        return statistics.median(value(run) for run in results[name])

    rows = [
        ("seconds from asking for the run to its first step", "{:.2f}", lambda name: lambda run: run["first"]),
        ("seconds from asking for the run to its end in Prefect", "{:.2f}", lambda name: lambda run: run["end"]),
        ("milliseconds from step to step", "{:.1f}", lambda name: lambda run: 1000 * run["between"]),
        ("requests a run", "{:.1f}", lambda name: lambda run: run["requests"] - idle[name] * run["seconds"]),
        ("requests a step", "{:.1f}",
         lambda name: lambda run: (run["requests"] - idle[name] * run["seconds"]) / arguments.steps),
        ("messages on websockets a step", "{:.1f}", lambda name: lambda run: run["messages"] / arguments.steps),
        ("CPU seconds a run", "{:.2f}", lambda name: lambda run: run["cpu"]),
        ("megabytes of memory while it runs", "{:.0f}", lambda name: lambda run: run["memory"]),
    ]
    lines = ["| a run of " + f"{arguments.steps} steps, median of {arguments.runs} | beamrail | Prefect's process worker |",
             "|---|---|---|"]
    for text, form, value in rows:
        lines.append(f"| {text} | {form.format(median('beamrail', value('beamrail')))} | "
                     f"{form.format(median('python', value('python')))} |")
    lines.append(f"| requests a second of an idle worker | {idle['beamrail']:.2f} | {idle['python']:.2f} |")
    return lines


deployment_ids: dict[str, str] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--poll", type=float, help="seconds between two polls, of both (default: each one's own)")
    parser.add_argument("--idle", type=float, default=60, help="seconds for which idle workers are watched")
    parser.add_argument("--built", action="store_true", help="the example is built already")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not (PREFECT / "home/prefect.db").exists():
        raise SystemExit("Prefect is not installed; run make prefect")
    cargo = os.environ.get("CARGO", "cargo")
    if not arguments.built:
        subprocess.run([cargo, "build", "--release", "--locked", "-p", "beamrail-worker", "--example", "steps"],
                       cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as home:
        lines = asyncio.run(measure(arguments, Path(home)))
    text = "\n".join(lines)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
