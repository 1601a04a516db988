/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/failcalls/failcalls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

/* How a call tells that it failed. */
enum how {
        MINUS_ONE, /* -1, and errno */
        NOTHING,   /* NULL or 0, and errno */
        NEGATIVE,  /* a negative errno */
        NUMBER,    /* the number itself */
};

/* In place of an error: half of what was asked for is done. The size is the third argument. */
#define HALF (-1000)

#define MEMORY ENOMEM
#define DEVICE EIO
#define OPENING EIO, EMFILE, ENOMEM
#define MAKING EIO, ENOSPC
#define READING EIO, EINTR, HALF
#define WRITING EIO, ENOSPC, EINTR, HALF
#define WAITING EIO, EINTR
#define INTERRUPTION EINTR
#define RESOLVER (-10)            /* EAI_MEMORY */
#define TPM 0x101, 0x921, 0xA000A /* TPM2_RC_FAILURE, TPM2_RC_LOCKOUT, TSS2_TCTI_RC_IO_ERROR */
#define ARCHIVE (-30)             /* ARCHIVE_FATAL */
#define CURL 27                   /* CURLE_OUT_OF_MEMORY */
#define CURL_MULTI 3              /* CURLM_OUT_OF_MEMORY */
#define CURL_URL 7                /* CURLUE_OUT_OF_MEMORY */

#define ERRORS_MAX 4u

struct call {
        uint32_t name;
        enum how how;
        int error[ERRORS_MAX]; /* 0: no more */
};

/* What a call was given, as the code below lays it on the stack. */
struct registers {
        uint64_t r9, r8, rcx, rdx, rsi, rdi, rax;
        uint64_t back; /* where it returns to */
};

enum {
#define CALL(name, how, ...) LINE_##name,
#include "tests/failcalls/calls.def"
#undef CALL
        LINES
};

static const char *const line_names[LINES] = {
#define CALL(name, how, ...) [LINE_##name] = #name,
#include "tests/failcalls/calls.def"
#undef CALL
};

/*
 * What the linker puts in the place of each call: asks failcalls_decide(), and then either goes on
 * to the function itself, with all that it was given, or returns what failcalls_decide() left in
 * rax. Nothing of its own stays on the stack, so that a sanitizer sees the true callers.
 */
