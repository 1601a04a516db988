/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A boot partition that is only a model: entries, images and free space, with the steps of a plan
 * carried out whole or half, and what systemd-boot would make of it. For planning in very many
 * situations; the same with files is in test_slots_faults.c.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "upgrade/slots.h"

#define WORLD_ENTRIES 16u
#define WORLD_IMAGES 16u
#define WORLD_IMAGE_SIZE 100u
#define WORLD_MISSING 70u /* number of an image that does not exist */
#define WORLD_FOREIGN 80u /* an image that is not ours: "/EFI/kairos/active.efi" */

struct world_image {
        uint32_t number;
        uint8_t content; /* what it holds: digest and version follow from it */
        bool complete;
        char file[ENTRY_IMAGE_NAME_SIZE];
};

struct world_entry {
        struct entry_file file;
        bool blocks; /* cannot be read: nobody knows which image it names */
};

struct world {
        struct world_entry entry[WORLD_ENTRIES];
        size_t n_entries;
        struct world_image image[WORLD_IMAGES];
        size_t n_images;
        uint64_t available;
        enum entry_role running;
        bool running_confirmed;
        uint32_t running_image; /* 0 = unknown */
};

/* --- images ---------------------------------------------------------------------------------- */

static inline struct world_image *world_image(struct world *w, uint32_t number)
{
        for (size_t i = 0; i < w->n_images; i++) {
                if (w->image[i].number == number)
                        return &w->image[i];
        }
        return NULL;
}

static inline struct world_image *world_add_image(struct world *w, uint32_t number, uint8_t content,
                                                  bool complete)
{
        struct world_image *image = world_image(w, number);

        if (!image) {
                assert_true(w->n_images < WORLD_IMAGES);
                image = &w->image[w->n_images++];
        }
        *image = (struct world_image){.number = number, .content = content, .complete = complete};
        assert_int_equal(entry_image_name_format(number, image->file), 0);
        return image;
}

static inline void world_drop_image(struct world *w, uint32_t number)
{
        struct world_image *image = world_image(w, number);

        if (!image)
                return;
        *image = w->image[--w->n_images];
        w->available += WORLD_IMAGE_SIZE;
}

static inline void world_digest(uint8_t content, uint8_t ret[SHA256_SIZE])
{
        memset(ret, content, SHA256_SIZE);
}

/* --- entries --------------------------------------------------------------------------------- */

static inline struct world_entry *world_entry(struct world *w, const char *file)
{
        for (size_t i = 0; i < w->n_entries; i++) {
                if (strcmp(w->entry[i].file.file, file) == 0)
                        return &w->entry[i];
        }
        return NULL;
}

/* Number of the image an entry names; WORLD_FOREIGN, or 0 for none. */
static inline uint32_t world_named(const struct entry_file *f)
{
        const char *name = strrchr(f->entry.image, '/');
        uint32_t number;

        if (!f->valid || !name)
                return 0;
        return entry_image_name_parse(name + 1, &number) == 0 ? number : WORLD_FOREIGN;
}

static inline void world_set_entry(struct world *w, const char *file, const struct entry *entry)
{
        struct world_entry *e = world_entry(w, file);
        struct entry_file *f;

        if (!e) {
                assert_true(w->n_entries < WORLD_ENTRIES);
                e = &w->entry[w->n_entries++];
        }
        memset(e, 0, sizeof(*e));
        f = &e->file;
        (void)snprintf(f->file, sizeof(f->file), "%s", file);
        assert_int_equal(entry_name_parse(file, &f->name), 0);
        f->size = ENTRY_SIZE;
        if (!entry)
                return; /* torn: a name without text */
        f->entry = *entry;
        f->valid = true;
        f->image_present = world_named(f) == WORLD_FOREIGN || world_image(w, world_named(f));
}

