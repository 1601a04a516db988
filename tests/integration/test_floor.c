/* SPDX-License-Identifier: Apache-2.0 */
/* The version floor on a real software TPM, and what an attacker with that TPM can do to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "partition/floor.h"
#include "partition/floor_key.h"
#include "partition/tpm_esys.h"
#include "tests/support/swtpm.h"
#include "tests/unit/scratch.h"

struct world {
        struct swtpm *emulator;
        struct tpm *tpm;
        struct scratch oem;
        struct error e;
};

static int setup(void **state)
{
        struct world *w = calloc(1, sizeof(*w));

        assert_non_null(w);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
        scratch_make(&w->oem);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;

        tpm_free(w->tpm);
        swtpm_stop(w->emulator);
        scratch_clean(&w->oem);
        free(w);
        return 0;
}

static void restart(struct world *w)
{
        tpm_free(w->tpm);
        w->tpm = NULL;
        assert_int_equal(swtpm_reboot(w->emulator), 0);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
}

static struct floor version(const char *v)
{
        struct floor f;

        assert_int_equal(floor_make("os", v, &f, NULL), 0);
        return f;
}

static int set_up(struct world *w, const char *v, bool repair)
{
        struct floor f = version(v);

        error_clear(&w->e);
        return floor_setup(w->tpm, w->oem.fd, FLOOR_FILE, &f, repair, &w->e);
}

static int raise_to(struct world *w, const char *v)
{
        struct floor f = version(v);

        error_clear(&w->e);
        return floor_raise(w->tpm, w->oem.fd, FLOOR_FILE, &f, &w->e);
}

static int clear(struct world *w)
{
        error_clear(&w->e);
        return floor_clear(w->tpm, w->oem.fd, FLOOR_FILE, &w->e);
}

/* What is found, and the floor in force ("" for none). */
static void expect(struct world *w, enum floor_finding finding, const char *effective)
{
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        struct floor_report rep;
        int r = floor_load_file(w->oem.fd, FLOOR_FILE, &s, NULL);

        assert_true(r == 0 || r == -ENOENT);
        assert_int_equal(floor_inspect(w->tpm, s, &rep, &w->e), 0);
        assert_string_equal(floor_finding_name(rep.finding), floor_finding_name(finding));
        assert_int_equal(rep.has_floor, effective[0] != '\0');
        assert_string_equal(rep.effective.version, effective);
}

/* No session or object stays behind in the TPM. */
static void expect_clean(struct world *w)
{
        static const TPM2_HANDLE ranges[] = {TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST,
                                             TPM2_ACTIVE_SESSION_FIRST};

        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
                _cleanup_esys_ TPMS_CAPABILITY_DATA *cap = NULL;

                assert_int_equal(Esys_GetCapability(w->tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE,
                                                    ESYS_TR_NONE, TPM2_CAP_HANDLES, ranges[i], 8,
                                                    NULL, &cap),
                                 0);
                assert_int_equal(cap->data.handles.count, 0);
        }
}

static void test_life(void **state)
{
        struct world *w = *state;
        struct floor f;

        assert_int_equal(floor_read(w->tpm, &f, &w->e), -ENOENT);
        assert_int_equal(raise_to(w, "1.0"), -ENOENT);
        expect(w, FLOOR_NONE, "");
        assert_int_equal(set_up(w, "1.0", false), 0);
        expect(w, FLOOR_AGREE, "1.0");
        assert_int_equal(set_up(w, "1.0", false), 0);
        assert_int_equal(raise_to(w, "1.9"), 0);
        assert_int_equal(raise_to(w, "1.10"), 0);
        expect(w, FLOOR_AGREE, "1.10");
        assert_int_equal(raise_to(w, "1.9"), -EPERM);
        assert_int_equal(w->e.class, ERROR_VERSION);
        assert_int_equal(set_up(w, "1.9", false), -EPERM);
        assert_int_equal(set_up(w, "1.9", true), -EPERM);
        expect(w, FLOOR_AGREE, "1.10");
        expect_clean(w);

        restart(w);
        expect(w, FLOOR_AGREE, "1.10");
        assert_int_equal(floor_read(w->tpm, &f, &w->e), 0);
        assert_string_equal(f.product, "os");
        assert_string_equal(f.version, "1.10");
        assert_int_equal(raise_to(w, "2"), 0);
        assert_int_equal(floor_make("other", "3", &f, NULL), 0);
        assert_int_equal(floor_raise(w->tpm, w->oem.fd, FLOOR_FILE, &f, &w->e), -EXDEV);
        expect(w, FLOOR_AGREE, "2");
        expect_clean(w);
}

