"""What the beamline's file watcher and notebooks do: start the dispatcher with Prefect's own client, and wait.

The file's path is the first argument; the state that the run ends in is printed.
"""

import sys

from prefect.deployments import run_deployment

run = run_deployment(
    "dispatcher/run_832_dispatcher",
    parameters={"file_path": sys.argv[1], "is_export_control": False, "config": None},
    timeout=100,
    poll_interval=1,
)
print(run.state.type.value, run.id)
