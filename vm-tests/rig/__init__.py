# SPDX-License-Identifier: Apache-2.0
"""Machines with UEFI Secure Boot and a TPM, for the tests and the demo. Python's standard library only."""
from .esp import Esp, make_data_disk, make_esp_image, make_live_medium, mount_data_disk
from .firmware import OVMF_CODE, OVMF_VARS, enrolled_vars
from .machine import Disk, Machine, MachineError, MachineGone, MachineTimeout, Result
from .workshop import INSTALL, KERNELS, KernelUnreachable, Workshop

__all__ = ['Disk', 'Esp', 'INSTALL', 'KERNELS', 'KernelUnreachable', 'Machine', 'MachineError', 'MachineGone', 'MachineTimeout',
           'OVMF_CODE', 'OVMF_VARS', 'Result', 'Workshop', 'enrolled_vars', 'make_data_disk', 'make_esp_image', 'make_live_medium',
           'mount_data_disk']
