/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations that are wrong, and the exact words that say so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/unit/config_run.h"

#define HEAD "#cloud-config\n"
#define EXTRA "install.extra-partitions"

/* All problems, in order; texts of up to two files. */
static const struct broken {
        const char *text, *second;
        const char *said[4];
} table[] = {
        /* the form of the file */
        {"install: {}\n",
         NULL,
         {"a.yaml:1:1: the header #cloud-config is missing; let the first line be "
          "#cloud-config"}},
        {"",
         NULL,
         {"a.yaml:1:1: the header #cloud-config is missing; let the first line be "
          "#cloud-config"}},
        {HEAD "install:\n  device: /dev/\xff\n",
         NULL,
         {"a.yaml:3:16: byte 0xff is no UTF-8; save the file in UTF-8"}},
        {HEAD "hostname: \"\xc3\xbc\xed\xa0\x80\"\n",
         NULL,
         {"a.yaml:2:13: byte 0xed is no UTF-8; save the file in UTF-8"}},
        {HEAD "# caf\xe9\n", NULL, {"a.yaml:2:6: byte 0xe9 is no UTF-8; save the file in UTF-8"}},
        {HEAD "install: {device: \"a\x1b[31m\"}\n",
         NULL,
         {"a.yaml:2:21: control character U+001B"}},
        {HEAD "install:\n\tdevice: /dev/x\n",
         NULL,
         {"a.yaml:3:1: YAML: tab character may not be used as indentation; indent with spaces"}},
        {HEAD "install:\n  device: /dev/x\n reboot: true\n",
         NULL,
         {"a.yaml:4:2: YAML: invalid indentation in mapping"}},
        {HEAD "install: {device: /dev/x\n",
         NULL,
         {"a.yaml:3:1: YAML: missing comma in flow mapping"}},
        {HEAD "install:\n  device: \"/dev/x\n",
         NULL,
         {"a.yaml:3:12: YAML: double-quoted scalar without closing quote"}},
        {HEAD "install:\n  device /dev/x\n  reboot: true\n",
         NULL,
         {"a.yaml:3:3: YAML: invalid multiline plain key"}},
        {HEAD "install: device: /dev/x\n",
         NULL,
         {"a.yaml:2:16: YAML: invalid nested block mapping on the same line"}},
        {HEAD "install: {}\n---\nreset: {}\n",
         NULL,
         {"a.yaml:4:1: a second document, one file holds one"}},
        {HEAD "- install\n- reset\n",
         NULL,
         {"a.yaml:2:1: expected sections, \"install:\" and others"}},
        {HEAD "install\n", NULL, {"a.yaml:2:1: expected sections, \"install:\" and others"}},
        /* keys */
        {HEAD "install:\n  devise: /dev/x\n",
         NULL,
         {"a.yaml:3:3: install: unknown key \"devise\"; did you mean \"device\"?"}},
        {HEAD "install:\n  bind-mounts: [/a]\n  Device: auto\n  frobnicate: 1\n",
         NULL,
         {"a.yaml:3:3: install: unknown key \"bind-mounts\"; did you mean \"bind_mounts\"?",
          "a.yaml:4:3: install: unknown key \"Device\"; did you mean \"device\"?",
          "a.yaml:5:3: install: unknown key \"frobnicate\""}},
        {HEAD "install:\n  partitions.oem.size: 60\n",
         NULL,
         {"a.yaml:3:3: install: unknown key \"partitions.oem.size\"; keys with dots are not split; "
          "write each part on a line of its own, indented below the one before"}},
        {HEAD "install:\n  partitions: {oem: {sise: 1}}\n",
         NULL,
         {"a.yaml:3:22: install.partitions.oem: unknown key \"sise\"; did you mean \"size\"?"}},
        {HEAD "install: {device: auto}\nreset: {}\ninstall: {reboot: true}\n",
         NULL,
         {"a.yaml:4:1: \"install\" is given twice, first in line 2"}},
        {HEAD "upgrade:\n  reboot: true\n  \"reboot\": false\n",
         NULL,
         {"a.yaml:4:3: \"reboot\" is given twice, first in line 3"}},
        {HEAD "users: []\nusers: []\n",
         NULL,
         {"a.yaml:3:1: \"users\" is given twice, first in line 2"}},
        {HEAD "upgrad: {reboot: true}\nreset: {rebot: true}\n",
         NULL,
         {"a.yaml:2:1: warning: \"upgrad\" is left to others; did you mean \"upgrade\"?",
          "a.yaml:3:9: reset: unknown key \"rebot\"; did you mean \"reboot\"?"}},
        {HEAD "install: {? [a]: b}\n", NULL, {"a.yaml:2:13: a key that is no plain word"}},
        /* what YAML can do, and nobody needs */
        {HEAD "x: &a [1]\ninstall:\n  bind_mounts: *a\n",
         NULL,
         {"a.yaml:4:16: aliases (*name) are not accepted in this section"}},
        {HEAD "install: &i {device: &d auto}\n",
         NULL,
         {"a.yaml:2:13: anchors (&name) are not accepted in this section",
          "a.yaml:2:25: anchors (&name) are not accepted in this section"}},
        {HEAD "install: {reboot: !!str true}\n",
         NULL,
         {"a.yaml:2:25: tags (!name) are not accepted in this section"}},
        {HEAD "x: &x {device: auto}\ninstall:\n  <<: *x\n",
         NULL,
         {"a.yaml:4:3: merge keys (<<) are not accepted in this section"}},
        {HEAD "x: &x {install: {device: auto}}\n<<: *x\n",
         NULL,
         {"a.yaml:3:1: merge keys (<<) are not accepted in this section"}},
        {HEAD "install: {device: \"/dev/a\\0b\"}\n",
         NULL,
         {"a.yaml:2:19: a text with a NUL character"}},
        {HEAD "install:\n  device: |\n    /dev/x\n  source: >-\n    dir:/x\n",
         NULL,
         {"a.yaml:3:3: a text over several lines is not accepted in this section",
          "a.yaml:5:3: a text over several lines is not accepted in this section"}},
        {HEAD "install:\n  device: \"/dev/\\\n    x\"\n  source: dir:/x\n    y\n",
         NULL,
         {"a.yaml:3:11: a text over several lines is not accepted in this section",
          "a.yaml:5:11: a text over several lines is not accepted in this section"}},
        {HEAD "install: {hooks: {before: ['/it''s']}}\n",
         NULL,
         {"a.yaml:2:28: a quote within single quotes is not accepted, write the text in double "
          "quotes"}},
        /* types */
        {HEAD "install:\n  reboot: maybe\n  poweroff: 1\n  no-format: \"true\"\n",
         NULL,
         {"a.yaml:3:11: install.reboot: expected true or false, found the text \"maybe\"",
          "a.yaml:4:13: install.poweroff: expected true or false, found the number 1",
          "a.yaml:5:14: install.no-format: expected true or false, found the text \"true\""}},
        {HEAD "install:\n  device:\n  reboot: {}\n  no-format: []\n",
         NULL,
         {"a.yaml:3:3: install.device: expected a text, found nothing",
          "a.yaml:4:11: install.reboot: expected true or false, found a map",
          "a.yaml:5:14: install.no-format: expected true or false, found a list"}},
        {HEAD "install: [device]\nupgrade: yes\n",
         NULL,
         {"a.yaml:2:10: install: expected a map, found a list",
          "a.yaml:3:10: upgrade: expected a map, found true"}},
        {HEAD "install:\n  bind_mounts: /a\n  extra-partitions: {name: a}\n",
         NULL,
         {"a.yaml:3:16: install.bind_mounts: expected a list, found the text \"/a\"",
          "a.yaml:4:21: install.extra-partitions: expected a list, found a map"}},
        {HEAD "install: {extra-partitions: [{name: 1, size: 1}, x]}\n",
         NULL,
         {"a.yaml:2:37: " EXTRA "[0].name: expected a text, found the number 1; put it in quotes",
          "a.yaml:2:50: " EXTRA "[1]: expected a map, found the text \"x\""}},
        /* values */
        {HEAD "install:\n  device: sda\n  recovery-key-file: key\n  source: quay.io/x\n",
         NULL,
         {"a.yaml:3:11: install.device: \"sda\" is not a path below /dev, or a rule like auto or "
          "\"size>=100G, bus=nvme\"",
          "a.yaml:4:22: install.recovery-key-file: \"key\" is not an absolute path without \".\", "
          "\"..\" and \"//\"",
          "a.yaml:5:11: install.source: \"quay.io/x\" is not a source (oci:NAME, https://URL, "
          "ocifile:FILE, dir:FOLDER or file:FILE)"}},
        {HEAD "install: {device: /dev/../etc/x}\n",
         NULL,
         {"a.yaml:2:19: install.device: \"/dev/../etc/x\" is not a path below /dev, or a rule like "
          "auto or \"size>=100G, bus=nvme\""}},
        {HEAD "install: {device: \"script:///bin/pick\"}\n",
         NULL,
         {"a.yaml:2:19: install.device: \"script://\" is refused: a program does not choose the "
          "disk that is erased; name it, or give a rule"}},
        {HEAD "install: {source: \"oci:Upper/Case\"}\n",
         NULL,
         {"a.yaml:2:19: install.source: source \"oci:Upper/Case\": the name in the registry is "
          "malformed (lower-case letters, digits, and . _ - / between them)"}},
        {HEAD "install: {source: \"https://u:secret@h\"}\n",
         NULL,
         {"a.yaml:2:19: install.source: source \"https://u:***@h\": the URL names no file"}},
        {HEAD "install: {bind_mounts: [/a, b, /a, /proc/x, /usr]}\n",
         NULL,
         {"a.yaml:2:29: install.bind_mounts[1]: \"b\" is not an absolute path of letters, digits "
          "and _ + @ % = ~ # . -",
          "a.yaml:2:32: install.bind_mounts[2]: \"/a\" is listed twice",
          "a.yaml:2:36: install.bind_mounts[3]: \"/proc/x\" cannot be mounted over: /proc is the "
          "system's own",
          "a.yaml:2:45: install.bind_mounts[4]: \"/usr\" cannot be mounted over: /usr is the "
          "system's own"}},
        {HEAD "install: {partitions: {oem: {size: 16}, efi: {size: 100M}, persistent: {size: "
              "lots}}}\n",
         NULL,
         {"a.yaml:2:36: install.partitions.oem.size: 16 MiB is less than 32 MiB",
          "a.yaml:2:53: install.partitions.efi.size: 100 MiB is less than 260 MiB",
          "a.yaml:2:79: install.partitions.persistent.size: expected a size (a number of MiB, or a "
          "text like 2G), found the text \"lots\""}},
        {HEAD "install: {partitions: {oem: {size: \"512\"}, efi: {size: 99999999999999999999}, "
              "persistent: {size: 010}}}\n",
         NULL,
         {"a.yaml:2:36: install.partitions.oem.size: \"512\" has no unit; write 512 for MiB, or "
          "\"512G\"",
          "a.yaml:2:56: install.partitions.efi.size: more than 1 PiB",
          "a.yaml:2:98: install.partitions.persistent.size: expected a size (a number of MiB, or a "
          "text like 2G), found the number 010"}},
        {HEAD "install: {partitions: {oem: {fs: xfs, label: X}}}\n",
         NULL,
         {"a.yaml:2:34: install.partitions.oem.fs: \"xfs\" is not ext4",
          "a.yaml:2:39: install.partitions.oem.label: is refused: the node's partitions are found "
          "by their names and labels"}},
        {HEAD "install: {extra-partitions: [{name: a, size: 64, fs: ext3}, {size: 1, label: a}]}\n",
         NULL,
         {"a.yaml:2:54: " EXTRA "[0].fs: \"ext3\" is not one of ext4, none, -, noformat; did "
          "you mean \"ext4\"?",
          "a.yaml:2:61: " EXTRA "[1]: \"name\" is missing"}},
        {HEAD "install: {extra-partitions: [{name: a b, size: 1M, label: seventeen-letters}]}\n",
         NULL,
         {"a.yaml:2:37: " EXTRA "[0].name: \"a b\" is not a name of letters, digits and _ . -",
          "a.yaml:2:59: " EXTRA "[0].label: a text of 17 bytes, at most 16 fit"}},
        {HEAD "upgrade: {entry: activ}\ninstall: {enroll-keys-by: force}\n",
         NULL,
         {"a.yaml:2:18: upgrade.entry: \"activ\" is not one of active, recovery; did you mean "
          "\"active\"?",
          "a.yaml:3:27: install.enroll-keys-by: \"force\" is not one of agent, loader"}},
        {HEAD "bind-pcrs: [7, 11, 7, x]\nbind-public-pcrs: [12]\n",
         NULL,
         {"a.yaml:2:16: bind-pcrs[1]: PCR 11 cannot be bound: images are measured into it, so it "
          "is bound by their signature",
          "a.yaml:2:20: bind-pcrs[2]: PCR 7 is listed twice",
          "a.yaml:2:23: bind-pcrs[3]: expected the number of a PCR, found the text \"x\"",
          "a.yaml:3:20: bind-public-pcrs[0]: PCR 12 cannot be bound: an image is measured into PCR "
          "11 and signed for nothing else"}},
        {HEAD "cosign: true\ninstall: {cloud-init: [\"https://x/y\"], nousers: true}\n",
         NULL,
         {"a.yaml:2:1: cosign: is refused: an image proves itself to the firmware's keys and to "
          "the "
          "disk's policy key; nothing asks cosign",
          "a.yaml:3:11: install.cloud-init: is refused: further configurations are given by "
          "--config, in order",
          "a.yaml:3:40: warning: install.nousers: has no effect: no user is demanded"}},
        /* what does not fit together, over several files */
        {HEAD "install: {reboot: true}\n",
         HEAD "install:\n  poweroff: true\n",
         {"b.yaml:3:13: install.poweroff: reboot is wanted, too; keep one of reboot and poweroff"}},
        {HEAD "install: {source: \"dir:/a\"}\n",
         HEAD "install: {system: {uri: \"dir:/b\"}}\n",
         {"b.yaml:2:25: install.system.uri: the same was said already, in other words; keep one of "
          "them"}},
        {HEAD "install: {extra-partitions: [{name: a, size: 64}]}\n",
         HEAD "install: {encrypted_partitions: [a, B, COS_GRUB]}\n",
         {"b.yaml:2:37: install.encrypted_partitions[1]: no partition has the label or name \"B\"; "
          "make it in install.extra-partitions",
          "b.yaml:2:40: install.encrypted_partitions[2]: the firmware has to read the EFI system "
          "partition"}},
        {HEAD "install:\n  extra-partitions:\n  - {name: b, size: 0}\n",
         NULL,
         {"a.yaml:4:21: " EXTRA "[0].size: 0 B is less than 1 MiB"}},
        {HEAD "install:\n  extra-partitions:\n  - {name: OEM, size: 64, label: L}\n"
              "  - {name: b, size: 64, label: COS_X}\n"
              "  - {name: b, size: 64, label: L}\n",
         NULL,
         {"a.yaml:4:5: " EXTRA "[0]: the name \"OEM\" is taken",
          "a.yaml:5:5: " EXTRA "[1]: the label \"COS_X\" begins as those of the node do",
          "a.yaml:6:5: " EXTRA "[2]: the label \"L\" is that of another one, too",
          "a.yaml:6:5: " EXTRA "[2]: the name \"b\" is that of another one, too"}},
        {HEAD "install:\n  extra-partitions:\n  - {name: a, size: 1}\n"
              "  - {name: c, size: 8, fs: ext4}\n  - {name: d, size: 16, encrypted: true}\n",
         NULL,
         {"a.yaml:5:5: " EXTRA "[1]: an ext4 needs 16 MiB",
          "a.yaml:6:5: " EXTRA "[2]: an encrypted partition needs 32 MiB"}},
        {HEAD "install: {recovery-key: none, enroll-keys-by: loader}\n",
         HEAD "install: {recovery-key-file: /k}\n",
         {"b.yaml:2:30: install.recovery-key-file: install.recovery-key says otherwise",
          "a.yaml:2:47: install.enroll-keys-by: install.enroll-keys is missing"}},
        {HEAD "install: {bind_mounts: [/a]}\n",
         HEAD "install: {ephemeral_mounts: [/b, /a]}\n",
         {"b.yaml:2:34: install.ephemeral_mounts[1]: \"/a\" is in bind_mounts, too"}},
        {HEAD "upgrade: {entry: active, recovery: true}\n",
         NULL,
         {"a.yaml:2:18: upgrade.entry: upgrade.recovery says otherwise"}},
        /* each file is named by its own name */
        {HEAD "install: {x: 1}\n",
         HEAD "reset: {x: 1}\n",
         {"a.yaml:2:11: install: unknown key \"x\"", "b.yaml:2:9: reset: unknown key \"x\""}},
};

