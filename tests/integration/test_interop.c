/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ways with systemd: its token plug-in of libcryptsetup opens what is enrolled here, and what
 * systemd-cryptenroll enrols is opened here. Real LUKS2 in a plain file, real software TPM.
 *
 * The plug-in runs in a process of its own (this program again, called with "plugin"), because the
 * LUKS code of this project switches plug-ins off for the process it runs in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <libcryptsetup.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"
#include "partition/luks.h"
#include "partition/seal.h"
#include "partition/tpm_esys.h"
#include "tests/support/swtpm.h"
#include "tests/support/swtpm_policy.h"

#define LABEL "COS_OEM"
#define PCR7 (1u << 7)
/* Its hash ends in a zero byte, which TPMs cut off: systemd 252 binds its session to the whole
 * value, and cannot open with such a PIN, whoever enrolled it. */
#define PIN_ZERO "pin-162"
#define PCR11 (1u << 11)

struct world {
        char dir[64], volume[96], signature[96], pem[96];
        struct swtpm *emulator;
        struct tpm *tpm;
        struct luks *luks;
        struct secret *recovery; /* passphrase of key slot 0 */
        struct secret *pin;      /* of what is enrolled; NULL: none */
        struct test_signer signer;
        uint8_t pcr7[SHA256_SIZE], pcr11[SHA256_SIZE];
        struct error e;
};

static struct test_key *key;

/* --- the other side --- */

/* What systemd's plug-in expects as user data. */
struct plugin_params {
        uint32_t search_pcr_mask;
        const char *device;
        const char *signature_path;
};

/* argv: program "plugin" volume token device signature [PIN]. Exit code 0 when the token opened its
 * slot. */
static int plugin_main(char **argv)
{
        struct plugin_params params = {
                .search_pcr_mask = UINT32_MAX, .device = argv[4], .signature_path = argv[5]};
        struct crypt_device *cd = NULL;
        const char *pin = argv[6];
        uint64_t token;
        int r;

        if (parse_u64_max(argv[3], 31, &token) < 0 || crypt_init(&cd, argv[2]) < 0 ||
            crypt_load(cd, CRYPT_LUKS2, NULL) < 0)
                return 100;
        r = crypt_activate_by_token_pin(cd, NULL, "systemd-tpm2", (int)token, pin,
                                        pin ? strlen(pin) : 0, &params, 0);
        crypt_free(cd);
        return r >= 0 ? 0 : -r < 100 ? -r : 101;
}