/* The numbers of the headers. */
static void test_command_counts(void **state)
{
        struct world *w = *state;
        struct floor f;
        uint64_t before = tpm_command_count(w->tpm);

        assert_int_equal(floor_read(w->tpm, &f, &w->e), -ENOENT);
        assert_int_equal(tpm_command_count(w->tpm) - before, 1);
        assert_int_equal(set_up(w, "1", false), 0);
        before = tpm_command_count(w->tpm);
        assert_int_equal(floor_read(w->tpm, &f, &w->e), 0);
        assert_int_equal(tpm_command_count(w->tpm) - before, 3);
        before = tpm_command_count(w->tpm);
        assert_int_equal(raise_to(w, "2"), 0);
        assert_int_equal(tpm_command_count(w->tpm) - before, 3 + 6);
        before = tpm_command_count(w->tpm);
        assert_int_equal(raise_to(w, "2"), 0);
        assert_int_equal(tpm_command_count(w->tpm) - before, 3);
        before = tpm_command_count(w->tpm);
        assert_int_equal(clear(w), 0);
        assert_int_equal(tpm_command_count(w->tpm) - before, 2);
}

/* --- attacks with the TPM in hand, another system running --- */

static TPM2B_MAX_NV_BUFFER record_of(const char *v)
{
        TPM2B_MAX_NV_BUFFER b = {.size = FLOOR_RECORD_SIZE};
        struct floor f = version(v);

        assert_int_equal(floor_pack(&f, b.buffer), 0);
        return b;
}

static ESYS_TR find(struct world *w)
{
        ESYS_TR index = ESYS_TR_NONE;

        assert_int_equal(Esys_TR_FromTPMPublic(w->tpm->esys, FLOOR_NV_INDEX, ESYS_TR_NONE,
                                               ESYS_TR_NONE, ESYS_TR_NONE, &index),
                         0);
        return index;
}

static TSS2_RC attack_write(struct world *w, ESYS_TR by, ESYS_TR session, const char *v)
{
        const TPM2B_MAX_NV_BUFFER record = record_of(v);
        ESYS_TR index = find(w);
        TSS2_RC rc = Esys_NV_Write(w->tpm->esys, by == ESYS_TR_NONE ? index : by, index, session,
                                   ESYS_TR_NONE, ESYS_TR_NONE, &record, 0);

        assert_int_equal(Esys_TR_Close(w->tpm->esys, &index), 0);
        return rc;
}

/* The public area as anyone can read it. */
static TPM2B_NV_PUBLIC public_of(struct world *w)
{
        TPM2B_NV_PUBLIC *p = NULL, copy;
        ESYS_TR index = find(w);

        assert_int_equal(Esys_NV_ReadPublic(w->tpm->esys, index, ESYS_TR_NONE, ESYS_TR_NONE,
                                            ESYS_TR_NONE, &p, NULL),
                         0);
        copy = *p;
        Esys_Free(p);
        copy.nvPublic.attributes &= ~TPMA_NV_WRITTEN;
        assert_int_equal(Esys_TR_Close(w->tpm->esys, &index), 0);
        return copy;
}

static void attack_undefine(struct world *w)
{
        ESYS_TR index = find(w);

        assert_int_equal(Esys_NV_UndefineSpace(w->tpm->esys, ESYS_TR_RH_OWNER, index,
                                               ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE),
                         0);
}

