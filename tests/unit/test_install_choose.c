/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing a disk on a pseudo terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/install_choose.h"
#include "base/file.h"
#include "base/limits.h"

static struct disk disks[] = {
        {.name = (char[]){"sda"},
         .path = (char[]){"/dev/sda"},
         .model = (char[]){"Stick"},
         .serial = (char[]){""},
         .size = 8 * GIB,
         .bus = SYSBLOCK_BUS_USB,
         .removable = true},
        {.name = (char[]){"nvme0n1"},
         .path = (char[]){"/dev/nvme0n1"},
         .model = (char[]){"Fast\x1b[2J"},
         .serial = (char[]){"S1"},
         .size = 100 * GIB,
         .bus = SYSBLOCK_BUS_NVME},
        {.name = (char[]){"vda"},
         .path = (char[]){"/dev/vda"},
         .model = (char[]){""},
         .serial = (char[]){""},
         .size = 20 * GIB,
         .bus = SYSBLOCK_BUS_VIRTIO},
};

static struct install_offer items[ARRAY_SIZE(disks)] = {
        {&disks[0], "this session was started from it, so it stays"},
        {&disks[1], ""},
        {&disks[2], ""},
};

static const struct install_offers offers = {items, ARRAY_SIZE(items)};

/* Types before it is asked, as the terminal keeps it. Returns what was shown. */
static int choose(const struct install_offers *list, const char *typed, size_t *chosen, char *seen,
                  size_t size, struct error *e)
{
        int person = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), r;
        struct pollfd polled = {.fd = person, .events = POLLIN};
        FILE *in, *out;
        char name[64];
        size_t n = 0;

        assert_true(person >= 0);
        assert_int_equal(grantpt(person) | unlockpt(person), 0);
        assert_int_equal(ptsname_r(person, name, sizeof(name)), 0);
        in = fopen(name, "r");
        out = fopen(name, "w");
        assert_non_null(in);
        assert_non_null(out);
        assert_int_equal(file_write(person, typed, strlen(typed)), 0);
        r = install_choose_disk(list, in, out, chosen, e);
        assert_int_equal(fflush(out), 0);
        while (n + 1 < size && poll(&polled, 1, 100) > 0) {
                ssize_t got = read(person, seen + n, size - 1 - n);

                if (got <= 0)
                        break;
                n += (size_t)got;
        }
        seen[n] = '\0';
        (void)fclose(in);
        (void)fclose(out);
        close_p(&person);
        return r;
}

static void disks_are_shown_with_reasons(void **state)
{
        struct error e = ERROR_INIT;
        char seen[8192];
        size_t chosen = 99;

        (void)state;
        assert_int_equal(choose(&offers, "1\n", &chosen, seen, sizeof(seen), &e), 0);
        assert_int_equal(chosen, 1);
        assert_non_null(strstr(seen, "   -  /dev/sda, 8 GiB, usb, Stick, REMOVABLE"));
        assert_non_null(strstr(seen, "cannot be chosen: this session was started from it"));
        assert_non_null(strstr(seen, "   1  /dev/nvme0n1, 100 GiB, nvme, Fast?[2J, serial S1"));
        assert_non_null(strstr(seen, "   2  /dev/vda, 20 GiB, virtio, (no model)"));
        assert_null(strstr(seen, "\x1b[2J"));
}

static void names_and_second_thoughts(void **state)
{
        static const struct {
                const char *typed;
                size_t chosen;
                const char *said;
        } cases[] = {
                {"vda\n", 2, ""},
                {"/dev/vda\n", 2, ""},
                {"2\n", 2, ""},
                {"3\n0\nnvme\n2\n", 2, "There is no such disk."},
                {"sda\nnvme0n1\n", 1, "so it stays"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error e = ERROR_INIT;
                char seen[8192];
                size_t chosen = 99;

                assert_int_equal(choose(&offers, cases[i].typed, &chosen, seen, sizeof(seen), &e),
                                 0);
                assert_int_equal(chosen, cases[i].chosen);
                assert_non_null(strstr(seen, cases[i].said));
        }
}

static void nothing_is_an_answer_too(void **state)
{
        static const char *const typed[] = {"\n", "\x04", "x\nx\nx\nx\nx\nvda\n"};
        struct install_offer only[] = {items[0]};
        const struct install_offers none = {only, 1};
        struct error e = ERROR_INIT;
        char seen[8192];
        size_t chosen = 99;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(typed); i++) {
                assert_int_equal(choose(&offers, typed[i], &chosen, seen, sizeof(seen), &e),
                                 -ECANCELED);
                assert_int_equal(e.class, ERROR_INTERRUPTED);
        }
        assert_int_equal(choose(&none, "1\n", &chosen, seen, sizeof(seen), &e), -ENODEV);
        assert_int_equal(e.class, ERROR_PRECONDITION);
}

static void the_disk_is_confirmed_by_name(void **state)
{
        (void)state;
        assert_true(install_choose_confirms(&disks[2], "vda"));
        assert_true(install_choose_confirms(&disks[2], "/dev/vda"));
        assert_true(install_choose_confirms(&disks[2], "yes"));
        assert_false(install_choose_confirms(&disks[2], "nvme0n1"));
        assert_false(install_choose_confirms(&disks[2], "y"));
        assert_false(install_choose_confirms(&disks[2], ""));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(disks_are_shown_with_reasons),
                cmocka_unit_test(names_and_second_thoughts),
                cmocka_unit_test(nothing_is_an_answer_too),
                cmocka_unit_test(the_disk_is_confirmed_by_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