/* Runs a program with nothing on standard output; returns its exit code. */
static int run(const char *password, const char *pin, const char *const *argv)
{
        pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);
                char *const *args;

                memcpy(&args, &argv, sizeof(args));
                (void)dup2(null, STDIN_FILENO);
                (void)dup2(null, STDOUT_FILENO);
                if (!getenv("TB_TEST_VERBOSE"))
                        (void)dup2(null, STDERR_FILENO);
                /* What the plug-in leaks is not ours to report in a sanitized build. */
                (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
                if (password)
                        (void)setenv("PASSWORD", password, 1);
                if (pin)
                        (void)setenv("NEWPIN", pin, 1);
                (void)execvp(argv[0], args);
                _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int run_plugin_pin(struct world *w, int token, const char *pin)
{
        char id[16];
        const char *const argv[] = {"/proc/self/exe",  "plugin",     w->volume, id,
                                    w->emulator->tcti, w->signature, pin,       NULL};

        (void)snprintf(id, sizeof(id), "%d", token);
        return run(NULL, NULL, argv);
}

static int run_plugin(struct world *w, int token)
{
        return run_plugin_pin(w, token, NULL);
}

static int run_cryptenroll_pin(struct world *w, const char *pcrs, bool signed_pcrs, const char *pin)
{
        char device[96], literal[64], pub[128], sig[128], password[64];
        const char *argv[9] = {"systemd-cryptenroll", device, literal, pub};
        size_t n = 4;

        (void)snprintf(device, sizeof(device), "--tpm2-device=%s", w->emulator->tcti);
        (void)snprintf(literal, sizeof(literal), "--tpm2-pcrs=%s", pcrs);
        (void)snprintf(pub, sizeof(pub), "--tpm2-public-key=%s", signed_pcrs ? w->pem : "");
        (void)snprintf(sig, sizeof(sig), "--tpm2-signature=%s", w->signature);
        (void)snprintf(password, sizeof(password), "%.*s", (int)w->recovery->len,
                       (const char *)w->recovery->data);
        if (signed_pcrs) {
                argv[n++] = "--tpm2-public-key-pcrs=11";
                argv[n++] = sig;
        } else {
                n = 3;
        }
        if (pin)
                argv[n++] = "--tpm2-with-pin=yes";
        argv[n++] = w->volume;
        return run(password, pin, argv);
}

static int run_cryptenroll(struct world *w, const char *pcrs, bool signed_pcrs)
{
        return run_cryptenroll_pin(w, pcrs, signed_pcrs, NULL);
}

/* --- this side --- */

/* systemd opens the TPM itself, and a TPM without resource manager takes one at a time. */
static void leave_tpm(struct world *w)
{
        tpm_free(w->tpm);
        w->tpm = NULL;
}

static void enter_tpm(struct world *w)
{
        if (!w->tpm)
                assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
}

static void measure(struct world *w, unsigned pcr, const char *text)
{
        enter_tpm(w);
        assert_int_equal(tpm_measure(w->tpm, pcr, text, strlen(text), &w->e), 0);
        leave_tpm(w);
}

static void open_volume(struct world *w)
{
        luks_free(w->luks);
        w->luks = NULL;
        assert_int_equal(luks_open(w->volume, &w->luks, &w->e), 0);
}

static void make_volume(struct world *w)
{
        const struct luks_format_options options = {.label = LABEL, .sector_size = 512};
        _cleanup_(secret_free_p) struct secret *raw = secret_random(32);
        _cleanup_(buf_done) struct buf json = BUF_INIT(1024);
        _cleanup_close_ int fd = open(w->volume, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int slot;

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)(24 * MIB)), 0);
        w->recovery = secret_base64(raw);
        assert_non_null(w->recovery);
        assert_int_equal(luks_format(w->volume, &options, &w->luks, &w->e), 0);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, w->recovery, &slot, &w->e), 0);
        assert_int_equal(token_format_recovery(slot, &json, &w->e), 0);
        assert_int_equal(luks_set_token(w->luks, 0, buf_str(&json), NULL, &w->e), 0);
}

static void start_machine(struct world *w)
{
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        measure(w, 7, "SecureBoot on");
        measure(w, 11, ".linux");
        measure(w, 11, "kernel");
        measure(w, 11, "enter-initrd");
        enter_tpm(w);
        assert_int_equal(tpm_read_pcrs(w->tpm, PCR7, w->pcr7, &w->e), 0);
        assert_int_equal(tpm_read_pcrs(w->tpm, PCR11, w->pcr11, &w->e), 0);
        leave_tpm(w);
}

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));
        const uint8_t *pem;
        size_t n;

        assert_non_null(w);
        *state = w;
        (void)snprintf(w->dir, sizeof(w->dir), "/tmp/tb-interop-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        (void)snprintf(w->volume, sizeof(w->volume), "%s/volume", w->dir);
        (void)snprintf(w->signature, sizeof(w->signature), "%s/signature.json", w->dir);
        (void)snprintf(w->pem, sizeof(w->pem), "%s/key.pem", w->dir);
        pem = policy_key_pem(key->policy, &n);
        assert_int_equal(file_write_volatile(AT_FDCWD, w->pem, pem, n, 0600), 0);
        make_volume(w);
        start_machine(w);
        w->signer.key = key;
        test_pol(11, w->pcr11, w->signer.pol);
        test_write_signature_file(w->signature, key, w->signer.pol);
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        luks_free(w->luks);
        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        secret_free(w->recovery);
        secret_free(w->pin);
        (void)unlink(w->volume);
        (void)unlink(w->signature);
        (void)unlink(w->pem);
        (void)rmdir(w->dir);
        free(w);
        return 0;
}

