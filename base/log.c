/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"

static enum log_level max_level = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_TEXT;

static const struct {
        const char *name;
        const char *prefix; /* of the text form */
        int kernel;         /* syslog priority */
} levels[] = {
        [LOG_LEVEL_ERROR] = {"error", "error: ", 3},
        [LOG_LEVEL_WARNING] = {"warning", "warning: ", 4},
        [LOG_LEVEL_INFO] = {"info", "", 6},
        [LOG_LEVEL_DEBUG] = {"debug", "debug: ", 7},
};

void log_set_level(enum log_level level)
{
        max_level = level;
}

void log_set_format(enum log_format f)
{
        format = f;
}

enum log_format log_get_format(void)
{
        return format;
}

static void write_json(enum log_level level, const char *text)
{
        struct json_object *o = json_object_new_object();
        struct timespec now;

        if (!o)
                return;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        (void)json_object_object_add(
                o, "time", json_object_new_double((double)now.tv_sec + (double)now.tv_nsec / 1e9));
        (void)json_object_object_add(o, "level", json_object_new_string(levels[level].name));
        (void)json_object_object_add(o, "message", json_new_str(text));
        (void)fprintf(stderr, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        (void)json_object_put(o);
}

static void write_kmsg(enum log_level level, const char *text)
{
        _cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
        char line[1024];
        int n;

        if (fd < 0) {
                (void)fprintf(stderr, "tb-agent: %s%s\n", levels[level].prefix, text);
                return;
        }
        n = snprintf(line, sizeof(line), "<%d>tb-agent: %s%s\n", levels[level].kernel,
                     levels[level].prefix, text);
        /* One record is one write. When it fails there is no place left to say so. */
        if (n <= 0 || write(fd, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1) < 0)
                return;
}

void log_message(enum log_level level, const char *fmt, ...)
{
        char text[2048];
        va_list ap;

        if (level > max_level)
                return;
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        switch (format) {
        case LOG_FORMAT_JSON:
                write_json(level, text);
                break;
        case LOG_FORMAT_KMSG:
                write_kmsg(level, text);
                break;
        case LOG_FORMAT_TEXT:
                (void)fprintf(stderr, "%s%s\n", levels[level].prefix, text);
                break;
        }
}
