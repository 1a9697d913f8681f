"""Internal. ``python -m kontinue_engine.runner LAUNCH``: become the zygote, or a runner where fork is not safe.

Started by ``pool.zygote_process`` (zygote) and by the zygote itself (runner); LAUNCH is JSON of ``frames.LaunchZygote``
or ``frames.LaunchRunner``. Not for people: ``kontinue worker run`` starts everything.
"""

from __future__ import annotations

import sys

import msgspec

from kontinue_engine.runner import process, zygote
from kontinue_engine.wire import frames


def main(argument: str) -> None:
    """Do what ``argument`` says; never returns normally."""
    launch: frames.LaunchZygote | frames.LaunchRunner = msgspec.json.decode(
        argument, type=frames.LaunchZygote | frames.LaunchRunner
    )
    match launch:
        case frames.LaunchZygote():
            zygote.run_zygote(launch)
        case frames.LaunchRunner():
            process.run_launched_runner(launch)


if __name__ == "__main__":
    main(sys.argv[1])