/* Shows what differs; all of it, before the test fails. */
static bool differs(const struct broken *b)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        bool wrong = false;
        size_t n = 0;

        assert_int_equal(config_run(&run, b->text, b->second, NULL), -EBADMSG);
        assert_int_equal(run.error.class, ERROR_CONFIG);
        assert_null(run.c);
        while (n < ARRAY_SIZE(b->said) && b->said[n])
                n++;
        for (size_t i = 0; i < run.problems.n; i++) {
                char line[1024];

                config_run_line(&run.problems.item[i], line, sizeof(line));
                wrong = wrong || i >= n || strcmp(line, b->said[i]) != 0;
                if (i >= n || strcmp(line, b->said[i]) != 0)
                        print_error("said:     %s\nexpected: %s\n", line,
                                    i < n ? b->said[i] : "nothing");
        }
        wrong = wrong || run.problems.n != n;
        if (wrong)
                print_error("%zu problems instead of %zu in:\n%s", run.problems.n, n, b->text);
        return wrong;
}

static void every_mistake_gets_its_words(void **state)
{
        bool wrong = false;

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(table); i++)
                wrong |= differs(&table[i]);
        assert_false(wrong);
}

static void the_error_is_the_first_problem(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

        (void)state;
        assert_int_equal(
                config_run(&run, HEAD "install: {nousers: true, x: 1, reboot: 2}\n", NULL, NULL),
                -EBADMSG);
        assert_string_equal(run.error.text, "a.yaml:2:26: install: unknown key \"x\"");
        assert_string_equal(run.error.advice,
                            "\"tb-agent config check\" shows the other errors, too");
}

