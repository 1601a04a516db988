/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node [--deep] [--stride N] [--from N] [--misdeed N] [STORY...]: what changes a node, with each of
 * its calls failing once: the boot partition is a folder, volumes are files, the TPM is a software
 * one.
 *
 * A run is a process of its own, judged by another one that makes no call fail: it must end
 * properly, leak nothing, tell a failure as what it is and leave what the story promises; and the
 * same again without a fault has to come to its end.
 */
#include "tests/failcalls/node_stories.h"

#include <getopt.h>
#include <sanitizer/lsan_interface.h>

#include "base/num.h"
#include "tests/failcalls/failcalls.h"

#define LEAKED 98

static struct failcalls *faults;

/* What a run in a process of its own left, beside struct shared. */
struct end {
        int result;
        struct error error;
};

static struct end *end;

static void fresh_node(const struct story *s)
{
        restart_tpm();
        assert_int_equal(make_node(NULL), 0);
        s->begin();
}

static void act_alone(const struct story *s, struct failcalls *f)
{
        struct tpm *tpm = NULL;

        error_clear(&end->error);
        failcalls_begin(f);
        end->result = tpm_open(emulator->tcti, &tpm, &end->error);
        if (end->result == 0)
                end->result = s->act(tpm, &end->error);
        tpm_free(tpm);
        failcalls_begin(NULL);
        _exit(__lsan_do_recoverable_leak_check() ? LEAKED : 0);
}

