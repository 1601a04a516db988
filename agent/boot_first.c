/* SPDX-License-Identifier: Apache-2.0 */
/* The first boot of a machine from a disk image: agent/boot.h tells when, this is how. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/boot.h"
#include "agent/install_oem.h"
#include "agent/machine.h"
#include "agent/moment.h"
#include "agent/pcr_choice.h"
#include "agent/preflight.h"
#include "agent/volume.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "partition/blank.h"
#include "partition/floor.h"
#include "partition/grow.h"
#include "partition/luks.h"
#include "partition/mkfs.h"
#include "partition/mount.h"
#include "partition/tpm_mark.h"

#define RECORD_FOLDER "tb-agent"
#define RECORD_FILE RECORD_FOLDER "/first-boot.json"
#define STATE_BEGUN "begun"
#define STATE_DONE "done"
/* Not the names of the volumes: it must not be mistaken for one of them. */
#define MAPPING "tb-first-boot"
#define MEASURED_WORD "tb-agent-first-boot:"
#define PARTITIONS 3u /* of an image: ESP, oem, persistent */

/* One partition that is being made. */
struct making {
        struct boot *boot;
        const struct layout_partition *partition;
        const char *label;
        char *device;
        struct blank blank;
        const struct blank *config; /* mark of what has the configuration; NULL: none goes there */
        const char *config_device;
        int header; /* file in memory */
        char header_path[64];
        struct volume_made made;
};

static void making_done(struct making *m)
{
        close_p(&m->header);
        volume_made_done(&m->made);
        free(m->device);
}

/* 1: blank; 0: something else, which is not looked at here. */
static int look(struct boot *b, const struct layout_partition *p, const char *label,
                struct making *ret, struct error *e)
{
        int r;

        *ret = (struct making){.boot = b, .partition = p, .label = label, .header = -EBADF};
        r = disk_partition_path(b->node->disk, p->number, &ret->device, e);
        return r < 0 ? r : blank_read(ret->device, p->name, &ret->blank, e);
}

/* --- may it be? --- */

static int refuse_known(struct error *e)
{
        error_set(e, ERROR_PRECONDITION, EEXIST,
                  "the disk waits for a first boot, but the TPM of this machine belongs to a node");
        error_advise(e, "somebody wiped the disk of this node. To make a new node of it, clear the "
                        "TPM in the firmware's setup: what was sealed by it is then lost for good");
        return -EEXIST;
}

static int check_unknown(struct boot *b, struct error *e)
{
        struct floor floor;
        int r = tpm_mark_look(b->tpm, e);

        if (r != 0)
                return r < 0 ? r : refuse_known(e);
        return floor_read(b->tpm, &floor, NULL) == -ENOENT ? 0 : refuse_known(e);
}

/* What an installation looks at before it writes. */
static int check_machine(struct boot *b, bool allow_software_tpm, struct error *e)
{
        struct preflight_facts facts = {.allow_software_tpm = allow_software_tpm};
        _cleanup_free_ struct preflight *p = calloc(1, sizeof(*p));

        if (!p)
                return error_oom(e);
        preflight_read(b->env, &facts);
        preflight_judge(&facts, p);
        return preflight_enforce(p, e);
}

static int check_layout(const struct boot *b, struct error *e)
{
        if (b->node->layout.n == PARTITIONS)
                return 0;
        return error_set(e, ERROR_PRECONDITION, EEXIST,
                         "%s: a disk that waits for its first boot has other partitions than a "
                         "disk image",
                         b->node->disk->path);
}

/* What the stub does with words from outside of an image. */
static int measure(struct boot *b, const struct blank *blank, struct error *e)
{
        char word[sizeof(MEASURED_WORD) + SHA256_HEX_SIZE] = MEASURED_WORD;

        b->first = true;
        hex_encode(blank->sha256, SHA256_SIZE, word + strlen(MEASURED_WORD));
        return tpm_measure(b->tpm, TPM_PCR_CONFIG, word, strlen(word), e);
}

/* --- making a volume --- */