static void twenty_of_a_file_are_kept(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf yaml = BUF_INIT(65536);

        (void)state;
        assert_int_equal(buf_add_str(&yaml, HEAD "install:\n"), 0);
        for (unsigned i = 0; i < 30; i++)
                assert_int_equal(buf_printf(&yaml, "  devic%u: x\n", i), 0);
        assert_int_equal(config_run(&run, buf_str(&yaml), buf_str(&yaml), NULL), -EBADMSG);
        assert_int_equal(run.problems.errors, 40);
        assert_int_equal(run.problems.left_out, 20);
        assert_int_equal(run.problems.item[20].line, 3);
        assert_string_equal(run.problems.item[20].file, "b.yaml");
}

/* What a terminal would obey is not repeated to it. */
static void words_of_the_file_are_made_safe(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

        (void)state;
        assert_int_equal(config_run(&run, HEAD "install: {\"a\\e[31m\\nb\": 1}\n", NULL, NULL),
                         -EBADMSG);
        assert_string_equal(run.problems.item[0].text, "install: unknown key \"a?[31m?b\"");
}

/* --- limits ------------------------------------------------------------------------------------*/

static void add_times(struct buf *out, const char *s, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(buf_add_str(out, s), 0);
}

/* The document, closed by as many of a bracket as opened it, is refused with this text. */
static void refused(const char *begin, const char *more, unsigned n, const char *end,
                    const char *text)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf yaml = BUF_INIT(LIMIT_CONFIG_DOCUMENT);

        add_times(&yaml, begin, 1);
        add_times(&yaml, more, n);
        add_times(&yaml, end, 1);
        assert_int_equal(config_run(&run, buf_str(&yaml), NULL, NULL), -EBADMSG);
        assert_non_null(strstr(run.problems.item[0].text, text));
}

