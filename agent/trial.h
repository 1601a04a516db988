/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is remembered about boots on trial, in the encrypted partition: why an image failed, so that
 * "status" can tell after the node fell back, and so that the same image is not installed again.
 * dir is its folder (agent/machine.h). Where it is not open, which costs a reason and no safety,
 * -ENOENT (ERROR_PRECONDITION) is returned.
 */
#pragma once

#include "agent/situation.h"
#include "base/env.h"
#include "base/error.h"

enum trial_reason {
        TRIAL_REPLACE, /* the newest reason counts */
        TRIAL_KEEP,    /* a reason of this boot's image that is there already says more */
};

/* The running image failed its trial. */
int trial_failed(const struct env *env, int dir, const struct situation *s, const char *reason,
                 enum trial_reason how, struct error *e) _must_check_;

/* The running image was confirmed: what was said against it does not count any more. */
int trial_passed(const struct env *env, int dir, const struct situation *s, struct error *e)
        _must_check_;

/*
 * After a fall back: images whose entries have no tries left are remembered as failed, with the
 * reason they left or with the number of boots that nobody confirmed.
 */
int trial_fell_back(int dir, const struct situation *s, struct error *e) _must_check_;
