/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/firmware_entry.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/node.h"
#include "base/file.h"
#include "base/log.h"
#include "efivars/loader.h"
#include "upgrade/bootloader.h"
#include "upgrade/osrelease.h"

#define DEFAULT_NAME "tb-agent"
/* Of the read-only root, not of the ephemeral /etc. */
#define OS_RELEASE "/usr/lib/os-release"

void firmware_entry_remember(const struct layout *old, struct firmware_gone *ret)
{
        for (size_t i = 0; i < old->n && ret->n < ARRAY_SIZE(ret->uuid); i++) {
                if (strcasecmp(old->partitions[i].type, LAYOUT_TYPE_ESP) == 0)
                        (void)snprintf(ret->uuid[ret->n++], LOADOPT_UUID_SIZE, "%s",
                                       old->partitions[i].uuid);
        }
}

static void failed(struct firmware_entry *f, const struct error *error)
{
        f->outcome = FIRMWARE_ENTRY_FAILED;
        (void)snprintf(f->reason, sizeof(f->reason), "%.255s%s%.250s", error->text,
                       *error->advice ? "; " : "", error->advice);
        log_warning("firmware boot entry: %s", f->reason);
}

static int settle(const struct env *env, const struct bootorder_entry *entry,
                  enum bootorder_wish wish, const struct firmware_gone *gone,
                  struct firmware_entry *f, struct error *e)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        _cleanup_(bootorder_plan_done) struct bootorder_plan plan = {.n_order = 0};
        int r = bootorder_read(env, &b, e);

        if (r == 0)
                r = bootorder_plan(&b, entry, wish, gone ? gone->uuid : NULL, gone ? gone->n : 0,
                                   &plan, e);
        if (r == 0)
                r = bootorder_apply(env, &plan, e);
        if (r < 0)
                return r;
        loadopt_name_format(plan.number, f->name);
        f->outcome = plan.write_entry || plan.write_order || plan.n_removed > 0
                             ? FIRMWARE_ENTRY_WRITTEN
                             : FIRMWARE_ENTRY_PRESENT;
        return 0;
}

static int make_entry(const struct layout_partition *esp, uint64_t sector_size, const char *product,
                      struct bootorder_entry *ret, struct error *e)
{
        if (sector_size == 0 || esp->start % sector_size != 0 || esp->size % sector_size != 0)
                return error_set(e, ERROR_INTERNAL, EINVAL, "ESP that is not made of sectors");
        *ret = (struct bootorder_entry){
                .disk = {.number = esp->number,
                         .start = esp->start / sector_size,
                         .size = esp->size / sector_size},
                .path = BOOTLOADER_PATH,
                .description = product && *product ? product : DEFAULT_NAME,
        };
        (void)snprintf(ret->disk.uuid, sizeof(ret->disk.uuid), "%s", esp->uuid);
        return 0;
}

void firmware_entry_install(const struct env *env, const struct layout_partition *esp,
                            uint64_t sector_size, const char *product,
                            const struct firmware_gone *gone, struct firmware_entry *ret)
{
        struct firmware_entry f = {.outcome = FIRMWARE_ENTRY_NOT_TRIED};
        struct error error = ERROR_INIT;
        struct bootorder_entry entry;
        int r = make_entry(esp, sector_size, product, &entry, &error);

        if (r == 0)
                r = settle(env, &entry, BOOTORDER_MAKE_FIRST, gone, &f, &error);
        if (r < 0)
                failed(&f, &error);
        *ret = f;
}

/* --- on a node ------------------------------------------------------------------------------- */

/* Where the entry of the ESP is that this system was started from. */
static int look(const struct env *env, enum bootorder_state *ret, uint16_t *ret_number,
                struct error *e)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0};
        char uuid[LOADER_UUID_SIZE];
        int r = loader_device_part_uuid(env, uuid);

        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r,
                                 "the boot loader did not tell which ESP it was started from");
        r = bootorder_read(env, &b, e);
        if (r == 0)
                *ret = bootorder_find(&b, uuid, BOOTLOADER_PATH, ret_number);
        return r;
}

/* Name of the running image; the caller frees it. NULL: it has none. */
static char *running_product(void)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_OS_RELEASE);
        _cleanup_(osrelease_free_p) struct osrelease *release = NULL;
        const char *id;

        if (file_read(AT_FDCWD, OS_RELEASE, &text) < 0 ||
            osrelease_parse(text.data, text.len, &release, NULL) < 0)
                return NULL;
        id = osrelease_get(release, "IMAGE_ID");
        return id ? strdup(id) : NULL;
}

static int repair(const struct env *env, struct firmware_entry *f, struct error *e)
{
        _cleanup_free_ char *product = NULL;
        _cleanup_(node_free_p) struct node *node = NULL;
        struct bootorder_entry entry;
        enum bootorder_state state;
        uint16_t number = 0;
        int r = look(env, &state, &number, e);

        if (r < 0)
                return r;
        if (state == BOOTORDER_FIRST || state == BOOTORDER_NOT_FIRST) {
                f->outcome = FIRMWARE_ENTRY_PRESENT;
                loadopt_name_format(number, f->name);
                return 0;
        }
        product = running_product();
        r = node_find_booted(env, &node, e);
        if (r == 0)
                r = make_entry(node->esp, node->disk->sector_size, product, &entry, e);
        return r < 0 ? r : settle(env, &entry, BOOTORDER_REPAIR, NULL, f, e);
}

void firmware_entry_repair(const struct env *env, struct firmware_entry *ret)
{
        struct firmware_entry f = {.outcome = FIRMWARE_ENTRY_NOT_TRIED};
        struct error error = ERROR_INIT;

        if (repair(env, &f, &error) < 0)
                failed(&f, &error);
        else if (f.outcome == FIRMWARE_ENTRY_WRITTEN)
                log_info("the firmware had lost its boot entry: made again as %s", f.name);
        *ret = f;
}

/* --- telling --------------------------------------------------------------------------------- */

static int add(struct json_object *root, const char *state, const char *name, const char *reason)
{
        struct json_object *o = json_object_new_object();
        int r = json_add_obj(root, "firmware_entry", o);

        if (r == 0)
                r = json_add_str(o, "state", state);
        if (r == 0)
                r = json_add_str(o, "entry", *name ? name : NULL);
        return r < 0 ? r : json_add_str(o, "reason", *reason ? reason : NULL);
}

int firmware_entry_json(struct json_object *root, const struct firmware_entry *f)
{
        switch (f->outcome) {
        case FIRMWARE_ENTRY_WRITTEN:
                return add(root, "written", f->name, "");
        case FIRMWARE_ENTRY_PRESENT:
                return add(root, "present", f->name, "");
        case FIRMWARE_ENTRY_FAILED:
                return add(root, "failed", f->name, f->reason);
        case FIRMWARE_ENTRY_NOT_TRIED:
        default:
                return json_add_null(root, "firmware_entry");
        }
}

int firmware_entry_status(const struct env *env, struct json_object *root)
{
        static const char *const states[] = {
                [BOOTORDER_MISSING] = "missing",
                [BOOTORDER_UNLISTED] = "not-listed",
                [BOOTORDER_NOT_FIRST] = "not-first",
                [BOOTORDER_FIRST] = "present",
        };
        char name[LOADOPT_NAME_SIZE] = "";
        enum bootorder_state state;
        struct error error = ERROR_INIT;
        uint16_t number;

        if (look(env, &state, &number, &error) < 0)
                return add(root, "unknown", "", error.text);
        if (state != BOOTORDER_MISSING)
                loadopt_name_format(number, name);
        return add(root, states[state], name, "");
}