static void bombs_end_at_limits(void **state)
{
        static const char laughs[] =
                HEAD "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n"
                     "c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;

        (void)state;
        refused(HEAD "install: ", "[", 100000, "", "more than 32 levels");
        refused(HEAD "users: ", "[", 100000, "", "more than 32 levels");
        refused(HEAD "install: ", "{a: ", 33, "", "more than 32 levels");
        refused(HEAD "users: [", "x,", 65536, "]\n", "more than 65536 values");
        refused(HEAD "install: {bind_mounts: [", "x,", 65536, "]}\n", "more than 65536 values");
        refused(HEAD "install: {bind_mounts: [", "/a,", 65, "]}\n",
                "install.bind_mounts: 65 items, at most 64 are accepted");
        refused(HEAD "install: {extra-partitions: [", "{name: a, size: 1},", 17, "]}\n",
                "install.extra-partitions: 17 items, at most 16 are accepted");
        refused(HEAD "install: {device: /dev/", "a", 4096, "}\n", "a text of more than 4 KiB");
        refused(HEAD "install: {device: /dev/", "a", 1020, "}\n",
                "install.device: a text of 1025 bytes, at most 1024 fit");
        /* Nobody counts what the laughs would come to: they are not ours. */
        assert_int_equal(config_run(&run, laughs, NULL, NULL), 0);
}