static int load_policy_key(const struct boot *b, struct policy_key **ret, struct error *e)
{
        _cleanup_(buf_done) struct buf pem = BUF_INIT(LIMIT_PCRPKEY);
        _cleanup_free_ char *path = NULL;
        int r;

        /* systemd-stub unpacks the image's .pcrpkey here. */
        if (asprintf(&path, "%s/tpm2-pcr-public-key.pem", b->env->extra) < 0) {
                path = NULL;
                return error_oom(e);
        }
        r = file_read(AT_FDCWD, path, &pem);
        if (r < 0)
                return error_set(e, ERROR_PRECONDITION, -r, "the image brings no policy key (%s)",
                                 path);
        return policy_key_from_pem(pem.data, pem.len, ret, e);
}

/* As large as the partition, so that libcryptsetup finds room for the payload; only the header
 * takes memory. */
static int open_header(struct making *m, struct error *e)
{
        m->header = memfd_create("header", MFD_CLOEXEC);
        if (m->header < 0 || ftruncate(m->header, (off_t)m->partition->size) < 0)
                return error_errno(e, errno, "memory for a header");
        (void)snprintf(m->header_path, sizeof(m->header_path), "%s/self/fd/%d", m->boot->env->proc,
                       m->header);
        return 0;
}

static int enrol(struct making *m, struct error *e)
{
        _cleanup_(policy_key_free_p) struct policy_key *key = NULL;
        uint8_t pcr7[SHA256_SIZE];
        struct seal_policy policy = {
                .signed_pcrs = PCR_CHOICE_SIGNED,
                .literal_pcrs = PCR_CHOICE_NEEDED,
                .literal_values = pcr7,
        };
        const struct volume_wish wish = {
                .path = m->header_path,
                .label = m->label,
                .sector = volume_sector(m->boot->node->disk->sector_size),
                .allow_discards = m->blank.allow_discards,
                .policy = &policy,
        };
        int r = load_policy_key(m->boot, &key, e);

        if (r == 0)
                r = tpm_read_pcrs(m->boot->tpm, policy.literal_pcrs, pcr7, e);
        if (r < 0)
                return r;
        policy.key = key;
        return volume_make(m->boot->tpm, &wish, &m->made, e);
}

/* Not by arithmetic, as an installation has to: this is the boot that the TPM opens it in. */
static int prove(struct making *m, struct luks **ret, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        _cleanup_(secret_free_p) struct secret *passphrase = NULL;
        int r = luks_open(m->header_path, &luks, e);

        if (r == 0)
                r = luks_check_header(luks, m->label, e);
        if (r == 0)
                r = luks_get_token(luks, 0, &token, e);
        if (r == 0)
                r = boot_unseal(m->boot, token, &passphrase, e);
        if (r == 0)
                r = luks_test_secret(luks, token->keyslot, passphrase, e);
        if (r < 0)
                return error_wrap(e, r, "proving the enrolment");
        *ret = TAKE_PTR(luks);
        return 0;
}

/* What the OEM partition keeps of it. */
struct record {
        char state[8];
        uint64_t time;                /* when it began */
        char config[SHA256_HEX_SIZE]; /* digest of the configuration; "": none */
};

static int write_record(int dirfd, const struct record *record, struct error *e)
{
        _cleanup_json_ struct json_object *o = json_object_new_object();
        const char *text = NULL;
        int r;

        if (json_add_str(o, "state", record->state) == 0 &&
            json_add_u64(o, "time", record->time) == 0 &&
            json_add_str(o, "config_sha256", record->config) == 0)
                text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
        if (!text)
                return error_oom(e);
        r = file_make_dirs(dirfd, RECORD_FOLDER, 0700);
        if (r == 0)
                r = file_replace(dirfd, RECORD_FILE, text, strlen(text), 0600);
        return r < 0 ? error_errno(e, -r, "record of the first boot") : 0;
}

