/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reset_node.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/data.h"
#include "agent/install_escrow.h"
#include "base/file.h"
#include "base/log.h"
#include "partition/mkfs.h"
#include "partition/mount.h"
#include "partition/tpm_note.h"

/* Not a name of the boot stage. One volume is open at a time. */
#define MAPPING "tb-reset"
#define CERTIFICATE_FOLDER ".tb-agent"
#define CERTIFICATE_FILE CERTIFICATE_FOLDER "/reset.json"

static int find(void *arg, const struct reset_volume *v, char **ret, struct error *e)
{
        const struct reset_node *n = arg;

        for (size_t i = 0; i < n->node->layout.n; i++) {
                const struct layout_partition *p = &n->node->layout.partitions[i];

                if (strcmp(p->name, v->name) == 0 && strcasecmp(p->uuid, v->partition) == 0)
                        return disk_partition_path(n->node->disk, p->number, ret, e);
        }
        return error_set(e, ERROR_PRECONDITION, ESTALE, "%s has no partition \"%s\" with UUID %s",
                         n->node->disk->path, v->name, v->partition);
}

static bool has_key_of(const struct luks *luks, const struct verified_image *image)
{
        const uint8_t *wanted = policy_key_fingerprint(image_policy_key(image));

        for (int id = 0; id < LIMIT_LUKS_TOKENS; id++) {
                _cleanup_(token_free_p) struct token *token = NULL;

                if (luks_get_token(luks, id, &token, NULL) == 0 && token->key &&
                    memcmp(policy_key_fingerprint(token->key), wanted, SHA256_SIZE) == 0)
                        return true;
        }
        return false;
}

int reset_node_check_key(const struct luks *luks, const struct verified_image *image,
                         struct error *e)
{
        return has_key_of(luks, image) ? 0
                                       : error_set(e, ERROR_PRECONDITION, ENOKEY,
                                                   "it is not sealed for recovery's image");
}

static int kept(void *arg, const struct verified_image *image, struct error *e)
{
        const struct reset_node *n = arg;
        struct data_list list;

        data_list(n->node, &list);
        for (size_t i = 0; i < list.n; i++) {
                const struct data_volume *v = &list.item[i];
                _cleanup_(luks_free_p) struct luks *luks = NULL;
                _cleanup_free_ char *device = NULL;
                int r;

                if (!v->label || reset_journal_names(n->journal, v->partition->name))
                        continue;
                r = data_open_header(n->node, v, &device, &luks, e);
                if (r == 0)
                        r = reset_node_check_key(luks, image, e);
                if (r < 0)
                        return error_wrap(e, r,
                                          "%s cannot be kept, because the node would not start",
                                          v->partition->name);
        }
        return 0;
}

static int write_certificate(int dirfd, struct json_object *certificate, struct error *e)
{
        const char *text = json_object_to_json_string_ext(
                certificate, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
        int r;

        if (!text)
                return error_oom(e);
        r = file_make_dirs(dirfd, CERTIFICATE_FOLDER, 0700);
        if (r == 0)
                r = file_replace(dirfd, CERTIFICATE_FILE, text, strlen(text), 0600);
        return r < 0 ? error_errno(e, -r, "certificate of the reset") : 0;
}

struct content {
        const struct install_record *record; /* NULL: none */
        struct json_object *certificate;     /* NULL: none */
};

static int write_content(void *arg, int dirfd, struct error *e)
{
        const struct content *c = arg;
        int r = c->record ? install_record_write(c->record, dirfd, e) : 0;

        return r < 0 || !c->certificate ? r : write_certificate(dirfd, c->certificate, e);
}

static int put_files(const struct env *env, const char *mapped, struct content *c, struct error *e)
{
        _cleanup_free_ char *target = NULL;

        if (asprintf(&target, "%s/tb-agent/reset", env->run) < 0) {
                target = NULL;
                return error_oom(e);
        }
        return mount_data_for(mapped, target, true, write_content, c, e);
}

static int fill(void *arg, const struct reset_volume *v, const struct volume *made,
                const struct install_record *record, struct json_object *certificate,
                struct error *e)
{
        const struct reset_node *n = arg;
        _cleanup_free_ char *mapped = NULL;
        int r, closed;

        if (asprintf(&mapped, "%s/mapper/" MAPPING, n->env->dev) < 0) {
                mapped = NULL;
                return error_oom(e);
        }
        r = volume_activate(made, MAPPING, e);
        if (r < 0)
                return r;
        r = mkfs_ext4(mapped, v->label, e);
        if (r == 0 && (record || certificate))
                r = put_files(n->env, mapped, &(struct content){record, certificate}, e);
        /* The first failure is the one to report. */
        closed = luks_deactivate(MAPPING, r < 0 ? NULL : e);
        return r < 0 ? r : closed;
}

static int deliver(void *arg, struct error *e)
{
        const struct reset_node *n = arg;

        return n->escrow ? install_escrow_deliver(n->escrow, e) : 0;
}

static void tell(void *arg, const char *phase, const char *name, uint64_t done, uint64_t total)
{
        struct reset_node *n = arg;
        char text[sizeof(n->phase)];

        (void)snprintf(text, sizeof(text), "%s %s", phase, name);
        if (strcmp(text, n->phase) != 0 || (total != 0 && done == 0)) {
                memcpy(n->phase, text, sizeof(text));
                progress_phase(n->progress, text, total);
        }
        progress_update(n->progress, done, 0);
}

void reset_node_world(struct reset_node *n, struct reset_world *w)
{
        w->disk = n->node->disk;
        w->device_sector = n->node->disk->sector_size;
        w->recovery_key = n->escrow ? n->escrow->key : NULL;
        w->find = find;
        w->kept = kept;
        w->fill = fill;
        w->deliver = deliver;
        w->tell = tell;
        w->arg = n;
}

int reset_node_drop_stale(const struct env *env, struct error *e)
{
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/mapper/" MAPPING, env->dev) < 0) {
                path = NULL;
                return error_oom(e);
        }
        return file_exists(AT_FDCWD, path) ? luks_deactivate(MAPPING, e) : 0;
}

int reset_node_is_noted(const struct env *env, struct error *e)
{
        _cleanup_(tpm_free_p) struct tpm *tpm = NULL;
        uint8_t digest[SHA256_SIZE];
        int r = tpm_open(env->tcti, &tpm, e);

        return r < 0 ? r : tpm_note_read(tpm, digest, e);
}

int reset_node_drop_journal(const struct env *env, const struct esp *esp, struct error *e)
{
        int r = reset_node_is_noted(env, e);

        if (r != 0)
                return r < 0 ? r : 0;
        log_warning("%s is a journal that the TPM does not know of: it led to nothing and is "
                    "removed",
                    RESET_JOURNAL_FILE);
        return reset_journal_remove(esp, e);
}
