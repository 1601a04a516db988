/* SPDX-License-Identifier: Apache-2.0 */
#include "partition/tpm_tcti.h"

#include <time.h>
#include <tss2/tss2_tctildr.h>

#define TCTI_MAGIC UINT64_C(0x74622d6167656e74)

static uint64_t now_us(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static struct tpm_tcti *from_context(TSS2_TCTI_CONTEXT *ctx)
{
        struct tpm_tcti *t = (struct tpm_tcti *)(void *)ctx;

        return t && t->common.magic == TCTI_MAGIC ? t : NULL;
}

static TSS2_RC tcti_transmit(TSS2_TCTI_CONTEXT *ctx, size_t size, const uint8_t *command)
{
        struct tpm_tcti *t = from_context(ctx);

        if (!t)
                return TSS2_TCTI_RC_BAD_CONTEXT;
        if (t->observer)
                t->observer(t->observer_ctx, t->inner, true, command, size);
        t->commands++;
        t->sent_us = now_us();
        return Tss2_Tcti_Transmit(t->inner, size, command);
}

static TSS2_RC tcti_receive(TSS2_TCTI_CONTEXT *ctx, size_t *size, uint8_t *response,
                            int32_t timeout)
{
        struct tpm_tcti *t = from_context(ctx);
        TSS2_RC rc;

        if (!t)
                return TSS2_TCTI_RC_BAD_CONTEXT;
        rc = Tss2_Tcti_Receive(t->inner, size, response, timeout);
        /* A call without a buffer only asks for the size. */
        if (rc == TSS2_RC_SUCCESS && response)
                t->busy_us += now_us() - t->sent_us;
        if (rc == TSS2_RC_SUCCESS && response && t->observer)
                t->observer(t->observer_ctx, t->inner, false, response, *size);
        return rc;
}

static TSS2_RC tcti_cancel(TSS2_TCTI_CONTEXT *ctx)
{
        struct tpm_tcti *t = from_context(ctx);

        return t ? Tss2_Tcti_Cancel(t->inner) : TSS2_TCTI_RC_BAD_CONTEXT;
}

static TSS2_RC tcti_poll_handles(TSS2_TCTI_CONTEXT *ctx, TSS2_TCTI_POLL_HANDLE *handles,
                                 size_t *count)
{
        struct tpm_tcti *t = from_context(ctx);

        return t ? Tss2_Tcti_GetPollHandles(t->inner, handles, count) : TSS2_TCTI_RC_BAD_CONTEXT;
}

static TSS2_RC tcti_locality(TSS2_TCTI_CONTEXT *ctx, uint8_t locality)
{
        struct tpm_tcti *t = from_context(ctx);

        return t ? Tss2_Tcti_SetLocality(t->inner, locality) : TSS2_TCTI_RC_BAD_CONTEXT;
}

/* The owner frees with tpm_tcti_free(), never through the table. */
static void tcti_finalize(TSS2_TCTI_CONTEXT *ctx)
{
        (void)ctx;
}

int tpm_tcti_open(const char *conf, struct tpm_tcti **ret, struct error *e)
{
        _cleanup_(tpm_tcti_free_p) struct tpm_tcti *t = calloc(1, sizeof(*t));
        TSS2_RC rc;

        if (!t)
                return error_oom(e);
        t->common = (TSS2_TCTI_CONTEXT_COMMON_V1){
                .magic = TCTI_MAGIC,
                .version = 1,
                .transmit = tcti_transmit,
                .receive = tcti_receive,
                .finalize = tcti_finalize,
                .cancel = tcti_cancel,
                .getPollHandles = tcti_poll_handles,
                .setLocality = tcti_locality,
        };
        rc = Tss2_TctiLdr_Initialize(conf, &t->inner);
        if (rc != TSS2_RC_SUCCESS) {
                t->inner = NULL;
                (void)error_set(e, ERROR_PRECONDITION, ENODEV, "no TPM at %s (0x%x)", conf, rc);
                if (strncmp(conf, "device:", strlen("device:")) == 0)
                        error_advise(e, "check that a TPM 2.0 is present and enabled in the "
                                        "firmware setup");
                else
                        error_advise(e, "give a TCTI as tpm2-tss writes it, such as "
                                        "device:/dev/tpmrm0 or swtpm:host=...,port=...");
                return -ENODEV;
        }
        *ret = TAKE_PTR(t);
        return 0;
}

void tpm_tcti_free(struct tpm_tcti *t)
{
        if (!t)
                return;
        if (t->inner)
                Tss2_TctiLdr_Finalize(&t->inner);
        free(t);
}
