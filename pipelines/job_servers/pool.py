"""A pool of Python workers for runners that are given the environment EXTERNAL: one process for each worker asked for.

It is Beam's own pool on a port that the system picks, which the first line of its output tells.
"""

from __future__ import annotations

import threading

from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main() -> None:
    """Serves until it is ended."""
    address, _server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    print(f"Listening for workers at {address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
