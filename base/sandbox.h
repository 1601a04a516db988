/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a function of ours in a child process that is expected to be taken over by the data it
 * reads. The child has the descriptors it was given and nothing else: it can compute, read, write
 * and sleep.
 *
 * What keeps it in are layers (enum sandbox_layer). A layer that cannot be set up is a refusal: the
 * function does not run. A caller may name layers that are allowed to be missing, because inside a
 * container the kernel may deny namespaces; the result tells which ones are in force. The layers of
 * SANDBOX_LEAST are never allowed to be missing.
 *
 * What the child inherits, and what that means for the caller:
 * - Memory. A fork copies the parent. Spawn before secrets are loaded; what lives in struct secret
 * is blank in the child anyway. The environment is wiped. The child knows the addresses of the
 *   parent, so whoever reads its answers must be as careful as with the network itself, and must
 * not take descriptors from it: receive without room for control messages.
 * - Descriptors. Pipes, regular files, and connected stream or seqpacket sockets, checked when they
 *   are handed over. Others are refused: a directory is a way out of the empty root, a datagram
 *   socket can write to any address. Open file descriptions are shared with the parent, flags like
 *   O_NONBLOCK too: keep no end open that was given away.
 * - More connected sockets may follow over a Unix socket: sandbox_send_fd(), sandbox_receive_fd().
 *   They keep the network of the parent, with which the child cannot do more than talk to that
 * peer. Standard input, output and error of the child are /dev/null.
 * - The process group. SIGINT, SIGTERM and their like, which go to all of it, mean the parent: the
 *   child ignores them.
 *
 * Call from a process with one thread. Life cycle: sandbox_spawn() -> sandbox_wait() ->
 * sandbox_free(), which ends a child that still runs. When the parent dies, so does the child.
 *
 * Builds with AddressSanitizer cannot limit the address space (it reserves terabytes):
 * SANDBOX_MEMORY is then missing and nobody is asked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "base/error.h"

enum sandbox_layer {
        SANDBOX_USER_NAMESPACE = 1 << 0,
        SANDBOX_MOUNT_NAMESPACE = 1 << 1,
        SANDBOX_NETWORK_NAMESPACE = 1 << 2, /* empty: not even a loopback that is up */
        SANDBOX_IPC_NAMESPACE = 1 << 3,
        SANDBOX_PID_NAMESPACE = 1 << 4, /* sees no process but itself */
        SANDBOX_UTS_NAMESPACE = 1 << 5,
        SANDBOX_ROOT = 1 << 6,     /* empty read-only root directory */
        SANDBOX_IDS = 1 << 7,      /* user and group that nobody else has, no other groups */
        SANDBOX_BOUNDING = 1 << 8, /* capability bounding set empty */
        SANDBOX_MEMORY = 1 << 9,   /* address space limited */
        SANDBOX_CAPABILITIES = 1 << 10,
        SANDBOX_NO_NEW_PRIVILEGES = 1 << 11,
        SANDBOX_NOT_DUMPABLE = 1 << 12,
        SANDBOX_PARENT_DEATH = 1 << 13,
        SANDBOX_DESCRIPTORS = 1 << 14,
        SANDBOX_LIMITS = 1 << 15, /* CPU time, new files and processes, file size, core */
        SANDBOX_SECCOMP = 1 << 16,
};

#define SANDBOX_ALL ((1u << 17) - 1)
#define SANDBOX_NAMESPACES                                                                         \
        (SANDBOX_USER_NAMESPACE | SANDBOX_MOUNT_NAMESPACE | SANDBOX_NETWORK_NAMESPACE |            \
         SANDBOX_IPC_NAMESPACE | SANDBOX_PID_NAMESPACE | SANDBOX_UTS_NAMESPACE)