static inline void world_make_entry(uint32_t number, uint8_t content, enum entry_role role,
                                    struct entry *ret)
{
        memset(ret, 0, sizeof(*ret));
        ret->key = ENTRY_KEY_EFI;
        (void)snprintf(ret->title, sizeof(ret->title), "System");
        if (role != ENTRY_ROLE_NONE)
                assert_int_equal(entry_set_role(ret, role), 0);
        (void)snprintf(ret->version, sizeof(ret->version), "%u", content);
        if (number == WORLD_FOREIGN) {
                (void)snprintf(ret->image, sizeof(ret->image), "/EFI/kairos/active.efi");
                return;
        }
        (void)snprintf(ret->image, sizeof(ret->image), "/EFI/kairos/usi-%08u.efi", number);
        ret->has_sha256 = true;
        world_digest(content, ret->sha256);
}

static inline void world_drop_entry(struct world *w, const char *file)
{
        struct world_entry *e = world_entry(w, file);

        if (e)
                *e = w->entry[--w->n_entries];
}

/* As esp_list_images() says it: by the text of any file, and by any file that cannot be read. */
static inline bool world_is_named(const struct world *w, uint32_t number)
{
        for (size_t i = 0; i < w->n_entries; i++) {
                if (w->entry[i].blocks || world_named(&w->entry[i].file) == number)
                        return true;
        }
        return false;
}

/* What slots_read() would find. The lists belong to the caller's scratch space. */
struct world_view {
        struct entry_file entries[WORLD_ENTRIES];
        struct esp_image images[WORLD_IMAGES];
        struct slots_situation s;
};

static inline void world_look(struct world *w, struct world_view *v)
{
        v->s = (struct slots_situation){.entries = v->entries,
                                        .n_entries = w->n_entries,
                                        .images = v->images,
                                        .n_images = w->n_images,
                                        .space = {w->available, 1},
                                        .running = w->running,
                                        .running_confirmed = w->running_confirmed};
        for (size_t i = 0; i < w->n_entries; i++) {
                struct entry_file *f = &w->entry[i].file;

                f->image_present = f->valid && (world_named(f) == WORLD_FOREIGN ||
                                                world_image(w, world_named(f)));
                v->entries[i] = *f;
                v->entries[i].unreadable = w->entry[i].blocks;
        }
        for (size_t i = 0; i < w->n_images; i++) {
                struct esp_image *image = &v->images[i];

                image->number = w->image[i].number;
                memcpy(image->file, w->image[i].file, sizeof(image->file));
                image->size = WORLD_IMAGE_SIZE; /* a partial one may be as long */
                image->named = world_is_named(w, image->number);
        }
        if (w->running_image != 0 && w->running_image != WORLD_FOREIGN)
                assert_int_equal(entry_image_name_format(w->running_image, v->s.running_image), 0);
}

/* --- what the boot loader makes of it -------------------------------------------------------- */

static inline const struct entry_file *world_select(struct world *w, struct world_view *v,
                                                    unsigned major)
{
        world_look(w, v);
        return entry_select(v->entries, v->s.n_entries, major);
}

/* Starts it: a counter goes down, and that is what runs. */
static inline void world_boot(struct world *w, unsigned major)
{
        static struct world_view v;
        const struct entry_file *best = world_select(w, &v, major);
        struct entry_name name;
        char file[NAME_MAX + 1];

        assert_non_null(best);
        name = best->name;
        w->running = name.role;
        w->running_image = world_named(best);
        w->running_confirmed = !name.counted;
        if (!name.counted)
                return;
        if (name.tries_left > 0)
                name.tries_left--;
        name.tries_done++;
        assert_int_equal(entry_name_format(&name, file), 0);
        if (strcmp(file, best->file) == 0)
                return;
        world_drop_entry(w, file);
        for (size_t i = 0; i < w->n_entries; i++) {
                struct entry_file *f = &w->entry[i].file;

                if (strcmp(f->file, best->file) != 0)
                        continue;
                (void)snprintf(f->file, sizeof(f->file), "%s", file);
                f->name = name;
                return;
        }
}