static TSS2_RC attack_define(struct world *w, const TPM2B_NV_PUBLIC *public, const char *password)
{
        TPM2B_AUTH auth = {.size = (uint16_t)strlen(password)};
        ESYS_TR index = ESYS_TR_NONE;
        TSS2_RC rc;

        memcpy(auth.buffer, password, auth.size);
        rc = Esys_NV_DefineSpace(w->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &auth, public, &index);
        if (rc == 0)
                assert_int_equal(Esys_TR_Close(w->tpm->esys, &index), 0);
        return rc;
}

static void test_write_refused(void **state)
{
        struct world *w = *state;
        _cleanup_(floor_key_free_p) struct floor_key *other = NULL;
        const struct floor low = version("1");
        struct tpm_ref session = TPM_REF_INIT(w->tpm);

        assert_int_equal(set_up(w, "2", false), 0);
        /* As owner, by the empty password of the index, by a policy that asserts nothing. */
        assert_int_equal(tpm_rc_base(attack_write(w, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, "1")),
                         TPM2_RC_NV_AUTHORIZATION);
        assert_int_equal(tpm_rc_base(attack_write(w, ESYS_TR_NONE, ESYS_TR_PASSWORD, "1")),
                         TPM2_RC_AUTH_UNAVAILABLE);
        assert_int_equal(tpm_session(w->tpm, NULL, TPM2_SE_POLICY, 0, &session, &w->e), 0);
        assert_int_equal(tpm_rc_base(attack_write(w, ESYS_TR_NONE, session.esys, "1")),
                         TPM2_RC_POLICY_FAIL);
        tpm_ref_done(&session);
        /* With the right kind of key, but another one. */
        assert_int_equal(floor_key_new(&other, &w->e), 0);
        assert_int_equal(floor_nv_write(w->tpm, other, &low, &w->e), -EPERM);
        expect(w, FLOOR_AGREE, "2");
        expect_clean(w);
}

/* A signature overheard on the bus: for its own record and its own session only. */
static void test_signature_is_for_one_write(void **state)
{
        struct world *w = *state;
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        _cleanup_esys_ TPM2B_NONCE *nonce = NULL;
        struct tpm_ref session = TPM_REF_INIT(w->tpm), key = TPM_REF_INIT(w->tpm);
        const TPM2B_NONCE no_ref = {.size = 0};
        TPM2B_DIGEST command = {.size = SHA256_SIZE};
        uint8_t input[32 + 4 + SHA256_SIZE] = {0};
        TPMT_SIGNATURE signature;

        assert_int_equal(set_up(w, "2", false), 0);
        assert_int_equal(floor_load_file(w->oem.fd, FLOOR_FILE, &s, NULL), 0);
        assert_int_equal(Esys_LoadExternal(w->tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                           NULL, floor_key_public(s->key), ESYS_TR_RH_NULL,
                                           &key.esys),
                         0);
        assert_int_equal(tpm_session(w->tpm, NULL, TPM2_SE_POLICY, 0, &session, &w->e), 0);
        assert_int_equal(Esys_TRSess_GetNonceTPM(w->tpm->esys, session.esys, &nonce), 0);
        memset(command.buffer, 7, SHA256_SIZE); /* some other command */
        assert_int_equal(nonce->size, 32);
        memcpy(input, nonce->buffer, 32);
        memcpy(input + 36, command.buffer, SHA256_SIZE);
        assert_int_equal(floor_key_sign(s->key, input, sizeof(input), &signature), 0);
        assert_int_equal(Esys_PolicySigned(w->tpm->esys, key.esys, session.esys, ESYS_TR_NONE,
                                           ESYS_TR_NONE, ESYS_TR_NONE, nonce, &command, &no_ref, 0,
                                           &signature, NULL, NULL),
                         0);
        assert_int_equal(tpm_rc_base(attack_write(w, ESYS_TR_NONE, session.esys, "1")),
                         TPM2_RC_POLICY_FAIL);
        tpm_ref_done(&session);
        /* The same signature in a later session, which has another nonce. */
        assert_int_equal(tpm_session(w->tpm, NULL, TPM2_SE_POLICY, 0, &session, &w->e), 0);
        assert_int_equal(
                tpm_rc_base(Esys_PolicySigned(w->tpm->esys, key.esys, session.esys, ESYS_TR_NONE,
                                              ESYS_TR_NONE, ESYS_TR_NONE, nonce, &command, &no_ref,
                                              0, &signature, NULL, NULL)),
                TPM2_RC_NONCE);
        tpm_ref_done(&session);
        tpm_ref_done(&key);
        expect(w, FLOOR_AGREE, "2");
}