/* The enrolment of an installer: seal, key slot, proof, token 1. */
static void enrol(struct world *w, uint32_t signed_pcrs, uint32_t literal_pcrs)
{
        const struct seal_policy policy = {.key = key->policy,
                                           .signed_pcrs = signed_pcrs,
                                           .literal_pcrs = literal_pcrs,
                                           .literal_values = w->pcr7,
                                           .pin = w->pin};
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE);
        _cleanup_(secret_free_p) struct secret *passphrase = secret_base64(secret);
        _cleanup_(token_free_p) struct token *token = NULL;
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON), sig = BUF_INIT(1024);

        enter_tpm(w);
        assert_int_equal(seal_create(w->tpm, &policy, secret, &token, &w->e), 0);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, passphrase, &token->keyslot, &w->e), 0);
        assert_int_equal(token->keyslot, 1);
        test_key_sign(key, w->signer.pol, &sig);
        assert_int_equal(seal_prove(w->tpm, token, w->pcr11, w->pcr7, sig.data, sig.len, &w->e), 0);
        assert_int_equal(luks_test_secret(w->luks, token->keyslot, passphrase, &w->e), 0);
        assert_int_equal(token_format(token, &json, &w->e), 0);
        assert_int_equal(luks_set_token(w->luks, 1, buf_str(&json), NULL, &w->e), 0);
        leave_tpm(w);
}

/* The unlock of a boot, up to the key slot. 0 or negative errno of the step that failed. */
static int unlock(struct world *w, int id)
{
        _cleanup_(secret_free_p) struct secret *secret = NULL, *passphrase = NULL;
        _cleanup_(token_free_p) struct token *token = NULL;
        uint64_t before;
        int r;

        enter_tpm(w);
        open_volume(w);
        r = luks_check_header(w->luks, LABEL, &w->e);
        if (r >= 0)
                r = luks_get_token(w->luks, id, &token, &w->e);
        before = tpm_command_count(w->tpm);
        if (r >= 0)
                r = seal_open(w->tpm, token, w->pin, test_find_signature, &w->signer, &secret,
                              &w->e);
        print_message("%u TPM commands: %s\n", (unsigned)(tpm_command_count(w->tpm) - before),
                      r < 0 ? w->e.text : "open");
        leave_tpm(w);
        if (r < 0)
                return r;
        passphrase = secret_base64(secret);
        return luks_test_secret(w->luks, token->keyslot, passphrase, &w->e);
}

/* --- ours, opened by systemd --- */

static void test_ours(void **state)
{
        struct world *w = *state;

        enrol(w, PCR11, PCR7);
        assert_int_equal(unlock(w, 1), 0);
        assert_int_equal(run_plugin(w, 1), 0);
        measure(w, 11, "tb-agent-handover");
        assert_int_not_equal(run_plugin(w, 1), 0);
        assert_int_equal(unlock(w, 1), -ENOSTR);
}

static void test_ours_pcr7(void **state)
{
        struct world *w = *state;

        enrol(w, PCR11, PCR7);
        measure(w, 7, "SecureBoot off");
        assert_int_not_equal(run_plugin(w, 1), 0);
        assert_int_equal(unlock(w, 1), -EPERM);
}

static void test_ours_signed_only(void **state)
{
        struct world *w = *state;

        enrol(w, PCR11, 0);
        measure(w, 7, "does not matter");
        assert_int_equal(run_plugin(w, 1), 0);
        assert_int_equal(unlock(w, 1), 0);
}

static void give_pin(struct world *w, const char *pin)
{
        secret_free(w->pin);
        w->pin = secret_new(strlen(pin));
        assert_non_null(w->pin);
        memcpy(w->pin->data, pin, w->pin->len);
}

