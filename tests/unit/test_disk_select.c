/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for choosing a disk: the grammar, each term, ties, and what is never chosen. */
#include "partition/disk_select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define T(s) ((char *)(uintptr_t)(s))

static struct disk disks[] = {
        {.name = T("vda"),
         .path = T("/dev/vda"),
         .model = T(""),
         .serial = T("alpha"),
         .wwn = T(""),
         .size = 20 * GIB,
         .bus = SYSBLOCK_BUS_VIRTIO,
         .rotational = true},
        {.name = T("nvme0n1"),
         .path = T("/dev/nvme0n1"),
         .model = T("Fast 9000"),
         .serial = T("S1,x"),
         .wwn = T("eui.0025388b"),
         .size = 1000 * GIB,
         .bus = SYSBLOCK_BUS_NVME},
        {.name = T("sda"),
         .path = T("/dev/sda"),
         .model = T("Slow Disk"),
         .serial = T("W-1"),
         .wwn = T("naa.5000c500a1b2c3d4"),
         .size = 4000 * GIB,
         .bus = SYSBLOCK_BUS_SATA,
         .rotational = true},
        {.name = T("sdb"),
         .path = T("/dev/sdb"),
         .model = T("Slow Disk"),
         .serial = T("W-2"),
         .wwn = T("naa.5000c500ffffffff"),
         .size = 4000 * GIB,
         .bus = SYSBLOCK_BUS_SCSI,
         .rotational = true},
        {.name = T("sdc"),
         .path = T("/dev/sdc"),
         .model = T("Stick"),
         .serial = T("U"),
         .wwn = T(""),
         .size = 9000 * GIB,
         .bus = SYSBLOCK_BUS_USB,
         .removable = true},
        {.name = T("sdd"),
         .path = T("/dev/sdd"),
         .model = T("Locked"),
         .serial = T("R"),
         .wwn = T(""),
         .size = 9000 * GIB,
         .bus = SYSBLOCK_BUS_USB,
         .read_only = true},
        {.name = T("sde"),
         .path = T("/dev/sde"),
         .model = T("Reader"),
         .serial = T(""),
         .wwn = T(""),
         .size = 0,
         .bus = SYSBLOCK_BUS_USB},
        {.name = T("sdf"),
         .path = T("/dev/sdf"),
         .model = T("Medium"),
         .serial = T("L"),
         .wwn = T(""),
         .size = 8000 * GIB,
         .bus = SYSBLOCK_BUS_USB},
        {.name = T("mmcblk0"),
         .path = T("/dev/mmcblk0"),
         .model = T("CARD"),
         .serial = T("0x1"),
         .wwn = T(""),
         .size = 8 * GIB,
         .bus = SYSBLOCK_BUS_MMC},
};

static void candidates(struct disk_candidate list[ARRAY_SIZE(disks)])
{
        for (size_t i = 0; i < ARRAY_SIZE(disks); i++)
                list[i] = (struct disk_candidate){.disk = &disks[i], .link = ""};
        list[1].link = "/dev/disk/by-id/nvme-Fast_9000_S1";
        list[7].never = "the medium of this session";
        list[8].never = "too small";
}

/* The kernel name of the disk chosen, or NULL with the error. */
static const char *choose(const char *text, char why[128], struct error *e)
{
        struct disk_candidate list[ARRAY_SIZE(disks)];
        struct disk_rule rule;
        size_t best = SIZE_MAX;

        candidates(list);
        error_clear(e);
        if (disk_select_parse(text, &rule, e) < 0)
                fail_msg("%s: %s", text, e->text);
        if (disk_select_choose(&rule, list, ARRAY_SIZE(list), &best, why, 128, e) < 0) {
                assert_int_equal(best, SIZE_MAX);
                return NULL;
        }
        return disks[best].name;
}