static void keys_of_a_map_are_counted(void **state)
{
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        _cleanup_(buf_done) struct buf yaml = BUF_INIT(65536);

        (void)state;
        assert_int_equal(buf_add_str(&yaml, HEAD), 0);
        for (unsigned i = 0; i < 1025; i++)
                assert_int_equal(buf_printf(&yaml, "key%u: x\n", i), 0);
        assert_int_equal(config_run(&run, buf_str(&yaml), NULL, NULL), -EBADMSG);
        assert_string_equal(run.problems.item[0].text, "more than 1024 keys in one map");
        assert_int_equal(run.problems.item[0].line, 1026);
}

static void zero_bytes_are_no_text(void **state)
{
        static const char text[] = HEAD "hostname: a\0b\n";
        _cleanup_(config_run_done) struct config_run run = CONFIG_RUN_INIT;
        const char *texts[] = {text};
        const size_t sizes[] = {sizeof(text) - 1};

        (void)state;
        assert_int_equal(config_run_bytes(&run, texts, sizes, 1), -EBADMSG);
        assert_string_equal(run.problems.item[0].text, "control character U+0000");
        assert_int_equal(run.problems.item[0].column, 12);
}

/* --- words that look alike ---------------------------------------------------------------------*/

static void the_nearest_word_is_found(void **state)
{
        static const char *const words[] = {"device",    "source", "reboot", "bind_mounts",
                                            "no-format", "size",   NULL};
        static const char *const cases[][2] = {
                {"device", "device"},
                {"devcie", "device"},
                {"devices", "device"},
                {"DEVICE", "device"},
                {"no_format", "no-format"},
                {"noformat", "no-format"},
                {"sorce", "source"},
                {"bindmount", "bind_mounts"},
                {"sie", "size"},
                {"disk", NULL},
                {"x", NULL},
                {"", NULL},
                {"completely-different", NULL},
                {"a-word-that-is-longer-than-any-key-of-the-table-can-be", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                const char *near = config_nearest(cases[i][0], words);

                if (!cases[i][1])
                        assert_null(near);
                else
                        assert_string_equal(near ?: "nothing", cases[i][1]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_mistake_gets_its_words),
                cmocka_unit_test(the_error_is_the_first_problem),
                cmocka_unit_test(twenty_of_a_file_are_kept),
                cmocka_unit_test(words_of_the_file_are_made_safe),
                cmocka_unit_test(bombs_end_at_limits),
                cmocka_unit_test(keys_of_a_map_are_counted),
                cmocka_unit_test(zero_bytes_are_no_text),
                cmocka_unit_test(the_nearest_word_is_found),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
