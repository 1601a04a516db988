/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: files with a byte 0xff, which no UTF-8 has, between them. */
#include "agent/config.h"
#include "agent/config_show.h"
#include "agent/config_table.h"
#include "agent/pcr_choice.h"
#include "agent/config_yaml.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

#define FILES 4u

static struct config_document *split(const uint8_t *data, size_t size, size_t *ret_n)
{
        struct config_document *list = calloc(FILES, sizeof(*list));
        size_t n = 0;

        FUZZ_CHECK(list);
        for (;;) {
                const uint8_t *end = n + 1 < FILES && size > 0 ? memchr(data, 0xff, size) : NULL;
                size_t length = end ? (size_t)(end - data) : size;

                list[n].text = (struct buf)BUF_INIT(LIMIT_CONFIG_DOCUMENT + 1);
                list[n].name = strdup("file");
                FUZZ_CHECK(list[n].name && length <= LIMIT_CONFIG_DOCUMENT);
                FUZZ_CHECK(buf_add(&list[n].text, data, length) == 0);
                n++;
                if (!end)
                        break;
                data = end + 1;
                size -= length + 1;
        }
        *ret_n = n;
        return list;
}

/* Every problem has a place in its file, and words that a terminal can be given. */
static void check_problems(const struct config_problems *p)
{
        FUZZ_CHECK(p->errors + p->warnings == p->n && !p->no_memory);
        for (size_t i = 0; i < p->n; i++) {
                const struct config_problem *q = &p->item[i];

                FUZZ_CHECK(strcmp(q->file, "file") == 0 && q->line > 0 && q->column > 0);
                FUZZ_CHECK(*q->text);
                for (const char *s = q->text; *s; s++)
                        FUZZ_CHECK((unsigned char)*s >= 0x20 && *s != 0x7f);
        }
}

static void check_list(const struct config_list *l)
{
        FUZZ_CHECK(l->n <= LIMIT_CONFIG_LIST);
        for (unsigned i = 0; i < l->n; i++)
                FUZZ_CHECK(l->item[i][0] && strlen(l->item[i]) <= LIMIT_CONFIG_TEXT);
}

static void check_size(uint64_t size)
{
        FUZZ_CHECK(size == 0 || (size >= 1 * MIB && size <= LIMIT_CONFIG_SIZE));
}

/* What is promised in agent/config.h. */
static void check_values(const struct config *c)
{
        const struct config_install *in = &c->install;
        const struct config_list *paths[] = {&in->bind_mounts, &in->ephemeral_mounts,
                                             &in->hooks.before, &in->hooks.after,
                                             &c->reset.hooks.after};

        FUZZ_CHECK(!in->device || in->device[0] != '/' || strncmp(in->device, "/dev/", 5) == 0);
        FUZZ_CHECK(!in->device || !strstr(in->device, "://"));
        FUZZ_CHECK(!(in->reboot && in->poweroff) && !(c->reset.reboot && c->reset.poweroff));
        FUZZ_CHECK((c->bind_pcrs & ~PCR_CHOICE_LITERAL) == 0 && (c->bind_pcrs & 1u << 7));
        FUZZ_CHECK(c->bind_public_pcrs == 1u << 11);
        for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                check_list(paths[i]);
                for (unsigned k = 0; k < paths[i]->n; k++)
                        FUZZ_CHECK(paths[i]->item[k][0] == '/' &&
                                   !strstr(paths[i]->item[k], "/../"));
        }
        check_list(&in->encrypted_partitions);
        check_size(in->efi_size);
        check_size(in->oem_size);
        check_size(in->persistent_size);
        FUZZ_CHECK(in->extra.n <= LIMIT_CONFIG_EXTRA_PARTITIONS);
        for (unsigned i = 0; i < in->extra.n; i++) {
                const struct config_partition *x = &in->extra.item[i];

                FUZZ_CHECK(strlen(x->name) <= LIMIT_CONFIG_PARTITION_NAME);
                FUZZ_CHECK(!x->label || strlen(x->label) <= LIMIT_CONFIG_LABEL);
                check_size(x->size);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config_problems problems = CONFIG_PROBLEMS_INIT;
        struct config *c = NULL;
        struct error e = ERROR_INIT;
        struct config_document *list;
        size_t n;
        int r;

        if (size > LIMIT_CONFIG_DOCUMENT)
                return 0;
        list = split(data, size, &n);
        r = config_make(list, n, &problems, &c, &e);
        fuzz_check_error(r, &e);
        check_problems(&problems);
        FUZZ_CHECK((r == 0) == (c != NULL) && (r == 0) == (problems.errors == 0));
        if (c) {
                struct json_object *shown = config_show_json(c);

                FUZZ_CHECK(shown && json_object_to_json_string(shown));
                (void)json_object_put(shown);
                check_values(c);
        }
        config_free(c);
        config_problems_done(&problems);
        return 0;
}
