/* SPDX-License-Identifier: Apache-2.0 */
/* The last word of a container: what Kubernetes shows as the reason why it ended. */
#pragma once

#define TERMINATION_LOG "/dev/termination-log"

/*
 * Puts one line there, cut at the 4096 bytes that Kubernetes reads. A file that is absent or cannot
 * be written is no container's: nothing happens.
 */
void termination_tell(const char *path, const char *text);