/* Negative when there is none that makes sense. */
static int load_record(int dirfd, struct record *ret)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_SMALL_FILE);
        _cleanup_json_ struct json_object *o = NULL;
        const char *state, *config;
        int r = file_read(dirfd, RECORD_FILE, &text);

        if (r == 0)
                r = json_read_text(text.data, text.len, LIMIT_SMALL_FILE, RECORD_FILE, &o, NULL);
        if (r == 0)
                r = json_get_str(o, "state", &state);
        if (r == 0)
                r = json_get_u64(o, "time", &ret->time);
        if (r == 0)
                r = json_get_str(o, "config_sha256", &config);
        if (r < 0)
                return r;
        (void)snprintf(ret->state, sizeof(ret->state), "%s", state);
        (void)snprintf(ret->config, sizeof(ret->config), "%s", config);
        return 0;
}

static int fill_oem(void *making, int dirfd, struct error *e)
{
        const struct making *m = making;
        _cleanup_(buf_done) struct buf config = BUF_INIT(LIMIT_BLANK_CONTENT);
        struct record record = {.state = STATE_BEGUN, .time = moment_now()};
        int r = 0;

        if (m->config->content_size > 0) {
                hex_encode(m->config->content_sha256, SHA256_SIZE, record.config);
                r = blank_read_content(m->config_device, m->config, &config, e);
                if (r == 0)
                        r = install_oem_unpack(config.data, config.len, dirfd, e);
        }
        return r < 0 ? r : write_record(dirfd, &record, e);
}

/* The file system of the mapping, mounted for one look or change. */
static int with_mounted(const struct boot *b, const char *mapping, bool writable,
                        int (*work)(void *making, int dirfd, struct error *), struct making *m,
                        struct error *e)
{
        _cleanup_free_ char *device = NULL, *target = NULL;

        if (asprintf(&device, "%s/mapper/%s", b->env->dev, mapping) < 0) {
                device = NULL;
                return error_oom(e);
        }
        if (asprintf(&target, "%s/tb-agent/first-boot", b->env->run) < 0) {
                target = NULL;
                return error_oom(e);
        }
        return mount_data_for(device, target, writable, work, m, e);
}

static int make_file_system(struct making *m, struct luks *luks, struct error *e)
{
        _cleanup_free_ char *mapped = NULL;
        int r, closed;

        if (asprintf(&mapped, "%s/mapper/" MAPPING, m->boot->env->dev) < 0) {
                mapped = NULL;
                return error_oom(e);
        }
        r = luks_set_data_device(luks, m->device, e);
        if (r == 0)
                r = luks_activate(luks, MAPPING, m->made.keyslot, m->made.passphrase, NULL, e);
        if (r < 0)
                return r;
        r = mkfs_ext4(mapped, m->label, e);
        if (r == 0 && m->config)
                r = with_mounted(m->boot, MAPPING, true, fill_oem, m, e);
        closed = luks_deactivate(MAPPING, r < 0 ? NULL : e);
        return r < 0 ? r : closed;
}

/* From blank to volume; up to the last step the partition stays blank. */
static int make(struct making *m, struct error *e)
{
        _cleanup_(luks_free_p) struct luks *luks = NULL;
        int r;

        log_info("first boot: making the encrypted volume \"%s\"", m->partition->name);
        r = open_header(m, e);
        if (r == 0)
                r = enrol(m, e);
        if (r == 0)
                r = prove(m, &luks, e);
        if (r < 0)
                return error_wrap(e, r, "first boot: %s", m->partition->name);
        blank_discard(m->device);
        r = make_file_system(m, luks, e);
        if (r == 0)
                r = blank_replace(m->device, m->header, e);
        if (r < 0)
                return error_wrap(e, r, "first boot: %s", m->partition->name);
        log_info("first boot: made the encrypted volume \"%s\"", m->partition->name);
        return 0;
}

/* --- the steps --- */

/* An image is copied to many machines: each gets names of its own. The ESP keeps its, because the
 * boot loader told it to this boot, and firmware entries name it. */
static int renew_table(struct boot *b, struct error *e)
{
        static const char *const names[] = {LAYOUT_OEM_NAME, LAYOUT_PERSISTENT_NAME};
        int r = disk_lock(b->node->disk, e);

        return r < 0 ? r : grow_renew(b->node->disk, names, ARRAY_SIZE(names), e);
}

