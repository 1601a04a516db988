/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/status_boot.h"

#include <inttypes.h>
#include <stdio.h>

#include "agent/boot_report.h"
#include "agent/report.h"
#include "agent/status_node.h"
#include "base/num.h"

int status_boot_add(const struct env *env, struct json_object *document, struct error *e)
{
        struct json_object *report;
        int r = boot_report_read(env, &report, e);

        if (r < 0)
                return r;
        /* Of the document around it. */
        json_object_object_del(report, "schema");
        json_object_object_del(report, "verb");
        return json_add_obj(document, "boot", report) < 0 ? error_oom(e) : 0;
}

static void print_ms(const char *what, struct json_object *o, const char *key)
{
        uint64_t ms;

        if (json_get_u64(o, key, &ms) == 0)
                report_text(stdout, "  %-16s %6" PRIu64 " ms\n", what, ms);
}

static void print_steps(struct json_object *boot)
{
        struct json_object *steps;

        print_ms("kernel before it", boot, "started_ms");
        if (json_get_array(boot, "steps", &steps) == 0) {
                for (size_t i = 0; i < json_object_array_length(steps); i++) {
                        struct json_object *step = json_object_array_get_idx(steps, i);

                        print_ms(status_text(step, "name"), step, "ms");
                }
        }
        print_ms("together", boot, "total_ms");
        print_ms("of it TPM", boot, "tpm_ms");
        print_ms("of it disk", boot, "disk_ms");
        print_ms("of it our own", boot, "own_ms");
}

/* How much of the unlocking was the TPM, and how much the encryption. */
static void print_partitions(struct json_object *boot)
{
        struct json_object *list;
        uint64_t tpm, activate;

        if (json_get_array(boot, "partitions", &list) < 0)
                return;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
                struct json_object *p = json_object_array_get_idx(list, i);

                if (json_get_u64(p, "tpm_ms", &tpm) == 0 &&
                    json_get_u64(p, "activate_ms", &activate) == 0)
                        report_text(stdout,
                                    "unlock %-10s TPM %" PRIu64 " ms, encryption %" PRIu64 " ms\n",
                                    status_text(p, "name"), tpm, activate);
        }
}

static void print_grown(struct json_object *boot, const char *key, const char *what)
{
        uint64_t size;
        char text[32];

        if (json_get_u64(boot, key, &size) == 0)
                report_text(stdout, "%s grew to %s\n", what, format_size(size, text, sizeof(text)));
}

static void print_words(struct json_object *o, const char *key, const char *before)
{
        struct json_object *list;

        if (json_get_array(o, key, &list) < 0 || json_object_array_length(list) == 0)
                return;
        report_text(stdout, "%s", before);
        for (size_t i = 0; i < json_object_array_length(list); i++)
                report_text(stdout, " %s",
                            json_object_get_string(json_object_array_get_idx(list, i)));
}

/* "user data     systemd: users runcmd, of /oem/90_custom.yaml" */
static void print_user_data(struct json_object *boot)
{
        struct json_object *o;

        if (json_get_obj(boot, "user_data", &o) < 0)
                return;
        report_text(stdout, "user data     %s", status_text(o, "engine"));
        print_words(o, "given", ":");
        print_words(o, "files", ", of");
        report_text(stdout, "\n");
}

static void print_problems(struct json_object *boot)
{
        struct json_object *problems;

        if (json_get_array(boot, "problems", &problems) < 0 ||
            json_object_array_length(problems) == 0)
                return;
        report_text(stdout, "problems\n");
        for (size_t i = 0; i < json_object_array_length(problems); i++)
                report_text(stdout, "  %s\n",
                            json_object_get_string(json_object_array_get_idx(problems, i)));
}

void status_boot_print(struct json_object *document)
{
        struct json_object *boot;
        uint64_t count;

        if (json_get_obj(document, "boot", &boot) < 0)
                return;
        report_text(stdout, "boot stage    %s, entry %s, disk %s\n", status_text(boot, "role"),
                    status_text(boot, "entry"), status_text(boot, "disk"));
        print_steps(boot);
        print_partitions(boot);
        if (json_get_u64(boot, "tpm_commands", &count) == 0)
                report_text(stdout, "TPM commands  %" PRIu64 "\n", count);
        if (json_get_u64(boot, "folders_filled", &count) == 0 && count > 0)
                report_text(stdout,
                            "folders filled from the image for the first time: %" PRIu64 "\n",
                            count);
        print_grown(boot, "grown_partition", "persistent partition");
        print_grown(boot, "grown_file_system", "its file system");
        print_user_data(boot);
        print_problems(boot);
}
