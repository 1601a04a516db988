/* SPDX-License-Identifier: Apache-2.0 */
/* Engines are deprecated in OpenSSL 3, and what Debian 12 has for PKCS #11 is one. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "image/token.h"

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <stdlib.h>
#include <string.h>

#define PROVIDER_NAME "pkcs11"
#define ENGINE_NAME "pkcs11"

bool token_is_uri(const char *text)
{
        return strncmp(text, TOKEN_SCHEME, strlen(TOKEN_SCHEME)) == 0;
}

int token_check_uri(const char *uri, struct error *e)
{
        const char *query = strchr(uri, '?');

        if (!query || !strstr(query, "pin-value="))
                return 0;
        error_set(e, ERROR_USAGE, EINVAL, "a PIN in the name of a key is no secret any more");
        error_advise(e, "put it into a file, and name that: pin-source=file:/...");
        return -EINVAL;
}

/* Nobody is at the terminal of a build. */
static int no_answer(UI *ui, UI_STRING *question)
{
        (void)ui;
        (void)question;
        return 0;
}

/* Modules keep it, for the next time they want to be let in. */
static UI_METHOD *silence(void)
{
        static UI_METHOD *m;

        if (!m)
                m = UI_create_method("none");
        if (m)
                (void)UI_method_set_reader(m, no_answer);
        return m;
}

/* NULL: there is no such key. */
static EVP_PKEY *by_provider(const char *uri, UI_METHOD *ui)
{
        OSSL_STORE_CTX *store = OSSL_STORE_open(uri, ui, NULL, NULL, NULL);
        EVP_PKEY *key = NULL;

        while (store && !key && !OSSL_STORE_eof(store)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(store);

                if (!info)
                        break;
                if (OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
                        key = OSSL_STORE_INFO_get1_PKEY(info);
                OSSL_STORE_INFO_free(info);
        }
        if (store)
                (void)OSSL_STORE_close(store);
        ERR_clear_error();
        return key;
}

/*
 * One of OpenSSL's configuration, or the one that usually has the name. It stays until the program
 * ends, as keys refer to it, and beside the default one. The variable of the engine names the
 * module for both.
 */
static bool has_provider(void)
{
        const char *module = getenv("PKCS11_MODULE_PATH");
        bool has;

        if (module && setenv("PKCS11_PROVIDER_MODULE", module, 0) < 0)
                return false;
        has = OSSL_PROVIDER_available(NULL, PROVIDER_NAME) == 1 ||
              OSSL_PROVIDER_try_load(NULL, PROVIDER_NAME, 1) != NULL;
        ERR_clear_error();
        return has;
}

/* The engine stays until the program ends: keys refer to it. */
static ENGINE *start_engine(void)
{
        ENGINE *engine;

        if (OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, NULL) != 1)
                return NULL;
        engine = ENGINE_by_id(ENGINE_NAME);
        if (!engine)
                return NULL;
        if (ENGINE_init(engine) != 1) {
                ENGINE_free(engine);
                return NULL;
        }
        return engine;
}

static int by_engine(const char *uri, UI_METHOD *ui, EVP_PKEY **ret, struct error *e)
{
        ENGINE *engine = start_engine();
        int r;

        if (!engine) {
                r = error_set(e, ERROR_CONFIG, EOPNOTSUPP, "OpenSSL knows no keys in tokens here");
                error_advise(e, "install a provider or the engine for PKCS #11: pkcs11-provider or "
                                "libengine-pkcs11-openssl");
                return r;
        }
        *ret = ENGINE_load_private_key(engine, uri, ui, NULL);
        (void)ENGINE_finish(engine);
        ENGINE_free(engine);
        return 0;
}

/* Only one of the two is asked: a wrong PIN would count twice, and tokens lock after a few. */
int token_private(const char *uri, EVP_PKEY **ret, struct error *e)
{
        UI_METHOD *ui = silence();
        EVP_PKEY *key = NULL;
        int r = token_check_uri(uri, e);

        if (r < 0) {
                if (e)
                        e->class = ERROR_CONFIG; /* it stands in a file */
                return r;
        }
        if (!ui)
                return error_oom(e);
        if (has_provider())
                key = by_provider(uri, ui);
        else
                r = by_engine(uri, ui, &key, e);
        if (r == 0 && !key) {
                r = error_set(e, ERROR_CONFIG, ENOENT, "no token gives this key");
                error_advise(e, "check token and object in the URI, its pin-source, and that the "
                                "module of the token is known (PKCS11_MODULE_PATH)");
        }
        if (r == 0)
                *ret = key;
        return r;
}