#define CALL(name, how, ...)                                                                       \
        extern const struct call failcalls_of_##name;                                              \
        const struct call failcalls_of_##name = {LINE_##name, how, {__VA_ARGS__}};                 \
        __asm__(".text\n"                                                                          \
                ".globl __wrap_" #name "\n"                                                        \
                ".type __wrap_" #name ", @function\n"                                              \
                "__wrap_" #name ":\n"                                                              \
                "endbr64\n"                                                                        \
                "push %rax\n push %rdi\n push %rsi\n push %rdx\n"                                  \
                "push %rcx\n push %r8\n push %r9\n"                                                \
                "lea failcalls_of_" #name "(%rip), %rdi\n"                                         \
                "mov %rsp, %rsi\n"                                                                 \
                "mov %rbp, %rdx\n"                                                                 \
                "call failcalls_decide\n"                                                          \
                "test %eax, %eax\n"                                                                \
                "pop %r9\n pop %r8\n pop %rcx\n"                                                   \
                "pop %rdx\n pop %rsi\n pop %rdi\n pop %rax\n"                                      \
                "jne 1f\n"                                                                         \
                "jmp __real_" #name "@PLT\n"                                                       \
                "1: ret\n"                                                                         \
                ".size __wrap_" #name ", . - __wrap_" #name "\n");
#include "tests/failcalls/calls.def"
#undef CALL

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern void *__libc_stack_end;

/* Of one process: the kernel gives a child this memory empty. */
struct mine {
        bool known;
        uint32_t process, calls;
};

static struct failcalls *shared;
static struct mine *mine;

/* Frame by frame up, as far as frame pointers lead. Code of libraries may use the register for
 * something else: nothing outside of the stack is read. */
static uint64_t digest_stack(const struct registers *r, const uint64_t *frame)
{
        const uint64_t *last = (const uint64_t *)(const void *)r;
        uint64_t digest = r->back - (uint64_t)(uintptr_t)__ehdr_start;

        for (unsigned i = 0; i < 32; i++) {
                if (frame <= last || frame + 2 > (uint64_t *)__libc_stack_end ||
                    (uintptr_t)frame % 8 != 0)
                        break;
                digest = (digest ^ (frame[1] - (uint64_t)(uintptr_t)__ehdr_start)) *
                         UINT64_C(0x100000001b3);
                last = frame;
                frame = (const uint64_t *)(uintptr_t)frame[0];
        }
        return digest;
}

static uint32_t count_errors(const struct call *c)
{
        uint32_t n = 0;

        while (n < ERRORS_MAX && c->error[n] != 0)
                n++;
        return n;
}

/* When nothing is recorded, only what failed. */
static void note(const struct call *c, const struct registers *r, const uint64_t *frame)
{
        uint32_t i = __atomic_fetch_add(&shared->n_records, 1, __ATOMIC_RELAXED);

        if (i < FAILCALLS_RECORDS)
                shared->item[i] = (struct failcalls_record){
                        .process = mine->process,
                        .call = mine->calls,
                        .name = c->name,
                        .errors = count_errors(c),
                        .site = r->back - (uint64_t)(uintptr_t)__ehdr_start,
                        .stack = digest_stack(r, frame)};
}

/* As a program would do it that is broken there: for those who judge. */
static void misbehave(uint32_t misdeed)
{
        switch (misdeed) {
        case FAILCALLS_CRASH:
                __builtin_trap();
        case FAILCALLS_LEAK:
                for (unsigned i = 0; i < 16; i++)
                        *(volatile char *)malloc(100) = 1;
                break;
        case FAILCALLS_SUCCEED:
                _exit(0);
        case FAILCALLS_REFUSE:
                _exit(6);
        default:
                abort();
        }
}

/* Whether it fails; what it was given is changed when it does half of it. */
static int fail(const struct call *c, struct registers *r)
{
        uint32_t n = count_errors(c);
        int error = c->error[shared->error % n];

        shared->failed = 1;
        if (shared->error >= FAILCALLS_CRASH) {
                misbehave(shared->error);
                return 0;
        }
        if (error == HALF) {
                r->rdx = r->rdx > 1 ? r->rdx / 2 : r->rdx;
                return 0;
        }
        if (c->how == MINUS_ONE || c->how == NOTHING)
                errno = error;
        if (c->how == MINUS_ONE)
                r->rax = UINT64_MAX;
        else if (c->how == NOTHING)
                r->rax = 0;
        else
                r->rax = (uint64_t)(int64_t)(c->how == NEGATIVE ? -error : error);
        return 1;
}

int failcalls_decide(const struct call *c, struct registers *r, const uint64_t *frame);
int failcalls_decide(const struct call *c, struct registers *r, const uint64_t *frame)
{
        if (!shared)
                return 0;
        if (!mine->known) {
                mine->known = true;
                mine->process = __atomic_fetch_add(&shared->n_processes, 1, __ATOMIC_RELAXED);
        }
        mine->calls++;
        if (shared->record)
                note(c, r, frame);
        if (shared->failed || shared->process != mine->process || shared->call != mine->calls)
                return 0;
        if (!shared->record)
                note(c, r, frame);
        return fail(c, r);
}

void failcalls_begin(struct failcalls *f)
{
        static struct mine *memory;
        const size_t size = (size_t)sysconf(_SC_PAGESIZE);

        shared = NULL;
        if (!memory) {
                void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                               0);

                if (p == MAP_FAILED || madvise(p, size, MADV_WIPEONFORK) < 0)
                        abort();
                memory = p;
        }
        *memory = (struct mine){.known = false};
        mine = memory;
        shared = f;
}

static struct failcalls *map(int fd)
{
        void *p = mmap(NULL, sizeof(struct failcalls), PROT_READ | PROT_WRITE,
                       fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

        return p == MAP_FAILED ? NULL : p;
}

struct failcalls *failcalls_share(void)
{
        return map(-1);
}

const char *failcalls_name(uint32_t name)
{
        return name < LINES ? line_names[name] : NULL;
}

__attribute__((constructor)) static void begin(void)
{
        const char *path = getenv("TB_FAILCALLS");
        struct failcalls *f = NULL;
        int fd;

        if (!path)
                return;
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
                f = map(fd);
                (void)close(fd);
        }
        if (!f)
                abort();
        (void)unsetenv("TB_FAILCALLS");
        failcalls_begin(f);
}
