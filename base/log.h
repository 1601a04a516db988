/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one gate for diagnostics. Messages go to standard error: as plain text for people, or as one
 * JSON object per line
 * ({"time":...,"level":"info","event":"...","message":"..."}). In the boot stage they go to the
 * kernel log as well, so that they reach the console and the journal. Folders below agent/ log only
 * through here and never print.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

enum log_level {
        LOG_LEVEL_ERROR,
        LOG_LEVEL_WARNING,
        LOG_LEVEL_INFO,
        LOG_LEVEL_DEBUG,
};

enum log_format {
        LOG_FORMAT_TEXT,
        LOG_FORMAT_JSON,
        LOG_FORMAT_KMSG, /* "<prio>tb-agent: text" into /dev/kmsg */
};

/* Most verbose level that is shown (default: info). */
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
enum log_format log_get_format(void);

void log_message(enum log_level level, const char *fmt, ...) _printf_(2, 3);

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)
