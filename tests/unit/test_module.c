/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices the boot stage starts first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "partition/module.h"

static void disks_and_tpms_come_first(void **state)
{
        static const struct {
                const char *bus, *modalias;
                bool first;
        } cases[] = {
                /* virtio block, also the transitional one; NVMe; AHCI; RAID; eMMC host */
                {"pci", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", true},
                {"pci", "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00", true},
                {"pci", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true},
                {"pci", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
                {"pci", "pci:v00008086d0000467Fsv00008086sd00000000bc01sc04i00", true},
                {"pci", "pci:v00008086d00004B47sv00008086sd00007270bc08sc05i01", true},
                {"virtio", "virtio:d00000002v00001AF4", true},
                {"virtio", "virtio:d00000008v00001AF4", true},
                {"acpi", "acpi:MSFT0101:", true},
                {"acpi", "acpi:VMBUS:", true},
                {"acpi", "acpi:VMBus:", true},
                {"acpi", "acpi:LNRO0005:", true},
                {"scsi", "scsi:t-0x00", true},
                {"mmc", "mmc:block", true},
                {"vmbus", "vmbus:d96361baa104294db60572e2ffb1dc7f", true},
                /* network, display, sound, USB, bridges, timers; what virtio also has */
                {"pci", "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00", false},
                {"pci", "pci:v00001002d0000744Csv00001002sd00000E3Bbc03sc00i00", false},
                {"pci", "pci:v00008086d0000A348sv00008086sd00007270bc04sc03i80", false},
                {"pci", "pci:v00008086d0000A36Dsv00008086sd00007270bc0Csc03i30", false},
                {"pci", "pci:v00008086d00002918sv00001AF4sd00001100bc06sc01i00", false},
                {"pci", "pci:v00008086d00002918sv00001AF4sd00001100bc08sc03i00", false},
                {"virtio", "virtio:d00000001v00001AF4", false},
                {"virtio", "virtio:d00000003v00001AF4", false},
                {"virtio", "virtio:d00000028v00001AF4", false},
                {"acpi", "acpi:QEMU0002:", false},
                {"scsi", "scsi:t-0x05", false},
                {"cpu", "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000", false},
                /* an alias of another bus */
                {"acpi", "virtio:d00000002v00001AF4", false},
                {"pci", "", false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                if (module_is_first(cases[i].bus, cases[i].modalias) != cases[i].first)
                        fail_msg("%s on %s", cases[i].modalias, cases[i].bus);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(disks_and_tpms_come_first)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
