/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/codec.h"
#include "base/secret.h"
#include "tests/unit/scratch.h"
#include "upgrade/fetch_config.h"

static struct scratch dir;

static int set_up(void **state)
{
        static const char *const variables[] = {
                "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG",
                "http_proxy",         "https_proxy",     "all_proxy",       "HTTPS_PROXY",
                "ALL_PROXY",          "SSL_CERT_FILE"};

        (void)state;
        scratch_make(&dir);
        for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
                (void)unsetenv(variables[i]);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        scratch_clean(&dir);
        return 0;
}

/* "$variable" is this folder of the scratch from now on. */
static void point(const char *variable, const char *folder)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", dir.path, folder);
        assert_int_equal(setenv(variable, path, 1), 0);
}

/* A file with the login "user:word" for "registry.test". */
static void put_login(const char *folder, const char *file, const char *user)
{
        _cleanup_(buf_done) struct buf coded = BUF_INIT(128);
        char plain[64], text[256], path[128];

        (void)snprintf(plain, sizeof(plain), "%s:word", user);
        assert_int_equal(base64_encode((const uint8_t *)plain, strlen(plain), &coded), 0);
        (void)snprintf(text, sizeof(text), "{\"auths\":{\"registry.test\":{\"auth\":\"%s\"}}}",
                       buf_str(&coded));
        assert_int_equal(file_make_dirs(dir.fd, folder, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", folder, file);
        scratch_put_text(&dir, path, text);
}

/* Whose login it is; "" = none. */
static void assert_login_of(const char *user)
{
        struct env env = ENV_INIT;
        const struct fetch_options options = {.env = &env};
        _cleanup_(source_name_done) struct source_name name = {.text = NULL};
        struct fetch_config config;
        const struct secret *login;
        char run[128], expected[64];

        (void)snprintf(run, sizeof(run), "%s/run", dir.path);
        env.run = run;
        assert_int_equal(source_name_parse("oci:registry.test/demo", &name, NULL), 0);
        assert_int_equal(fetch_config_read(&name, &options, &config, NULL), 0);
        assert_int_equal(config.n_endpoints, 1);
        login = config.endpoints[0].login;
        (void)snprintf(expected, sizeof(expected), "%s:word", user);
        if (!*user) {
                assert_null(login);
        } else {
                assert_non_null(login);
                assert_int_equal(login->len, strlen(expected));
                assert_memory_equal(login->data, expected, strlen(expected));
        }
        fetch_config_done(&config);
}

/* From the last to the first: each that comes hides those behind it (containers-auth.json(5)). */
static void logins_are_looked_for_as_podman_does(void **state)
{
        char folder[64];

        (void)state;
        point("HOME", "home");
        assert_login_of("");
        put_login("home/.docker", "config.json", "docker-home");
        assert_login_of("docker-home");
        point("DOCKER_CONFIG", "docker");
        assert_login_of("docker-home");
        put_login("docker", "config.json", "docker-named");
        assert_login_of("docker-named");
        put_login("home/.config/containers", "auth.json", "podman-home");
        assert_login_of("podman-home");
        point("XDG_CONFIG_HOME", "config");
        assert_login_of("docker-named");
        put_login("config/containers", "auth.json", "podman-config");
        assert_login_of("podman-config");
        (void)snprintf(folder, sizeof(folder), "run/containers/%u", (unsigned)geteuid());
        put_login(folder, "auth.json", "podman-run");
        assert_login_of("podman-run");
        point("XDG_RUNTIME_DIR", "session");
        assert_login_of("podman-run");
        put_login("session/containers", "auth.json", "podman-session");
        assert_login_of("podman-session");
}

static void file_that_is_named_is_the_only_one(void **state)
{
        (void)state;
        point("HOME", "home");
        put_login("home/.docker", "config.json", "docker-home");
        put_login(".", "named.json", "named");
        point("REGISTRY_AUTH_FILE", "named.json");
        assert_login_of("named");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(logins_are_looked_for_as_podman_does, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(file_that_is_named_is_the_only_one, set_up,
                                                tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