static void every_term_chooses(void **state)
{
        static const struct {
                const char *rule, *name;
        } table[] = {
                {"smallest", "vda"},
                {"size<4000G,auto", "nvme0n1"},
                {"size<4000G,largest", "nvme0n1"},
                {"size<4000G,smallest", "vda"},
                {" size>=20G ,\tsize<21G ", "vda"},
                {"size=20G", "vda"},
                {"size>20G,smallest", "nvme0n1"},
                {"size<=20G", "vda"},
                {"bus=nvme", "nvme0n1"},
                {"bus=virtio", "vda"},
                {"bus=scsi", "sdb"},
                {"bus=sata", "sda"},
                {"bus=ata", "sda"},
                {"model=Fast*", "nvme0n1"},
                {"model=fast ?000", "nvme0n1"},
                {"serial=W-[12],bus=sata", "sda"},
                {"serial=S1?x", "nvme0n1"},
                {"wwn=naa.5000C500A1B2C3D4", "sda"},
                {"wwn=0x5000c500ff*", "sdb"},
                {"wwn=eui.*", "nvme0n1"},
                {"wwn=0x0025*", "nvme0n1"},
                {"rotational=no", "nvme0n1"},
                {"rotational=yes,smallest", "vda"},
                {"size>=100G,size<2T,bus=nvme,model=*,serial=*,wwn=*,rotational=no,largest",
                 "nvme0n1"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                const char *name;
                char why[128];

                name = choose(table[i].rule, why, &e);
                if (!name)
                        fail_msg("%s: %s", table[i].rule, e.text);
                assert_string_equal(name, table[i].name);
        }
}

static void the_choice_is_explained(void **state)
{
        struct error e = ERROR_INIT;
        char why[128];

        (void)state;
        assert_non_null(choose("bus=nvme,largest", why, &e));
        assert_string_equal(why, "the only disk that fits the rule");
        assert_non_null(choose("smallest", why, &e));
        assert_string_equal(why, "the smallest of 4 disks that fit the rule");
}

static void a_tie_lists_the_equals_and_nobody_else(void **state)
{
        struct error e = ERROR_INIT;
        char why[128];

        (void)state;
        assert_null(choose("largest", why, &e));
        assert_int_equal(e.code, ENOTUNIQ);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "/dev/sda: Slow Disk, serial W-1, 3.9 TiB, sata"));
        assert_non_null(strstr(e.text, "/dev/sdb: Slow Disk, serial W-2"));
        assert_null(strstr(e.text, "vda"));
        assert_null(strstr(e.text, "sdf"));
        assert_non_null(strstr(e.advice, "serial="));
        assert_null(strstr(e.advice, "largest"));
        /* Without an order, two that match are a tie although their sizes differ. */
        assert_null(choose("size<=1000G", why, &e));
        assert_int_equal(e.code, ENOTUNIQ);
        assert_non_null(strstr(e.text, "/dev/vda: no model, serial alpha, 20 GiB, virtio"));
        assert_non_null(strstr(e.text, "nvme, /dev/disk/by-id/nvme-Fast_9000_S1"));
        assert_non_null(strstr(e.advice, "largest"));
}

static void no_match_says_why_of_each(void **state)
{
        struct error e = ERROR_INIT;
        char why[128];

        (void)state;
        assert_null(choose("size>=1M,bus=nvme,serial=nobody*", why, &e));
        assert_int_equal(e.code, ENODEV);
        assert_int_equal(e.class, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "/dev/vda: no model, serial alpha, 20 GiB, virtio: not "
                                       "bus=nvme\n"));
        assert_non_null(strstr(e.text, "nvme-Fast_9000_S1: not serial=nobody*\n"));
        assert_non_null(strstr(e.text, "usb: removable, so only by its own name\n"));
        assert_non_null(strstr(e.text, "usb: read-only\n"));
        assert_non_null(strstr(e.text, "usb: no medium\n"));
        assert_non_null(strstr(e.text, "usb: the medium of this session\n"));
        assert_non_null(strstr(e.text, "mmc: too small"));
}

/* A pattern never fits what is not there. */
static void never_chosen_though_named_by_the_rule(void **state)
{
        static const char *const rules[] = {"model=Stick",    "model=Locked", "model=Reader",
                                            "model=Medium",   "bus=mmc",      "size=20G,model=*",
                                            "bus=usb,largest"};

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
                struct error e = ERROR_INIT;
                char why[128];

                assert_null(choose(rules[i], why, &e));
                assert_int_equal(e.code, ENODEV);
        }
}

static void without_disks_there_is_no_match(void **state)
{
        struct error e = ERROR_INIT;
        struct disk_rule rule;
        char why[128];
        size_t best;

        (void)state;
        assert_int_equal(disk_select_parse("auto", &rule, &e), 0);
        assert_int_equal(disk_select_choose(&rule, NULL, 0, &best, why, sizeof(why), &e), -ENODEV);
        assert_string_equal(e.text, "no disk fits the rule");
}

