# SPDX-License-Identifier: Apache-2.0
"""Faults by replay: what was written to a disk is cut, reordered and torn, and every disk that could have been left by
a power cut is judged by readers that share no line with the agent.

    writelog    what QEMU's blklogwrites filter noted
    disk        a disk image that writes are put on and taken off again
    gpt, fat, luks2     readers, written from the specifications
    loader      which entry systemd-boot would start
    snapshot    what a disk is before an operation and after it
    judge       the invariants
    plain       what must never be on a disk, in any write
    explore     the states of a log
    record      a machine whose writes are logged, and what it leaves
    stories     what happens in it
    replay      all states of a record, judged
    boots       some of them, started
    cuts        real power cuts
    table       the results
"""