static void test_undefined_by_owner(void **state)
{
        struct world *w = *state;

        assert_int_equal(set_up(w, "2", false), 0);
        attack_undefine(w);
        expect(w, FLOOR_INDEX_MISSING, "2");
        assert_true(floor_finding_alarming(FLOOR_INDEX_MISSING));
        /* Neither an upgrade nor a setup heals it in silence. */
        assert_int_equal(set_up(w, "3", false), -EREMOTE);
        assert_int_equal(w->e.class, ERROR_PRECONDITION);
        assert_true(w->e.advice[0] != '\0');
        expect(w, FLOOR_INDEX_MISSING, "2");
        assert_int_equal(raise_to(w, "1"), -EPERM);
        assert_int_equal(raise_to(w, "3"), -EREMOTE);
        expect(w, FLOOR_INDEX_MISSING, "3");
        assert_int_equal(set_up(w, "2", true), -EPERM);
        assert_int_equal(set_up(w, "3", true), 0);
        expect(w, FLOOR_AGREE, "3");
        expect_clean(w);
}

static void test_defined_again(void **state)
{
        struct world *w = *state;
        TPM2B_NV_PUBLIC same, writable;

        assert_int_equal(set_up(w, "2", false), 0);
        same = writable = public_of(w);

        /* With the same public area: it stays empty, for want of the key. */
        attack_undefine(w);
        assert_int_equal(attack_define(w, &same, ""), 0);
        assert_int_not_equal(attack_write(w, ESYS_TR_NONE, ESYS_TR_PASSWORD, "1"), 0);
        expect(w, FLOOR_INDEX_EMPTY, "2");
        assert_int_equal(raise_to(w, "2.1"), -EREMOTE);
        expect(w, FLOOR_INDEX_EMPTY, "2.1");

        /* With a password, which the public area does not show. */
        attack_undefine(w);
        assert_int_equal(attack_define(w, &same, "secret"), 0);
        expect(w, FLOOR_INDEX_EMPTY, "2.1");
        assert_int_equal(set_up(w, "3", false), -EREMOTE);

        /* With attributes that let the owner write. */
        attack_undefine(w);
        writable.nvPublic.attributes |= TPMA_NV_OWNERWRITE;
        assert_int_equal(attack_define(w, &writable, ""), 0);
        assert_int_equal(attack_write(w, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, "1"), 0);
        expect(w, FLOOR_INDEX_FOREIGN, "2.1");
        assert_int_equal(raise_to(w, "2"), -EPERM);
        assert_int_equal(set_up(w, "2.1", false), -EREMOTE);
        assert_int_equal(set_up(w, "2.1", true), 0);
        expect(w, FLOOR_AGREE, "2.1");
        assert_int_equal(public_of(w).nvPublic.attributes, same.nvPublic.attributes);
}

