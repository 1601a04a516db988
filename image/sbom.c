/* SPDX-License-Identifier: Apache-2.0 */
#include "image/sbom.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "image/output.h"

enum field {
        FIELD_NAME,
        FIELD_VERSION,
        FIELD_ARCHITECTURE,
        FIELD_STATUS, /* of dpkg: packages that were removed are listed, too */
        FIELD_MAX,
};

static const struct database {
        const char *pattern;
        const char *type; /* of the package URL */
        const char *key[FIELD_MAX];
} databases[] = {
        {"var/lib/dpkg/status", "deb", {"Package: ", "Version: ", "Architecture: ", "Status: "}},
        {"var/lib/dpkg/status.d/*",
         "deb",
         {"Package: ", "Version: ", "Architecture: ", "Status: "}},
        {"lib/apk/db/installed", "apk", {"P:", "V:", "A:", NULL}},
        {"usr/lib/apk/db/installed", "apk", {"P:", "V:", "A:", NULL}},
};

struct sbom {
        const struct sbom_subject *subject;
        struct json_object *components; /* borrowed */
        unsigned n;
};

/* A value, and how long it is; not ended by a NUL. */
struct text {
        const char *at;
        size_t n;
};

/* --- one package --- */

/* Percent-encoded, as package URLs want it. */
static int add_encoded(struct buf *b, const struct text *t)
{
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789.-_~:";
        int r = 0;

        for (size_t i = 0; i < t->n && r == 0; i++)
                r = t->at[i] != '\0' && strchr(plain, t->at[i])
                            ? buf_add(b, t->at + i, 1)
                            : buf_printf(b, "%%%02X", (unsigned)(uint8_t)t->at[i]);
        return r;
}

static int make_url(const struct sbom *s, const struct database *d,
                    const struct text field[FIELD_MAX], struct buf *url)
{
        const char *distribution = s->subject->distribution;
        int r = buf_printf(url, "pkg:%s/%s%s", d->type, distribution ? distribution : "",
                           distribution ? "/" : "");

        if (r == 0)
                r = add_encoded(url, &field[FIELD_NAME]);
        if (r == 0)
                r = buf_add_str(url, "@");
        if (r == 0)
                r = add_encoded(url, &field[FIELD_VERSION]);
        if (r == 0 && field[FIELD_ARCHITECTURE].n > 0)
                r = buf_add_str(url, "?arch=");
        return r == 0 ? add_encoded(url, &field[FIELD_ARCHITECTURE]) : r;
}

static int add_text(struct json_object *o, const char *key, const struct text *t)
{
        _cleanup_free_ char *copy = strndup(t->at, t->n);

        return copy ? json_add_str(o, key, copy) : -ENOMEM;
}

static int add_package(struct sbom *s, const struct database *d, const struct text field[FIELD_MAX])
{
        _cleanup_(buf_done) struct buf url = BUF_INIT(LIMIT_URL);
        _cleanup_json_ struct json_object *o = NULL;
        const struct text *status = &field[FIELD_STATUS];
        int r;

        if (field[FIELD_NAME].n == 0 || field[FIELD_VERSION].n == 0)
                return 0;
        if (status->n > 0 && !memmem(status->at, status->n, " installed", 10))
                return 0;
        r = make_url(s, d, field, &url);
        o = json_object_new_object();
        if (r == 0)
                r = json_add_str(o, "type", "library");
        if (r == 0)
                r = json_add_str(o, "bom-ref", buf_str(&url));
        if (r == 0)
                r = add_text(o, "name", &field[FIELD_NAME]);
        if (r == 0)
                r = add_text(o, "version", &field[FIELD_VERSION]);
        if (r == 0)
                r = json_add_str(o, "purl", buf_str(&url));
        if (r < 0)
                return r;
        s->n++;
        return json_append(s->components, TAKE_PTR(o));
}

/* Records of lines, with an empty one between. */
static int read_records(struct sbom *s, const struct database *d, const char *text, size_t n)
{
        struct text field[FIELD_MAX] = {{NULL, 0}};
        const char *end = text + n;
        int r = 0;

        while (text < end && r == 0) {
                const char *newline = memchr(text, '\n', (size_t)(end - text));
                size_t line = (size_t)((newline ? newline : end) - text);

                for (unsigned i = 0; i < FIELD_MAX && line > 0; i++) {
                        size_t key = d->key[i] ? strlen(d->key[i]) : 0;

                        if (key > 0 && line >= key && memcmp(text, d->key[i], key) == 0)
                                field[i] = (struct text){text + key, line - key};
                }
                text += line + (newline != NULL);
                if (line == 0 || text >= end) {
                        r = add_package(s, d, field);
                        memset(field, 0, sizeof(field));
                }
        }
        return r;
}

