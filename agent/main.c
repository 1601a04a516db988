/* SPDX-License-Identifier: Apache-2.0 */
/* tb-agent: one program, one verb per run. As the first process of a USI ("/init") the verb is
 * boot. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/verbs.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

static const struct {
        const char *name;
        int (*run)(const struct env *env, int argc, char **argv);
        const char *summary;
} verbs[] = {
        {"install", verb_install, "install this system on a disk"},
        {"verify", verb_verify, "prove that an image will boot and unlock here"},
        {"upgrade", verb_upgrade, "get an image, prove it, and make it the next one"},
        {"boot", verb_boot, "first process of a USI: unlock, mount, hand over"},
        {"bless", verb_bless, "confirm the running boot after its health checks"},
        {"bootentry", verb_bootentry, "list boot entries, choose what the next boots start"},
        {"config", verb_config, "check a configuration, show what it comes to"},
        {"unlock", verb_unlock, "open the data of this node by its recovery key"},
        {"enroll", verb_enroll, "show and change the ways into the data: TPM, recovery keys"},
        {"secureboot", verb_secureboot, "show and change the firmware's Secure Boot keys"},
        {"extension", verb_extension, "install and enable signed additions to /usr and /etc"},
        {"reset", verb_reset, "erase the data of this node and make it like new"},
        {"status", verb_status, "tell what runs, and how this node stands"},
        {"doctor", verb_doctor, "tell what is wrong with this node, and what to do"},
};

static void print_help(void)
{
        (void)printf("Usage: tb-agent [--log-format FORMAT] [--log-level LEVEL] VERB "
                     "[OPTION...]\n\n"
                     "Lifecycle agent of a Trusted Boot node: one signed image, measured boot, "
                     "encrypted data.\n\n"
                     "Verbs:\n");
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                (void)printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
        (void)printf(
                "\n\"tb-agent VERB --help\" explains a verb; tb-agent(1) lists the exit codes.\n"
                "  --log-format text|json    messages on standard error as text, or as one JSON "
                "object a line\n"
                "  --log-level LEVEL         error, warning, info (default) or debug\n"
                "  --help                    show this text\n"
                "  --version                 show the version\n");
}

static bool is_init(const char *name)
{
        const char *slash = name ? strrchr(name, '/') : NULL;

        return slash && strcmp(slash + 1, "init") == 0;
}

/* A result that nobody could read is no success. */
static int end_output(int rc)
{
        struct error e = ERROR_INIT;

        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return rc;
        error_errno(&e, errno ?: EIO, "standard output");
        (void)fprintf(stderr, "tb-agent: %s\n", e.text);
        return rc != 0 ? rc : error_exit_code(e.class);
}

static bool set_log(const char *option, const char *value)
{
        static const char *const formats[] = {"text", "json"};
        static const char *const levels[] = {"error", "warning", "info", "debug"};
        static const enum log_format format_of[] = {LOG_FORMAT_TEXT, LOG_FORMAT_JSON};
        static const enum log_level level_of[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARNING,
                                                  LOG_LEVEL_INFO, LOG_LEVEL_DEBUG};
        bool format = strcmp(option, "--log-format") == 0;
        const char *const *words = format ? formats : levels;
        size_t n = format ? ARRAY_SIZE(formats) : ARRAY_SIZE(levels);

        for (size_t i = 0; value && i < n; i++) {
                if (strcmp(value, words[i]) != 0)
                        continue;
                if (format)
                        log_set_format(format_of[i]);
                else
                        log_set_level(level_of[i]);
                return true;
        }
        (void)fprintf(stderr, "tb-agent: %s takes %s\n", option,
                      format ? "text or json" : "error, warning, info or debug");
        return false;
}

/* The options before the verb, which are about messages. How many words they are; -EINVAL. */
static int take_log_options(int argc, char **argv)
{
        int i = 1;

        while (i < argc) {
                char *equals = strchr(argv[i], '=');
                const char *value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;

                if (strncmp(argv[i], "--log-", 6) != 0)
                        break;
                if (equals)
                        *equals = '\0';
                if (strcmp(argv[i], "--log-format") != 0 && strcmp(argv[i], "--log-level") != 0)
                        break; /* no verb has that name either */
                if (!set_log(argv[i], value))
                        return -EINVAL;
                i += equals ? 1 : 2;
        }
        return i - 1;
}

int main(int argc, char **argv)
{
        const struct env env = ENV_INIT;
        int taken;
        char *boot_argv[] = {(char[]){"boot"}, NULL};

        file_ensure_stdio();
        /* Key material may be in memory: no core dump, no debugger of another user. */
        (void)prctl(PR_SET_DUMPABLE, 0);
        /* The kernel calls us /init. Being process 1 is not enough: in a container every first
         * process is. */
        if (getpid() == 1 && is_init(argv[0]))
                return verb_boot(&env, 1, boot_argv);
        taken = take_log_options(argc, argv);
        if (taken < 0)
                return error_exit_code(ERROR_USAGE);
        argc -= taken;
        argv += taken;
        if (argc < 2) {
                (void)fprintf(stderr, "tb-agent: a verb is missing; try \"tb-agent --help\"\n");
                return error_exit_code(ERROR_USAGE);
        }
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
            strcmp(argv[1], "help") == 0) {
                print_help();
                return end_output(0);
        }
        if (strcmp(argv[1], "--version") == 0) {
                (void)printf("tb-agent %s\n", TB_VERSION);
                return end_output(0);
        }
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                if (strcmp(argv[1], verbs[i].name) == 0)
                        return end_output(verbs[i].run(&env, argc - 1, argv + 1));
        }
        (void)fprintf(stderr, "tb-agent: unknown verb \"%s\"; try \"tb-agent --help\"\n", argv[1]);
        return error_exit_code(ERROR_USAGE);
}