/* The attacker makes a whole floor of his own, with his own key: right form, wrong key. */
static void test_floor_of_a_stranger(void **state)
{
        struct world *w = *state;
        _cleanup_(floor_key_free_p) struct floor_key *key = NULL;
        const struct floor low = version("1"), high = version("9");
        TPM2B_NV_PUBLIC public;

        assert_int_equal(set_up(w, "2", false), 0);
        attack_undefine(w);
        assert_int_equal(floor_key_new(&key, &w->e), 0);
        assert_int_equal(floor_nv_define(w->tpm, key, &w->e), 0);
        assert_int_equal(floor_nv_write(w->tpm, key, &low, &w->e), 0);
        expect(w, FLOOR_INDEX_FOREIGN, "2");
        assert_int_equal(raise_to(w, "1.5"), -EPERM);
        assert_int_equal(set_up(w, "2", false), -EREMOTE);
        /* Nor can he lock the node out of its upgrades. */
        assert_int_equal(floor_nv_write(w->tpm, key, &high, &w->e), 0);
        expect(w, FLOOR_INDEX_FOREIGN, "2");
        assert_int_equal(raise_to(w, "3"), -EREMOTE);
        /* Nor by one that cannot be read. */
        public = public_of(w);
        attack_undefine(w);
        assert_int_equal(attack_define(w, &public, "secret"), 0);
        assert_int_equal(floor_nv_write(w->tpm, key, &high, &w->e), 0);
        expect(w, FLOOR_INDEX_FOREIGN, "3");
        assert_int_equal(set_up(w, "3", true), 0);
        expect(w, FLOOR_AGREE, "3");
}

/* Only firmware could make an index that the owner cannot remove: the reason for the second copy.
 */
static void test_no_policy_delete_for_owners(void **state)
{
        struct world *w = *state;
        TPM2B_NV_PUBLIC public;

        assert_int_equal(set_up(w, "2", false), 0);
        public = public_of(w);
        attack_undefine(w);
        public.nvPublic.attributes |= TPMA_NV_POLICY_DELETE;
        assert_int_equal(tpm_rc_base(attack_define(w, &public, "")), TPM2_RC_ATTRIBUTES);
}

/* --- another TPM, another disk --- */

static void test_tpm_cleared(void **state)
{
        struct world *w = *state;

        assert_int_equal(set_up(w, "2", false), 0);
        assert_int_equal(Esys_Clear(w->tpm->esys, ESYS_TR_RH_LOCKOUT, ESYS_TR_PASSWORD,
                                    ESYS_TR_NONE, ESYS_TR_NONE),
                         0);
        expect(w, FLOOR_INDEX_MISSING, "2");
        assert_int_equal(set_up(w, "2", true), 0);
        expect(w, FLOOR_AGREE, "2");
}

static void test_tpm_replaced(void **state)
{
        struct world *w = *state;

        assert_int_equal(set_up(w, "2", false), 0);
        tpm_free(w->tpm);
        w->tpm = NULL;
        swtpm_stop(w->emulator);
        w->emulator = swtpm_start();
        assert_non_null(w->emulator);
        assert_int_equal(tpm_open(w->emulator->tcti, &w->tpm, &w->e), 0);
        expect(w, FLOOR_INDEX_MISSING, "2");
        assert_int_equal(raise_to(w, "1"), -EPERM);
}

static void test_old_copy_of_disk(void **state)
{
        struct world *w = *state;
        _cleanup_(buf_done) struct buf old = BUF_INIT(1 << 16);

        assert_int_equal(set_up(w, "1", false), 0);
        assert_int_equal(file_read(w->oem.fd, FLOOR_FILE, &old), 0);
        assert_int_equal(raise_to(w, "2"), 0);
        scratch_put(&w->oem, FLOOR_FILE, old.data, old.len);
        expect(w, FLOOR_FILE_BEHIND, "2");
        assert_int_equal(raise_to(w, "1.5"), -EPERM);
        assert_int_equal(set_up(w, "1.5", true), -EPERM);
        assert_int_equal(raise_to(w, "2"), 0);
        expect(w, FLOOR_AGREE, "2");

        /* Together with the removal of the index: not prevented, but seen. */
        scratch_put(&w->oem, FLOOR_FILE, old.data, old.len);
        attack_undefine(w);
        expect(w, FLOOR_INDEX_MISSING, "1");
        assert_int_equal(set_up(w, "1.5", false), -EREMOTE);
        assert_int_equal(raise_to(w, "1.5"), -EREMOTE);
        expect(w, FLOOR_INDEX_MISSING, "1.5");
}

