/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the calling process what a process of root is in a container with the usual defaults: it
 * may make no namespace and has no CAP_SYS_ADMIN. For good. */
#pragma once

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static inline int container_deny(scmp_filter_ctx f)
{
        static const uint64_t flags[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWNET,
                                         CLONE_NEWIPC,  CLONE_NEWPID, CLONE_NEWUTS};
        int r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(flags); i++) {
                const struct scmp_arg_cmp has = {.arg = 0,
                                                 .op = SCMP_CMP_MASKED_EQ,
                                                 .datum_a = flags[i],
                                                 .datum_b = flags[i]};

                r = seccomp_rule_add_array(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, &has);
                if (r >= 0)
                        r = seccomp_rule_add_array(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
                                                   &has);
        }
        return r;
}

/* 0 or negative errno. */
static inline int container_enter(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
        scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
        int r;

        if (!f)
                return -ENOMEM;
        r = container_deny(f);
        if (r >= 0)
                r = seccomp_attr_set(f, SCMP_FLTATR_CTL_NNP, 0);
        if (r >= 0)
                r = seccomp_load(f);
        seccomp_release(f);
        if (r < 0)
                return r;
        if (prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) < 0 ||
            syscall(SYS_capget, &header, data) < 0)
                return -errno;
        data[0].effective &= ~(1u << CAP_SYS_ADMIN);
        data[0].permitted &= ~(1u << CAP_SYS_ADMIN);
        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}
