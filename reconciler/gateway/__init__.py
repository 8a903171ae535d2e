"""The serving data plane: one process in front of all replicas of this machine. `python -m reconciler.gateway --state DIR --port N`.

It reads `serving/routes.json` and `serving/replicas/`, answers `POST /predict/PROJECT/NAME`, and writes only what it saw: predictions,
labels, counters. It goes on while the reconciler, Ray's head or Serve's controller is down: requests go straight to the replicas'
own sockets.

::

    access -> app (routing) -> auth -> body -> forward (choose, wait, call, check) -> answer"""
