/* SPDX-License-Identifier: Apache-2.0 */
/* User data: one file, for both engines. */
#include "agent/userdata.h"
#include "agent/userdata_accounts.h"
#include "agent/userdata_cloudinit.h"
#include "agent/userdata_systemd.h"
#include "agent/userdata_yaml.h"
#include "base/limits.h"
#include "tests/fuzz/fuzz.h"

/* What was written reads as what it was: another write of it gives the same text. */
static void check_round_trip(const struct userdata *u)
{
        struct buf once = BUF_INIT(LIMIT_USERDATA), again = BUF_INIT(LIMIT_USERDATA);
        struct config_problems problems = CONFIG_PROBLEMS_INIT;
        struct config_node *tree = NULL;

        FUZZ_CHECK(userdata_yaml_write(u->tree, &once) == 0);
        FUZZ_CHECK(userdata_yaml_read(buf_str(&once), once.len, "again", &problems, &tree) == 0);
        /* Merge keys may double what is there already; everything else is taken. */
        FUZZ_CHECK(tree || strstr(buf_str(&once), "<<"));
        if (tree) {
                FUZZ_CHECK(userdata_yaml_write(tree, &again) == 0);
                FUZZ_CHECK(once.len == again.len && memcmp(once.data, again.data, once.len) == 0);
        }
        config_node_free(tree);
        config_problems_done(&problems);
        buf_done(&once);
        buf_done(&again);
}

/* Every file is where it may be, and a line of a file of lines is one of ours. */
static void check_files(const struct userdata_files *files)
{
        static const char first[] = "dfwgum#";

        for (size_t i = 0; i < files->n; i++) {
                const struct userdata_file *f = &files->item[i];
                const char *s = buf_str(&f->content);

                FUZZ_CHECK(userdata_path_ok(f->path));
                if (!strstr(f->path, ".conf") || !strstr(f->path, "/userdata/"))
                        continue;
                FUZZ_CHECK(f->mode == 0600);
                for (; *s; s = strchr(s, '\n') + 1)
                        FUZZ_CHECK(strchr(first, *s) && strchr(s, '\n'));
        }
}

static void run(const struct config_document *d, struct config_problems *problems)
{
        char root[] = "root";
        struct userdata_account account = {.name = root, .home = root, .in_image = true};
        const struct userdata_accounts accounts = {.item = &account, .n = 1};
        struct userdata_files files = {.item = NULL};
        struct error e = ERROR_INIT;
        struct userdata *u = NULL;

        FUZZ_CHECK(userdata_make(d, 1, problems, &u, &e) == 0);
        check_round_trip(u);
        fuzz_check_error(userdata_systemd(u, &accounts, problems, &files, &e), &e);
        error_clear(&e);
        fuzz_check_error(userdata_cloudinit(u, "id", &files, &e), &e);
        check_files(&files);
        userdata_files_done(&files);
        userdata_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config_problems problems = CONFIG_PROBLEMS_INIT;
        struct config_document d = {.text = BUF_INIT(LIMIT_CONFIG_DOCUMENT)};
        char name[] = "file";

        if (size > LIMIT_CONFIG_DOCUMENT / 16)
                return 0;
        d.name = name;
        FUZZ_CHECK(buf_add(&d.text, data, size) == 0);
        run(&d, &problems);
        config_problems_done(&problems);
        buf_done(&d.text);
        return 0;
}