static int begin(struct making *oem, const struct making *persistent, struct error *e)
{
        struct boot *b = oem->boot;
        int r = check_layout(b, e);

        if (r == 0)
                r = check_machine(b, oem->blank.allow_software_tpm, e);
        if (r == 0)
                r = check_unknown(b, e);
        if (r == 0)
                r = measure(b, &persistent->blank, e);
        if (r == 0)
                r = renew_table(b, e);
        if (r < 0)
                return r;
        oem->config = &persistent->blank;
        oem->config_device = persistent->device;
        return make(oem, e);
}

/* Each partition is looked at, so that a mark that makes no sense is told. */
int boot_first_begin(struct boot *b, struct error *e)
{
        _cleanup_(making_done) struct making oem = {.header = -EBADF},
                                             persistent = {.header = -EBADF};
        int r;

        if (b->entry.role == ENTRY_ROLE_RECOVERY)
                return 0;
        r = look(b, b->node->oem, LAYOUT_OEM_LABEL, &oem, e);
        if (r <= 0)
                return r;
        r = look(b, b->node->persistent, LAYOUT_PERSISTENT_LABEL, &persistent, e);
        if (r < 0)
                return r;
        if (r > 0)
                return begin(&oem, &persistent, e);
        error_set(e, ERROR_PRECONDITION, EEXIST,
                  "%s: \"oem\" waits for a first boot, but \"persistent\" is not blank: nothing is "
                  "changed",
                  b->node->disk->path);
        error_advise(e, "somebody wrote to this disk: reset the node from its recovery entry, or "
                        "install it again");
        return -EEXIST;
}

static int expect_begun(void *making, int dirfd, struct error *e)
{
        struct record record;

        (void)making;
        if (load_record(dirfd, &record) == 0 && strcmp(record.state, STATE_BEGUN) == 0)
                return 0;
        error_set(e, ERROR_PRECONDITION, EEXIST,
                  "\"persistent\" waits for a first boot, but this node had its own: nothing is "
                  "changed");
        error_advise(e, "somebody wrote to this disk: reset the node from its recovery entry, or "
                        "install it again");
        return -EEXIST;
}

int boot_first_finish(struct boot *b, struct error *e)
{
        _cleanup_(making_done) struct making m = {.header = -EBADF};
        int r;

        if (b->entry.role == ENTRY_ROLE_RECOVERY)
                return 0;
        r = look(b, b->node->persistent, LAYOUT_PERSISTENT_LABEL, &m, e);
        if (r <= 0)
                return r;
        /* Fails when oem could not be opened: then nothing is known. */
        r = with_mounted(b, DATA_DM_OEM, false, expect_begun, &m, e);
        if (r == 0 && !b->first)
                r = measure(b, &m.blank, e);
        if (r == 0)
                r = tpm_mark_set(b->tpm, e);
        return r < 0 ? r : make(&m, e);
}

void boot_first_remember(struct boot *b)
{
        struct error error = ERROR_INIT;

        if (tpm_mark_set(b->tpm, &error) == 0)
                return;
        log_warning("%s", error.text);
        boot_report_problem(b->report, error.text);
}

void boot_first_forget(struct boot *b)
{
        _cleanup_close_ int fd = file_open_dir(AT_FDCWD, b->env->oem);
        struct error error = ERROR_INIT;
        struct record record;

        if (fd < 0 || load_record(fd, &record) < 0 || strcmp(record.state, STATE_BEGUN) != 0)
                return;
        boot_report_set_bool(b->report, "first_boot", true);
        (void)snprintf(record.state, sizeof(record.state), STATE_DONE);
        if (write_record(fd, &record, &error) == 0)
                return;
        log_warning("%s", error.text);
        boot_report_problem(b->report, error.text);
}

int boot_first_add_status(const struct env *env, struct json_object *root)
{
        _cleanup_close_ int fd = machine_open_state(env);
        struct json_object *o;
        struct record record;
        int r;

        if (fd < 0 || load_record(fd, &record) < 0)
                return json_add_null(root, "first_boot");
        o = json_object_new_object();
        r = json_add_obj(root, "first_boot", o);
        if (r == 0)
                r = json_add_str(o, "state", record.state);
        if (r == 0)
                r = json_add_u64(o, "time", record.time);
        return r < 0 ? r : json_add_str(o, "config_sha256", *record.config ? record.config : NULL);
}
