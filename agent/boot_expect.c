/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the user's partitions are what the installation made of them. Their names stand on the
 * disk without protection: what must be encrypted is known only when the OEM partition is open,
 * where the record of the installation is.
 */
#include "agent/boot.h"

#include <stdlib.h>
#include <string.h>

#include "agent/install_record.h"
#include "base/log.h"

/* Why one is locked, unlocking has told: its record of the partition stays. */
static void tell(struct boot *b, const char *name, const struct error *e, bool locked)
{
        log_error("%s", e->text);
        boot_report_problem(b->report, e->text);
        if (locked)
                return;
        boot_report_partition(b->report,
                              &(struct boot_report_volume){.name = name, .error = e->text});
}

/*
 * The system does not get to see what stands there: it could mount it, and write onto it what
 * should have been encrypted. In recovery a person is at work who may need it.
 */
static void withhold(struct boot *b, const char *name)
{
        const struct layout *l = &b->node->layout;

        for (size_t i = 0; i < l->n && b->entry.role != ENTRY_ROLE_RECOVERY; i++) {
                const struct layout_partition *p = &l->partitions[i];
                struct error error = ERROR_INIT;
                int r;

                if (strcmp(p->name, name) != 0)
                        continue;
                r = disk_take(b->node->disk, &error);
                if (r == 0)
                        r = disk_drop_kernel_partition(b->node->disk, p->number, &error);
                if (r < 0)
                        log_error("%s", error.text);
        }
}

/* What is locked, too: its header is no proof, and the kernel may well find another file system in
 * the room around it. */
static int check_open(const struct boot *b, const struct data_volume *v, const char *device,
                      struct error *e)
{
        if (b->entry.role == ENTRY_ROLE_RECOVERY || data_is_open(b->node, v))
                return 0;
        return error_set(e, ERROR_PRECONDITION, ENOKEY,
                         "%s: %s did not open, and is withheld from the system", v->mapping,
                         device);
}

/* 0, or why this is not the partition that was made here. */
static int check(const struct boot *b, const struct data_list *list, const char *name,
                 struct error *e)
{
        _cleanup_free_ char *device = NULL;
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        const struct data_volume *v = data_find(list, name);
        int r;

        if (!v)
                return error_set(e, ERROR_PRECONDITION, ENXIO, "%s: the partition is missing",
                                 name);
        r = data_open_header(b->node, v, &device, &luks, e);
        error_clear(e);
        if (r != -EMEDIUMTYPE)
                return check_open(b, v, device ?: "its partition", e);
        return error_set(e, ERROR_PRECONDITION, EMEDIUMTYPE,
                         "%s: %s was encrypted when this node was installed, and is not: it was "
                         "exchanged or overwritten",
                         name, device);
}

/* Without the record every one of them may be the exchanged one. */
static void withhold_unproven(struct boot *b, const struct data_list *list)
{
        for (size_t i = 0; i < list->n; i++) {
                const struct data_volume *v = &list->item[i];
                struct error error = ERROR_INIT;

                if (v->label || check(b, list, v->mapping, &error) == 0)
                        continue;
                withhold(b, v->mapping);
        }
}

void boot_expect(struct boot *b)
{
        _cleanup_free_ struct install_record *record = calloc(1, sizeof(*record));
        struct error error = ERROR_INIT;
        struct data_list list;
        int r = record ? install_record_read(b->env, record, &error) : error_oom(&error);

        data_list(b->node, &list);
        if (r < 0) {
                (void)error_wrap(&error, r, "what has to be encrypted is not known");
                log_error("%s", error.text);
                boot_report_problem(b->report, error.text);
                withhold_unproven(b, &list);
                return;
        }
        for (size_t i = 0; r > 0 && i < record->n_encrypted; i++) {
                int failed = check(b, &list, record->encrypted[i], &error);

                if (failed == 0)
                        continue;
                tell(b, record->encrypted[i], &error, failed == -ENOKEY);
                withhold(b, record->encrypted[i]);
        }
}
