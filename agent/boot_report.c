/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_report.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/report.h"
#include "base/file.h"
#include "base/limits.h"

struct boot_report {
        struct json_object *root;
        struct json_object *steps, *partitions, *problems; /* inside root */
        uint64_t started_ms, last_ms;
        uint64_t cost_ms[BOOT_COST_MAX];
};

uint64_t boot_report_now(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_BOOTTIME, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct json_object *add_array(struct json_object *root, const char *key)
{
        struct json_object *array = json_object_new_array();

        return json_add_obj(root, key, array) < 0 ? NULL : array;
}

struct boot_report *boot_report_new(void)
{
        _cleanup_(boot_report_free_p) struct boot_report *b = calloc(1, sizeof(*b));

        if (!b)
                return NULL;
        b->started_ms = b->last_ms = boot_report_now();
        b->root = report_new("boot");
        b->steps = add_array(b->root, "steps");
        b->partitions = add_array(b->root, "partitions");
        b->problems = add_array(b->root, "problems");
        if (!b->steps || !b->partitions || !b->problems)
                return NULL;
        boot_report_set_u64(b, "started_ms", b->started_ms);
        return TAKE_PTR(b);
}

void boot_report_free(struct boot_report *b)
{
        if (!b)
                return;
        (void)json_object_put(b->root);
        free(b);
}

/* A field that does not fit into memory is left out; see the header. */
static void ignore(int r)
{
        (void)r;
}

void boot_report_cost(struct boot_report *b, enum boot_cost cost, uint64_t ms)
{
        b->cost_ms[cost] += ms;
}

void boot_report_step(struct boot_report *b, const char *name)
{
        struct json_object *o = json_object_new_object();
        uint64_t now = boot_report_now();

        ignore(json_add_str(o, "name", name));
        ignore(json_add_u64(o, "ms", now - b->last_ms));
        ignore(json_append(b->steps, o));
        b->last_ms = now;
}

void boot_report_set(struct boot_report *b, const char *key, const char *value)
{
        ignore(json_add_str(b->root, key, value));
}

void boot_report_set_u64(struct boot_report *b, const char *key, uint64_t value)
{
        ignore(json_add_u64(b->root, key, value));
}

void boot_report_set_bool(struct boot_report *b, const char *key, bool value)
{
        ignore(json_add_bool(b->root, key, value));
}

void boot_report_set_json(struct boot_report *b, const char *key, struct json_object *value)
{
        ignore(json_add_obj(b->root, key, value));
}

static struct json_object *record(const struct boot_report_volume *v)
{
        struct json_object *o = json_object_new_object();

        ignore(json_add_str(o, "name", v->name));
        ignore(json_add_str(o, "device", v->device));
        ignore(json_add_bool(o, "encrypted", v->encrypted));
        ignore(json_add_str(o, "uuid", v->uuid));
        ignore(json_add_str(o, "unlocked_by", v->unlocked_by));
        ignore(json_add_str(o, "unlocked_with", v->unlocked_with));
        ignore(json_add_u64(o, "tpm_ms", v->tpm_ms));
        ignore(json_add_u64(o, "activate_ms", v->activate_ms));
        ignore(json_add_str(o, "error", v->error));
        return o;
}

void boot_report_partition(struct boot_report *b, const struct boot_report_volume *v)
{
        for (size_t i = 0; i < json_object_array_length(b->partitions); i++) {
                struct json_object *old = json_object_array_get_idx(b->partitions, i);
                const char *name;

                if (json_get_str(old, "name", &name) == 0 && strcmp(name, v->name) == 0) {
                        ignore(json_object_array_put_idx(b->partitions, i, record(v)));
                        return;
                }
        }
        ignore(json_append(b->partitions, record(v)));
}

void boot_report_problem(struct boot_report *b, const char *text)
{
        ignore(json_append(b->problems, json_new_str(text)));
}

static void add_times(struct boot_report *b)
{
        uint64_t total = boot_report_now() - b->started_ms, waited = 0;

        for (size_t i = 0; i < BOOT_COST_MAX; i++)
                waited += b->cost_ms[i];
        boot_report_set_u64(b, "total_ms", total);
        boot_report_set_u64(b, "tpm_ms", b->cost_ms[BOOT_COST_TPM]);
        boot_report_set_u64(b, "disk_ms", b->cost_ms[BOOT_COST_DISK]);
        boot_report_set_u64(b, "own_ms", total > waited ? total - waited : 0);
}

static char *report_path(const struct env *env, const char *name)
{
        char *path;

        return asprintf(&path, "%s/tb-agent%s", env->run, name) < 0 ? NULL : path;
}

int boot_report_write(struct boot_report *b, const struct env *env, struct error *e)
{
        _cleanup_free_ char *dir = report_path(env, ""), *path = report_path(env, "/boot.json");
        const char *text;
        int r;

        add_times(b);
        text = json_object_to_json_string_ext(b->root, JSON_C_TO_STRING_PRETTY);
        if (!dir || !path || !text)
                return error_oom(e);
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r == 0)
                r = file_write_volatile(AT_FDCWD, path, text, strlen(text), 0644);
        return r < 0 ? error_errno(e, -r, "%s", path) : 0;
}

int boot_report_read(const struct env *env, struct json_object **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf b = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_free_ char *path = report_path(env, "/boot.json");
        int r;

        if (!path)
                return error_oom(e);
        r = file_read(AT_FDCWD, path, &b);
        if (r == -ENOENT) {
                r = error_set(e, ERROR_PRECONDITION, ENOENT,
                              "%s: not there: this system was not started by \"tb-agent boot\"",
                              path);
                error_advise(e, "run this on a node; in a container, with the node's root mounted, "
                                "give --root");
                return r;
        }
        if (r < 0)
                return error_errno(e, -r, "%s", path);
        return json_read_text(b.data, b.len, LIMIT_SMALL_FILE, path, ret, e);
}