static void test_ours_with_pin(void **state)
{
        struct world *w = *state;

        give_pin(w, "open sesame");
        enrol(w, PCR11, PCR7);
        assert_int_not_equal(run_plugin(w, 1), 0);
        assert_int_not_equal(run_plugin_pin(w, 1, "open sesame!"), 0);
        assert_int_equal(run_plugin_pin(w, 1, "open sesame"), 0);
        assert_int_equal(unlock(w, 1), 0);
        give_pin(w, "4321");
        assert_int_equal(unlock(w, 1), -EILSEQ);
        measure(w, 7, "SecureBoot off");
        assert_int_not_equal(run_plugin_pin(w, 1, "open sesame"), 0);
        assert_int_equal(unlock(w, 1), -EPERM);
}

static void test_ours_with_pin_of_short_hash(void **state)
{
        struct world *w = *state;

        give_pin(w, PIN_ZERO);
        enrol(w, PCR11, PCR7);
        assert_int_equal(unlock(w, 1), 0);
}

static void test_ours_literal_only(void **state)
{
        struct world *w = *state;
        const struct seal_policy policy = {.literal_pcrs = PCR7, .literal_values = w->pcr7};
        _cleanup_(secret_free_p) struct secret *secret = secret_random(SEAL_SECRET_SIZE);
        _cleanup_(secret_free_p) struct secret *passphrase = secret_base64(secret);
        _cleanup_(token_free_p) struct token *token = NULL;
        _cleanup_(buf_done) struct buf json = BUF_INIT(LIMIT_TOKEN_JSON);

        enter_tpm(w);
        assert_int_equal(seal_create(w->tpm, &policy, secret, &token, &w->e), 0);
        leave_tpm(w);
        assert_int_equal(luks_add_keyslot(w->luks, NULL, passphrase, &token->keyslot, &w->e), 0);
        assert_int_equal(token_format(token, &json, &w->e), 0);
        assert_int_equal(luks_set_token(w->luks, 1, buf_str(&json), NULL, &w->e), 0);
        assert_int_equal(run_plugin(w, 1), 0);
        assert_int_equal(unlock(w, 1), 0);
        measure(w, 7, "x");
        assert_int_not_equal(run_plugin(w, 1), 0);
}

/* Commands in a trace of the pcap TCTI: every second packet is a response (pcapng block type 6). */
static unsigned count_commands(const char *path)
{
        _cleanup_(buf_done) struct buf trace = BUF_INIT(LIMIT_SMALL_FILE);
        unsigned packets = 0;

        assert_int_equal(file_read(AT_FDCWD, path, &trace), 0);
        for (size_t at = 0; at + 8 <= trace.len;) {
                uint32_t size = le32_at(trace.data + at + 4);

                packets += le32_at(trace.data + at) == 6;
                assert_true(size >= 12);
                at += size;
        }
        return packets / 2;
}

/* What systemd's plug-in needs for one volume: systemd-cryptsetup runs anew for each. */
static unsigned plugin_commands(struct world *w)
{
        char trace[96], tcti[sizeof(w->emulator->tcti)], traced[96];
        unsigned n;

        (void)snprintf(trace, sizeof(trace), "%s/trace", w->dir);
        (void)snprintf(tcti, sizeof(tcti), "%s", w->emulator->tcti);
        (void)snprintf(traced, sizeof(traced), "pcap:%s", tcti);
        (void)snprintf(w->emulator->tcti, sizeof(w->emulator->tcti), "%.63s", traced);
        assert_int_equal(setenv("TCTI_PCAP_FILE", trace, 1), 0);
        assert_int_equal(run_plugin(w, 1), 0);
        (void)snprintf(w->emulator->tcti, sizeof(w->emulator->tcti), "%s", tcti);
        n = count_commands(trace);
        (void)unlink(trace);
        return n;
}

/* Both volumes of a boot, over one connection: primary key and approved policy are made once. */
static unsigned boot_commands(struct world *w)
{
        _cleanup_(token_free_p) struct token *token = NULL;
        uint64_t n;

        enter_tpm(w);
        open_volume(w);
        assert_int_equal(luks_get_token(w->luks, 1, &token, &w->e), 0);
        n = tpm_command_count(w->tpm);
        for (int volume = 0; volume < 2; volume++) {
                _cleanup_(secret_free_p) struct secret *secret = NULL;

                assert_int_equal(seal_open(w->tpm, token, w->pin, test_find_signature, &w->signer,
                                           &secret, &w->e),
                                 0);
        }
        n = tpm_command_count(w->tpm) - n;
        leave_tpm(w);
        return (unsigned)n;
}