/* --- interruptions --- */

/* The file as it is while the index is being made. */
static struct floor_state *pending(struct world *w, const char *v)
{
        struct floor f = version(v);
        struct floor_state *s = NULL;

        assert_int_equal(floor_state_new(&f, &s, NULL), 0);
        assert_int_equal(floor_store_file(w->oem.fd, FLOOR_FILE, s, NULL), 0);
        return s;
}

static void test_interrupted_setup(void **state)
{
        struct world *w = *state;

        /* 0: nothing but the file; 1: index empty; 2: index written; 3: another one, empty, of the
         * attempt before. */
        for (int step = 0; step < 4; step++) {
                _cleanup_(floor_state_free_p) struct floor_state *s = pending(w, "2"), *s2 = NULL;
                const struct floor f = version("2");

                if (step > 0)
                        assert_int_equal(floor_nv_define(w->tpm, s->key, &w->e), 0);
                if (step == 2)
                        assert_int_equal(floor_nv_write(w->tpm, s->key, &f, &w->e), 0);
                if (step == 3)
                        s2 = pending(w, "2");
                restart(w);
                expect(w, FLOOR_PENDING, "2");
                assert_int_equal(raise_to(w, "3"), -ENOENT);
                assert_int_equal(set_up(w, "1", false), -EPERM);
                assert_int_equal(set_up(w, "2", false), 0);
                expect(w, FLOOR_AGREE, "2");
                assert_int_equal(clear(w), 0);
                assert_int_equal(unlinkat(w->oem.fd, FLOOR_FILE, 0), 0);
        }
}

/* The index was raised, the file was not yet: the next run does the rest. */
static void test_interrupted_raise(void **state)
{
        struct world *w = *state;
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        const struct floor f = version("3");

        assert_int_equal(set_up(w, "2", false), 0);
        assert_int_equal(floor_load_file(w->oem.fd, FLOOR_FILE, &s, NULL), 0);
        assert_int_equal(floor_nv_write(w->tpm, s->key, &f, &w->e), 0);
        restart(w);
        expect(w, FLOOR_FILE_BEHIND, "3");
        assert_int_equal(raise_to(w, "2"), -EPERM);
        assert_int_equal(raise_to(w, "3"), 0);
        expect(w, FLOOR_AGREE, "3");
}

/* Whoever has the key writes what he likes; the file still counts. */
static void test_index_behind(void **state)
{
        struct world *w = *state;
        _cleanup_(floor_state_free_p) struct floor_state *s = NULL;
        const struct floor f = version("1");

        assert_int_equal(set_up(w, "2", false), 0);
        assert_int_equal(floor_load_file(w->oem.fd, FLOOR_FILE, &s, NULL), 0);
        assert_int_equal(floor_nv_write(w->tpm, s->key, &f, &w->e), 0);
        expect(w, FLOOR_INDEX_BEHIND, "2");
        assert_int_equal(raise_to(w, "1"), -EPERM);
        assert_int_equal(raise_to(w, "2"), 0);
        expect(w, FLOOR_AGREE, "2");
}

/* --- the operator --- */

static void test_clear(void **state)
{
        struct world *w = *state;

        assert_int_equal(clear(w), 0);
        expect(w, FLOOR_NONE, "");
        assert_int_equal(set_up(w, "2", false), 0);
        assert_int_equal(clear(w), 0);
        expect(w, FLOOR_CLEARED, "");
        assert_int_equal(clear(w), 0);
        assert_int_equal(raise_to(w, "3"), -ENOENT);
        assert_int_equal(set_up(w, "1", false), 0);
        expect(w, FLOOR_AGREE, "1");
        /* Cut off after the index was removed. */
        attack_undefine(w);
        assert_int_equal(clear(w), 0);
        expect(w, FLOOR_CLEARED, "");

        scratch_put_text(&w->oem, FLOOR_FILE, "damaged");
        assert_int_equal(set_up(w, "1", false), -EBADMSG);
        assert_int_equal(raise_to(w, "1"), -EBADMSG);
        assert_int_equal(clear(w), 0);
        expect(w, FLOOR_CLEARED, "");
}

