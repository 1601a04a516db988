/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/boot_issue.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/console.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#define ISSUE_FOLDER "issue.d"
#define ISSUE_FILE ISSUE_FOLDER "/tb-agent.issue"

static const char *why_not(const struct entry_file *f)
{
        if (f->unreadable)
                return "cannot be read";
        if (!f->valid)
                return "names no image";
        if (!f->image_present)
                return "names an image that is not there";
        return f->name.counted && f->name.tries_left == 0 ? "has used up its tries" : NULL;
}

int boot_issue_entries(const struct entry_file *list, size_t n, struct buf *why)
{
        static const enum entry_role roles[] = {ENTRY_ROLE_ACTIVE, ENTRY_ROLE_PASSIVE};
        int r = 0;

        for (size_t k = 0; k < ARRAY_SIZE(roles); k++) {
                bool found = false;

                for (size_t i = 0; i < n && r == 0; i++) {
                        const struct entry_file *f = &list[i];
                        const char *reason = why_not(f);

                        if (f->name.role != roles[k])
                                continue;
                        found = true;
                        if (reason)
                                r = buf_printf(why, "%s (%s%s) %s\n", entry_role_name(roles[k]),
                                               *f->entry.version ? "version " : f->file,
                                               f->entry.version, reason);
                }
                if (!found && r == 0)
                        r = buf_printf(why, "there is no %s entry\n", entry_role_name(roles[k]));
        }
        return r;
}

int boot_issue_add(struct buf *out, const char *text, const char *prefix)
{
        int r = 0;

        for (bool begin = true; *text && r == 0; text++) {
                char c = *text;

                if (begin)
                        r = buf_add_str(out, prefix);
                begin = c == '\n';
                if (c != '\n' && (c < ' ' || c > '~' || c == '\\'))
                        c = '?';
                if (r == 0)
                        r = buf_add(out, &c, 1);
        }
        return r;
}

static int add_problems(struct buf *out, struct json_object *problems)
{
        int r = 0;

        for (size_t i = 0; problems && i < json_object_array_length(problems) && r == 0; i++) {
                const char *text = json_object_get_string(json_object_array_get_idx(problems, i));

                r = boot_issue_add(out, text ? text : "", "  - ");
                if (r == 0)
                        r = buf_add_str(out, "\n");
        }
        return r;
}

int boot_issue_text(const char *why, struct json_object *problems, bool unlocked, struct buf *ret)
{
        bool anything = *why || (problems && json_object_array_length(problems) > 0);
        int r = buf_printf(ret, "\nThis is the recovery system of this node. Its data is %s.\n%s",
                           unlocked ? "open" : "LOCKED", anything ? "What failed:\n" : "");

        if (r == 0)
                r = boot_issue_add(ret, why, "  - ");
        if (r == 0)
                r = add_problems(ret, problems);
        if (r == 0)
                r = buf_printf(ret,
                               "What can be done:\n"
                               "  tb-agent doctor                  what is wrong, and what to do\n"
                               "  tb-agent status                  how the node stands, in full\n"
                               "%s"
                               "  tb-agent bootentry once active   try active again\n"
                               "  tb-agent upgrade --source ...    give it another image\n"
                               "  tb-agent reset                   erase its data, make it like "
                               "new\n\n",
                               unlocked ? ""
                                        : "  tb-agent unlock                  open the data by "
                                          "the recovery key\n");
        return r;
}

static void write_issue(const struct env *env, const char *text)
{
        _cleanup_free_ char *dir = NULL, *path = NULL;
        int r;

        if (asprintf(&dir, "%s/" ISSUE_FOLDER, env->run) < 0) {
                dir = NULL;
                return;
        }
        if (asprintf(&path, "%s/" ISSUE_FILE, env->run) < 0) {
                path = NULL;
                return;
        }
        r = file_make_dirs(AT_FDCWD, dir, 0755);
        if (r == 0)
                r = file_write_volatile(AT_FDCWD, path, text, strlen(text), 0644);
        if (r < 0)
                log_warning("%s: %s", path, file_strerror(r));
}

void boot_issue_show(const struct env *env, const char *text)
{
        write_issue(env, text);
        console_tell(env, text);
}