/* --- all of them --- */

static int read_database(struct sbom *s, const struct tree *t, const struct database *d,
                         const struct tree_entry *entry, struct error *e)
{
        _cleanup_(buf_done) struct buf text = BUF_INIT(LIMIT_PACKAGE_DATABASE);
        _cleanup_close_ int fd = tree_open(t, entry, e);
        uint8_t *room;
        ssize_t n;

        if (fd < 0)
                return fd;
        if (entry->size > LIMIT_PACKAGE_DATABASE)
                return error_set(e, ERROR_CONFIG, E2BIG, "%s is too large", entry->path);
        if (buf_reserve(&text, (size_t)entry->size, &room) < 0)
                return error_oom(e);
        n = file_pread(fd, room, (size_t)entry->size, entry->offset);
        if (n < 0)
                return error_errno(e, (int)-n, "cannot read %s", entry->path);
        buf_commit(&text, (size_t)n);
        return read_records(s, d, buf_str(&text), text.len) < 0 ? error_oom(e) : 0;
}

static int read_databases(struct sbom *s, const struct tree *t, struct error *e)
{
        const struct tree_entry *entry;
        bool any = false;
        int r = 0;

        for (size_t i = 0; r == 0 && (entry = tree_at(t, i)); i++)
                for (size_t k = 0; r == 0 && S_ISREG(entry->mode) && k < ARRAY_SIZE(databases);
                     k++) {
                        if (fnmatch(databases[k].pattern, entry->path, FNM_PATHNAME) != 0 ||
                            fnmatch("*.md5sums", entry->path, 0) == 0)
                                continue;
                        any = true;
                        r = read_database(s, t, &databases[k], entry, e);
                }
        if (r == 0 && !any)
                r = error_set(e, ERROR_CONFIG, ENOENT,
                              "the root has no list of packages that is known here (of dpkg or "
                              "apk)");
        return r;
}

static int add_image(struct json_object *metadata, const struct sbom_subject *subject)
{
        struct json_object *component = json_object_new_object(), *hash = json_object_new_object(),
                           *hashes = json_object_new_array();
        int r = json_add_obj(metadata, "component", component);

        if (r == 0)
                r = json_add_str(component, "type", "operating-system");
        if (r == 0)
                r = json_add_str(component, "name", subject->name ? subject->name : "unknown");
        if (r == 0 && subject->version)
                r = json_add_str(component, "version", subject->version);
        if (json_append(hashes, hash) < 0 || json_add_str(hash, "alg", "SHA-256") < 0 ||
            json_add_str(hash, "content", subject->sha256) < 0)
                r = -ENOMEM;
        return json_add_obj(component, "hashes", hashes) < 0 ? -ENOMEM : r;
}

static struct json_object *new_document(const struct sbom_subject *subject,
                                        struct json_object **ret_components)
{
        _cleanup_json_ struct json_object *root = json_object_new_object();
        struct json_object *metadata = json_object_new_object(),
                           *components = json_object_new_array();
        time_t t = (time_t)subject->epoch;
        struct tm tm = {0};
        char when[32];
        int r;

        (void)gmtime_r(&t, &tm);
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
        r = json_add_str(root, "bomFormat", "CycloneDX");
        if (r == 0)
                r = json_add_str(root, "specVersion", "1.5");
        if (r == 0)
                r = json_add_u64(root, "version", 1);
        if (json_add_obj(root, "metadata", metadata) < 0)
                r = -ENOMEM;
        if (r == 0)
                r = json_add_str(metadata, "timestamp", when);
        if (r == 0)
                r = add_image(metadata, subject);
        if (json_add_obj(root, "components", components) < 0)
                r = -ENOMEM;
        *ret_components = components;
        return r < 0 ? NULL : TAKE_PTR(root);
}

int sbom_write(const struct tree *t, const struct sbom_subject *subject, const char *path,
               unsigned *ret_n, struct error *e)
{
        _cleanup_(output_free_p) struct output *output = NULL;
        _cleanup_json_ struct json_object *root = NULL;
        struct sbom s = {.subject = subject};
        const char *text;
        int r;

        root = new_document(subject, &s.components);
        if (!root)
                return error_oom(e);
        r = read_databases(&s, t, e);
        if (r < 0)
                return r;
        text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE);
        if (!text)
                return error_oom(e);
        r = output_open(path, &output, e);
        if (r < 0)
                return r;
        r = file_write(output_fd(output), text, strlen(text));
        if (r == 0)
                r = file_write(output_fd(output), "\n", 1);
        if (r < 0)
                return error_errno(e, -r, "cannot write %s", path);
        *ret_n = s.n;
        return output_commit(output, e);
}
