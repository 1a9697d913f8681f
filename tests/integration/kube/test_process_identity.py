"""A process can tell whether another one still lives."""

import os
import subprocess
import sys

from kontinue_engine.kube.process_identity import local_identity, process_start


def test_the_identity_describes_this_process():
    """Boot and pid namespace are part of it; two incarnations differ."""
    one, other = local_identity("s"), local_identity("s")
    assert (one.shard, one.pid, one.boot_id) == ("s", os.getpid(), other.boot_id)
    assert one.incarnation != other.incarnation
    assert one.process_started == process_start(os.getpid())


def test_a_dead_process_has_no_start():
    """Neither as a zombie nor when it is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(process.pid) is None
    process.wait()
    process.stdout.close()
    assert process_start(process.pid) is None