/* A new disk beside the TPM of an earlier installation. */
static void test_installed_again(void **state)
{
        struct world *w = *state;
        struct floor other;

        assert_int_equal(set_up(w, "2", false), 0);
        assert_int_equal(unlinkat(w->oem.fd, FLOOR_FILE, 0), 0);
        expect(w, FLOOR_INDEX_UNCLAIMED, "2");
        assert_int_equal(set_up(w, "1", false), -EPERM);
        assert_int_equal(set_up(w, "1", true), -EPERM);
        assert_int_equal(floor_make("other", "3", &other, NULL), 0);
        assert_int_equal(floor_setup(w->tpm, w->oem.fd, FLOOR_FILE, &other, false, &w->e), -EXDEV);
        assert_false(file_exists(w->oem.fd, FLOOR_FILE));
        expect(w, FLOOR_INDEX_UNCLAIMED, "2");
        assert_int_equal(set_up(w, "2.1", false), 0);
        expect(w, FLOOR_AGREE, "2.1");
}

/* The handle is taken by something that has nothing to do with floors. */
static void test_handle_in_use(void **state)
{
        struct world *w = *state;
        const TPM2B_NV_PUBLIC public = {
                .nvPublic = {.nvIndex = FLOOR_NV_INDEX,
                             .nameAlg = TPM2_ALG_SHA256,
                             .attributes = TPMA_NV_OWNERREAD | TPMA_NV_OWNERWRITE,
                             .dataSize = 8},
        };
        struct floor f;

        assert_int_equal(attack_define(w, &public, ""), 0);
        assert_int_equal(floor_read(w->tpm, &f, &w->e), -EBADMSG);
        expect(w, FLOOR_INDEX_FOREIGN, "");
        assert_int_equal(set_up(w, "1", false), -EEXIST);
        assert_true(w->e.advice[0] != '\0');
        assert_false(file_exists(w->oem.fd, FLOOR_FILE));
        assert_int_equal(set_up(w, "1", true), 0);
        expect(w, FLOOR_AGREE, "1");
}

/* With an owner password the floor can be read and raised; only making one needs the owner. */
static void test_owner_password(void **state)
{
        struct world *w = *state;
        const TPM2B_AUTH password = {.size = 3, .buffer = "abc"};

        assert_int_equal(set_up(w, "1", false), 0);
        assert_int_equal(Esys_HierarchyChangeAuth(w->tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD,
                                                  ESYS_TR_NONE, ESYS_TR_NONE, &password),
                         0);
        restart(w);
        expect(w, FLOOR_AGREE, "1");
        assert_int_equal(raise_to(w, "2"), 0);
        expect(w, FLOOR_AGREE, "2");
        assert_int_equal(clear(w), -EACCES);
        expect(w, FLOOR_AGREE, "2");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_life, setup, teardown),
                cmocka_unit_test_setup_teardown(test_command_counts, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signature_is_for_one_write, setup, teardown),
                cmocka_unit_test_setup_teardown(test_undefined_by_owner, setup, teardown),
                cmocka_unit_test_setup_teardown(test_defined_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_floor_of_a_stranger, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_policy_delete_for_owners, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tpm_cleared, setup, teardown),
                cmocka_unit_test_setup_teardown(test_tpm_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(test_old_copy_of_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interrupted_setup, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interrupted_raise, setup, teardown),
                cmocka_unit_test_setup_teardown(test_index_behind, setup, teardown),
                cmocka_unit_test_setup_teardown(test_clear, setup, teardown),
                cmocka_unit_test_setup_teardown(test_installed_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_handle_in_use, setup, teardown),
                cmocka_unit_test_setup_teardown(test_owner_password, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