/* What can be had without any privilege. */
#define SANDBOX_LEAST                                                                              \
        (SANDBOX_CAPABILITIES | SANDBOX_NO_NEW_PRIVILEGES | SANDBOX_NOT_DUMPABLE |                 \
         SANDBOX_PARENT_DEATH | SANDBOX_DESCRIPTORS | SANDBOX_LIMITS | SANDBOX_SECCOMP)
/* What a container that runs as root without CAP_SYS_ADMIN cannot give; the user is still changed.
 */
#define SANDBOX_MISSING_IN_CONTAINER (SANDBOX_NAMESPACES | SANDBOX_ROOT | SANDBOX_BOUNDING)

struct sandbox_options {
        const struct env *env;
        const char *name;     /* of the process, and in messages */
        unsigned may_miss;    /* layers that may be missing; those of SANDBOX_LEAST never may */
        const int *fds;       /* handed over; the parent's copies stay open and its own */
        size_t n_fds;         /* at most LIMIT_SANDBOX_FDS */
        unsigned n_received;  /* most descriptors it may hold besides, received later */
        uint64_t memory;      /* bytes of address space in all, 0 = LIMIT_SANDBOX_MEMORY */
        unsigned cpu_seconds; /* 0 = LIMIT_SANDBOX_CPU_SECONDS */
};

/* What runs in the child: fds are its numbers of the descriptors handed over, in the same order.
 * The low 8 bits of the result are the exit status. Nothing of the parent's exit handlers runs. */
typedef int (*sandbox_main)(void *ctx, const int *fds);

struct sandbox;

/*
 * Starts the child. When this returns 0, all layers are in force and run has begun. Otherwise
 * nothing is left behind: -EINVAL (ERROR_INTERNAL) for options that make no sense or descriptors of
 * a kind not allowed; the errno of the missing layer (ERROR_PRECONDITION), named in the message; or
 * what fork gives.
 */
int sandbox_spawn(const struct sandbox_options *options, sandbox_main run, void *ctx,
                  struct sandbox **ret, struct error *e) _must_check_;

/* Kills and reaps what still runs. */
void sandbox_free(struct sandbox *s);
DEFINE_CLEANUP(struct sandbox, sandbox_free)

/* Layers in force, a mask. */
unsigned sandbox_layers(const struct sandbox *s);

/* pidfd becomes readable when the child ends: for poll(). Both are borrowed, -1 once reaped. */
int sandbox_pidfd(const struct sandbox *s);
pid_t sandbox_pid(const struct sandbox *s);

/* Kills the child; sandbox_wait() then reports -EINTR. */
void sandbox_kill(struct sandbox *s);

/*
 * Waits for the end, at most timeout_ms, then kills. In every case the child is gone and reaped
 * when this returns; further calls report the same again. 0 and the exit status, when run returned;
 * otherwise
 *   -EPERM     ERROR_REFUSED      it tried a forbidden system call
 *   -EFAULT    ERROR_REFUSED      it crashed
 *   -ETIME     ERROR_REFUSED      its processor time is used up
 *   -ETIMEDOUT ERROR_SOURCE       the time limit struck
 *   -EINTR     ERROR_INTERRUPTED  killed from outside (sandbox_kill(), a person, memory shortage)
 */
int sandbox_wait(struct sandbox *s, unsigned timeout_ms, int *ret_status, struct error *e)
        _must_check_;

/*
 * Passes a connected stream socket over a Unix socket, with one byte of data. -EINVAL for any other
 * descriptor. The caller closes its own copy. Negative errno.
 */
int sandbox_send_fd(int control, int fd) _must_check_;

/* Takes what sandbox_send_fd() passed. A descriptor, -EPIPE when the other side is closed, -EBADMSG
 * for a message without exactly one descriptor; other negative errno. */
int sandbox_receive_fd(int control) _must_check_;

/* "mount-namespace" and so on, stable; NULL for anything but a single layer. */
const char *sandbox_layer_name(unsigned layer);

/* Appends the names of a mask's layers with blanks between them. */
int sandbox_describe(unsigned layers, struct buf *out) _must_check_;
