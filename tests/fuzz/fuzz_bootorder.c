/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's list of boot entries, and the plan for it. Input: length and value of BootOrder,
 * then number, length and value of each Boot####. A plan leaves foreign entries in their order, and
 * when it was carried out the next plan has nothing to do.
 */
#include "base/num.h"
#include "efivars/bootorder.h"
#include "tests/fuzz/fuzz.h"

#define UUID "0b1fd3c5-7a2e-4c11-9d00-aabbccddeeff"

static const struct bootorder_entry ours = {
        .disk = {.number = 1, .start = 2048, .size = 8192, .uuid = UUID},
        .path = "EFI/systemd/systemd-bootx64.efi",
        .description = "demo",
};
static const char gone[][LOADOPT_UUID_SIZE] = {"11111111-7a2e-4c11-9d00-aabbccddeeff"};

/* Length in two bytes, and as many bytes as there are. */
static size_t take(const uint8_t **p, size_t *n, const uint8_t **ret)
{
        size_t size = *n >= 2 ? le16_at(*p) : 0;

        *p += *n >= 2 ? 2 : *n;
        *n -= *n >= 2 ? 2 : *n;
        if (size > *n)
                size = *n;
        *ret = *p;
        *p += size;
        *n -= size;
        return size;
}

static void read_world(const uint8_t *p, size_t n, struct bootorder *b)
{
        const uint8_t *value;
        size_t size = take(&p, &n, &value);

        /* What makes no sense is an empty list here. */
        if (bootorder_set_order(b, value, size) < 0)
                b->n_order = 0;
        while (n >= 2) {
                uint16_t number = le16_at(p);
                bool known = false;

                p += 2;
                n -= 2;
                size = take(&p, &n, &value);
                for (size_t i = 0; i < b->n; i++)
                        known = known || b->items[i].number == number;
                if (!known && bootorder_add(b, number, value, size) < 0)
                        return;
        }
}

static bool is_removed(const struct bootorder_plan *p, uint16_t number)
{
        for (size_t i = 0; i < p->n_removed; i++)
                if (p->removed[i] == number)
                        return true;
        return false;
}

/* What the variables are after the plan. */
static void carry_out(const struct bootorder *b, const struct bootorder_plan *p,
                      struct bootorder *after)
{
        for (size_t i = 0; i < b->n; i++) {
                const struct loadopt *o = b->items[i].option;
                _cleanup_(buf_done) struct buf value = BUF_INIT(LIMIT_LOAD_OPTION);

                if (is_removed(p, b->items[i].number) ||
                    (p->write_entry && b->items[i].number == p->number))
                        continue;
                /* One that cannot be written again is none of ours, and malformed from now on. */
                if (o && loadopt_disk(o) && loadopt_path(o) &&
                    loadopt_format(loadopt_attributes(o), loadopt_description(o), loadopt_disk(o),
                                   loadopt_path(o), &value) < 0)
                        buf_reset(&value);
                FUZZ_CHECK(bootorder_add(after, b->items[i].number, value.data, value.len) == 0);
        }
        if (p->write_entry)
                FUZZ_CHECK(bootorder_add(after, p->number, p->value.data, p->value.len) == 0);
        after->n_order = p->write_order ? p->n_order : b->n_order;
        memcpy(after->order, p->write_order ? p->order : b->order,
               after->n_order * sizeof(after->order[0]));
}

static void check_order(const struct bootorder *b, const struct bootorder_plan *p)
{
        size_t at = 1;

        FUZZ_CHECK(p->n_order > 0 && p->order[0] == p->number);
        for (size_t i = 0; i < b->n_order; i++) {
                if (b->order[i] == p->number || is_removed(p, b->order[i]))
                        continue;
                FUZZ_CHECK(at < p->n_order && p->order[at++] == b->order[i]);
        }
        FUZZ_CHECK(at == p->n_order);
}

static void check_removed(const struct bootorder *b, const struct bootorder_plan *p)
{
        for (size_t i = 0; i < b->n; i++) {
                const struct loadopt *o = b->items[i].option;

                FUZZ_CHECK(!is_removed(p, b->items[i].number) ||
                           (o && (loadopt_starts(o, UUID, ours.path) ||
                                  loadopt_starts(o, gone[0], ours.path))));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(bootorder_done) struct bootorder b = {.n = 0}, after = {.n = 0};
        _cleanup_(bootorder_plan_done) struct bootorder_plan p = {.n_order = 0}, again = p;
        struct error e = ERROR_INIT;

        read_world(data, size, &b);
        if (bootorder_plan(&b, &ours, BOOTORDER_MAKE_FIRST, gone, ARRAY_SIZE(gone), &p, &e) < 0)
                return 0;
        check_removed(&b, &p);
        check_order(&b, &p);
        if (b.n >= LIMIT_BOOT_ORDER)
                return 0;
        carry_out(&b, &p, &after);
        FUZZ_CHECK(bootorder_find(&after, UUID, ours.path, NULL) == BOOTORDER_FIRST);
        FUZZ_CHECK(bootorder_plan(&after, &ours, BOOTORDER_MAKE_FIRST, gone, ARRAY_SIZE(gone),
                                  &again, &e) == 0);
        FUZZ_CHECK(!again.write_entry && !again.write_order && again.n_removed == 0);
        bootorder_plan_done(&again);
        FUZZ_CHECK(bootorder_plan(&after, &ours, BOOTORDER_REPAIR, NULL, 0, &again, &e) == 0);
        FUZZ_CHECK(!again.write_entry && !again.write_order && again.n_removed == 0);
        return 0;
}