static int wait_for(pid_t pid)
{
        int status;

        assert_true(pid >= 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int act(const struct story *s, struct failcalls *f)
{
        pid_t pid = fork();

        if (pid == 0)
                act_alone(s, f);
        return wait_for(pid);
}

static int judge(const struct story *s)
{
        pid_t pid = fork();

        if (pid == 0) {
                s->judge(end->result == 0);
                _exit(0);
        }
        return wait_for(pid);
}

/* Never as a verdict about what the user gave. */
static bool is_truthful(const struct error *e)
{
        return e->class == ERROR_INTERNAL || e->class == ERROR_SPACE || e->class == ERROR_BUSY ||
               e->class == ERROR_IO || e->class == ERROR_PRECONDITION ||
               e->class == ERROR_INTERRUPTED || e->class == ERROR_SOURCE;
}

static const char *try_again(const struct story *s)
{
        if (act(s, NULL) != 0)
                return "again: crashed or leaked";
        if (end->result != 0)
                return "again: failed";
        return judge(s) == 0 ? NULL : "again: not as promised";
}

/* What is wrong, or NULL. */
static const char *try_one(const struct story *s)
{
        fresh_node(s);
        if (act(s, faults) != 0)
                return "crashed or leaked";
        if (end->result < 0 && (end->error.code != -end->result || !is_truthful(&end->error)))
                return "told as something else";
        if (judge(s) != 0)
                return "not as promised";
        return try_again(s);
}

struct choice {
        bool deep;
        unsigned stride, from;
        unsigned misdeed; /* in place of each error */
};

struct fault {
        struct failcalls_record record;
        uint32_t error;
};

static bool is_known(const struct fault *list, size_t n, const struct failcalls_record *r,
                     bool deep)
{
        for (size_t i = 0; i < n; i++) {
                const struct failcalls_record *k = &list[i].record;

                if (k->name == r->name && k->site == r->site && (!deep || k->stack == r->stack))
                        return true;
        }
        return false;
}

/* Deep: each path to a call, in all its ways; else each place of the code once. */
static size_t choose(const struct choice *c, struct fault *list, size_t max)
{
        size_t n = 0;

        for (uint32_t i = 0; i < faults->n_records; i++) {
                const struct failcalls_record *r = &faults->item[i];

                if (is_known(list, n, r, c->deep))
                        continue;
                for (uint32_t e = 0; e < (c->deep ? r->errors : 1); e++) {
                        assert_true(n < max);
                        list[n] = (struct fault){*r, c->deep ? e : (uint32_t)n % r->errors};
                        n++;
                }
        }
        return n;
}

static void prepare(const struct fault *f)
{
        faults->record = f ? 0 : 1;
        faults->process = f ? f->record.process : 0;
        faults->call = f ? f->record.call : 0;
        faults->error = f ? f->error : 0;
        faults->failed = faults->n_processes = faults->n_records = 0;
}

static unsigned tell_story(const struct story *s, const struct choice *c)
{
        enum { MAX = 20000 };
        _cleanup_free_ struct fault *list = calloc(MAX, sizeof(*list));
        unsigned wrong = 0, tried = 0, finished = 0;
        size_t n;

        assert_non_null(list);
        prepare(NULL);
        fresh_node(s);
        assert_int_equal(act(s, faults), 0);
        if (end->result != 0)
                fail_msg("%s: %s", s->name, end->error.text);
        assert_int_equal(judge(s), 0);
        assert_true(faults->n_records <= FAILCALLS_RECORDS);
        n = choose(c, list, MAX);
        for (size_t i = c->from; i < n; i += c->stride) {
                const struct failcalls_record *r = &list[i].record;
                const char *what;

                if (c->misdeed)
                        list[i].error = c->misdeed;
                prepare(&list[i]);
                what = try_one(s);
                tried++;
                finished += end->result == 0;
                if (!what)
                        continue;
                wrong++;
                (void)printf("%s --from %zu: %s (way %u) at %#llx, call %u of process %u: %s: %d "
                             "%s: %s\n",
                             s->name, i, failcalls_name(r->name), list[i].error,
                             (unsigned long long)r->site, r->call, r->process, what, end->result,
                             error_class_name(end->error.class), end->error.text);
                (void)fflush(stdout);
        }
        (void)printf("%s: %u of %zu tried, %u succeeded all the same, %u wrong\n", s->name, tried,
                     n, finished, wrong);
        (void)fflush(stdout);
        return wrong;
}

static bool is_wanted(const char *name, char **wanted, int n)
{
        for (int i = 0; i < n; i++) {
                if (strcmp(wanted[i], name) == 0)
                        return true;
        }
        return n == 0;
}

static void *share(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(p != MAP_FAILED);
        return p;
}

static bool parse(int argc, char **argv, struct choice *ret)
{
        static const struct option options[] = {{"deep", no_argument, NULL, 'd'},
                                                {"stride", required_argument, NULL, 's'},
                                                {"from", required_argument, NULL, 'f'},
                                                {"misdeed", required_argument, NULL, 'm'},
                                                {NULL, 0, NULL, 0}};
        uint64_t value;
        int c;

        *ret = (struct choice){.stride = 1};
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'd')
                        ret->deep = true;
                else if (c == '?' || parse_u64_max(optarg, 1000000, &value) < 0)
                        return false;
                else if (c == 's')
                        ret->stride = (unsigned)value ?: 1;
                else if (c == 'm')
                        ret->misdeed = (unsigned)value;
                else
                        ret->from = (unsigned)value;
        }
        return true;
}

int main(int argc, char **argv)
{
        struct secret *fresh_key;
        struct choice choice;
        unsigned wrong = 0;

        if (!parse(argc, argv, &choice))
                return 2;
        shared = share(sizeof(*shared));
        end = share(sizeof(*end));
        faults = failcalls_share();
        assert_non_null(faults);
        assert_int_equal(make_world(NULL), 0);
        assert_int_equal(make_node(NULL), 0);
        assert_int_equal(take_image(2, &ways_image), 0);
        keep_plain(old_key[2], &old_plain);
        fresh_key = recovery_key_new();
        assert_non_null(fresh_key);
        keep_plain(fresh_key, &fresh_plain);
        for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
                if (is_wanted(stories[i].name, argv + optind, argc - optind))
                        wrong += tell_story(&stories[i], &choice);
        }
        close_p(&floor_dir);
        token_free(sealed);
        buf_done(&sealed_signature);
        image_free(ways_image);
        secret_free(fresh_key);
        (void)drop_world(NULL);
        return wrong ? 1 : 0;
}
