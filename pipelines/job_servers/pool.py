"""A pool of Python workers for runners with the environment EXTERNAL: one process per requested worker.

It is Beam's own pool on a free port, which its first line of output reports.
"""

from __future__ import annotations

import threading

from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main() -> None:
    """Serves until the process is killed."""
    address, _server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    print(f"Listening for workers at {address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