/* The bench reads these lines. */
static void test_fewer_commands(void **state)
{
        struct world *w = *state;
        unsigned theirs, ours;

        enrol(w, PCR11, PCR7);
        theirs = plugin_commands(w) + plugin_commands(w);
        ours = boot_commands(w);
        print_message("systemd, two volumes: %u TPM commands\n", theirs);
        print_message("boot stage, two volumes: %u TPM commands\n", ours);
        assert_true(ours < theirs);
        assert_true(ours <= 20);
        assert_int_equal(unlock(w, 1), 0); /* a connection of its own, as for one volume */
}

/* --- systemd's, opened here --- */

static void test_theirs(void **state)
{
        struct world *w = *state;

        assert_int_equal(run_cryptenroll(w, "7", true), 0);
        assert_int_equal(run_plugin(w, 1), 0); /* the rig works */
        assert_int_equal(unlock(w, 1), 0);
        measure(w, 11, "tb-agent-handover");
        assert_int_equal(unlock(w, 1), -ENOSTR);
}

static void test_theirs_pcr7(void **state)
{
        struct world *w = *state;

        assert_int_equal(run_cryptenroll(w, "7", true), 0);
        assert_int_equal(unlock(w, 1), 0);
        measure(w, 7, "SecureBoot off");
        assert_int_equal(unlock(w, 1), -EPERM);
}

static void test_theirs_literal_only(void **state)
{
        struct world *w = *state;

        assert_int_equal(run_cryptenroll(w, "7+11", false), 0);
        assert_int_equal(unlock(w, 1), 0);
        assert_int_equal(w->signer.calls, 0);
        measure(w, 11, "x");
        assert_int_equal(unlock(w, 1), -EPERM);
}

static void test_theirs_signed_only(void **state)
{
        struct world *w = *state;

        assert_int_equal(run_cryptenroll(w, "", true), 0);
        assert_int_equal(unlock(w, 1), 0);
        w->signer.key = NULL;
        assert_int_equal(unlock(w, 1), -ENOKEY);
}

static void test_theirs_with_pin(void **state)
{
        struct world *w = *state;

        assert_int_equal(run_cryptenroll_pin(w, "7", true, "open sesame"), 0);
        assert_int_equal(run_plugin_pin(w, 1, "open sesame"), 0); /* the rig works */
        assert_int_equal(unlock(w, 1), -ENOANO);
        give_pin(w, "open sesame!");
        assert_int_equal(unlock(w, 1), -EILSEQ);
        give_pin(w, "open sesame");
        assert_int_equal(unlock(w, 1), 0);
}

/* Enrolled on another machine. */
static void test_theirs_other_tpm(void **state)
{
        struct world *w = *state;
        _cleanup_(swtpm_stop_p) struct swtpm *first = NULL;

        assert_int_equal(run_cryptenroll(w, "7", true), 0);
        first = w->emulator;
        w->emulator = NULL;
        start_machine(w);
        assert_int_equal(unlock(w, 1), -EREMOTE);
}

static int group_setup(void **state)
{
        (void)state;
        key = test_key_new(2048);
        return 0;
}

static int group_teardown(void **state)
{
        (void)state;
        test_key_free(key);
        return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                TEST(test_ours),
                TEST(test_ours_pcr7),
                TEST(test_ours_signed_only),
                TEST(test_ours_with_pin),
                TEST(test_ours_with_pin_of_short_hash),
                TEST(test_ours_literal_only),
                TEST(test_fewer_commands),
                TEST(test_theirs),
                TEST(test_theirs_pcr7),
                TEST(test_theirs_literal_only),
                TEST(test_theirs_signed_only),
                TEST(test_theirs_with_pin),
                TEST(test_theirs_other_tpm),
        };

        if (argc >= 6 && strcmp(argv[1], "plugin") == 0)
                return plugin_main(argv);
        if (argc == 2)
                cmocka_set_test_filter(argv[1]);
        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