static void a_long_list_is_cut_at_a_line(void **state)
{
        struct disk_candidate list[200];
        struct error e = ERROR_INIT;
        struct disk_rule rule;
        char why[128];
        size_t best;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(list); i++)
                list[i] = (struct disk_candidate){.disk = &disks[2], .link = ""};
        assert_int_equal(disk_select_parse("auto", &rule, &e), 0);
        assert_int_equal(disk_select_choose(&rule, list, 200, &best, why, sizeof(why), &e),
                         -ENOTUNIQ);
        assert_string_equal(e.text + strlen(e.text) - 11, "\n  and more");
        error_clear(&e);
        assert_int_equal(disk_select_parse("bus=nvme", &rule, &e), 0);
        assert_int_equal(disk_select_choose(&rule, list, 200, &best, why, sizeof(why), &e),
                         -ENODEV);
        assert_string_equal(e.text + strlen(e.text) - 11, "\n  and more");
}

static void mistakes_name_the_term(void **state)
{
        static const struct {
                const char *rule, *term, *what;
        } table[] = {
                {"", "", "empty"},
                {"largest,", "", "empty"},
                {",largest", "", "empty"},
                {"size>=1G, ,auto", "", "empty"},
                {"vda", "vda", "no such term"},
                {"Largest", "Largest", "no such term"},
                {"auto,siz>=1G", "siz>=1G", "no such term"},
                {"=nvme", "=nvme", "no such term"},
                {"size", "size", "needs a value"},
                {"bus", "bus", "needs a value"},
                {"size>=", "size>=", "not a size"},
                {"size>=100X", "size>=100X", "not a size"},
                {"size=>1G", "size=>1G", "not a size"},
                {"size<>1G", "size<>1G", "not a size"},
                {"size>=-1", "size>=-1", "not a size"},
                {"size>=99999999999T", "size>=99999999999T", "not a size"},
                {"bus=pci", "bus=pci", "no such bus"},
                {"bus=other", "bus=other", "no such bus"},
                {"bus=", "bus=", "no such bus"},
                {"bus>=nvme", "bus>=nvme", "only \"=\""},
                {"model<x", "model<x", "only \"=\""},
                {"model=", "model=", "empty"},
                {"rotational=maybe", "rotational=maybe", "neither yes nor no"},
                {"rotational=", "rotational=", "neither yes nor no"},
                {"largest=yes", "largest=yes", "takes no value"},
                {"largest,smallest", "smallest", "only one of"},
                {"auto,largest", "largest", "only one of"},
                {"bus=nvme,bus=usb", "bus=usb", "given twice"},
                {"serial=a,serial=a", "serial=a", "given twice"},
                {"size>1,size>1,size>1,size>1,size>1,size>1,size>1,size>1,size>1,size>1,size>1,"
                 "size>1,size>1,size>1,size>1,size>1,auto",
                 "size>1", "more terms"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
                struct error e = ERROR_INIT;
                struct disk_rule rule = {.n = 77};
                char quoted[64];

                if (disk_select_parse(table[i].rule, &rule, &e) != -EINVAL)
                        fail_msg("\"%s\" was accepted", table[i].rule);
                assert_int_equal(rule.n, 77);
                assert_int_equal(e.class, ERROR_USAGE);
                (void)snprintf(quoted, sizeof(quoted), "\"%s\": ", table[i].term);
                if (!strstr(e.text, quoted) || !strstr(e.text, table[i].what))
                        fail_msg("\"%s\" gave: %s", table[i].rule, e.text);
                assert_non_null(strstr(e.advice, "bus=nvme|virtio|scsi|sata|usb|mmc"));
                assert_non_null(strstr(e.advice, "/dev/sda"));
        }
}

static void a_term_may_be_long_but_not_too_long(void **state)
{
        char text[LIMIT_DISK_TERM + 8];
        struct error e = ERROR_INIT;
        struct disk_rule rule;

        (void)state;
        memset(text, 'x', sizeof(text));
        memcpy(text, "model=", 6);
        text[LIMIT_DISK_TERM - 1] = '\0';
        assert_int_equal(disk_select_parse(text, &rule, &e), 0);
        assert_int_equal(strlen(rule.term[0].glob), LIMIT_DISK_TERM - 1 - 6);
        text[LIMIT_DISK_TERM - 1] = 'x';
        text[LIMIT_DISK_TERM] = '\0';
        assert_int_equal(disk_select_parse(text, &rule, &e), -EINVAL);
        assert_non_null(strstr(e.text, "too long"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_term_chooses),
                cmocka_unit_test(the_choice_is_explained),
                cmocka_unit_test(a_tie_lists_the_equals_and_nobody_else),
                cmocka_unit_test(no_match_says_why_of_each),
                cmocka_unit_test(never_chosen_though_named_by_the_rule),
                cmocka_unit_test(without_disks_there_is_no_match),
                cmocka_unit_test(a_long_list_is_cut_at_a_line),
                cmocka_unit_test(mistakes_name_the_term),
                cmocka_unit_test(a_term_may_be_long_but_not_too_long),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
