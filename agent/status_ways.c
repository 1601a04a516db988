/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/status_ways.h"

#include <stdio.h>

#include "agent/report.h"
#include "agent/ways.h"

static int add_volume(struct json_object *array, const struct ways_volume *v)
{
        struct json_object *o = json_object_new_object();
        unsigned tokens = 0, keys = 0, unnamed = (unsigned)__builtin_popcount(v->unnamed);
        int r = json_append(array, o);

        for (unsigned i = 0; i < v->n; i++) {
                tokens += v->way[i].token != NULL;
                keys += v->way[i].state == WAY_RECOVERY_KEY;
        }
        if (r == 0)
                r = json_add_str(o, "name", v->volume->partition->name);
        if (r == 0)
                r = json_add_u64(o, "tpm_tokens", tokens);
        if (r == 0)
                r = json_add_u64(o, "recovery_keys", keys);
        if (r == 0)
                r = json_add_u64(o, "others", v->n - tokens - keys);
        return r == 0 ? json_add_u64(o, "unnamed_keyslots", unnamed) : r;
}

int status_add_ways(const struct env *env, struct json_object *root)
{
        _cleanup_(node_free_p) struct node *node = NULL;
        struct ways *ways = calloc(1, sizeof(*ways));
        struct json_object *array;
        int r;

        if (!ways)
                return -ENOMEM;
        if (node_find_booted(env, &node, NULL) < 0 ||
            ways_read(env, node, NULL, NULL, ways, NULL) < 0) {
                free(ways);
                return json_add_null(root, "ways");
        }
        array = json_object_new_array();
        r = json_add_obj(root, "ways", array);
        for (unsigned i = 0; i < ways->n && r == 0; i++)
                r = add_volume(array, &ways->volume[i]);
        ways_done(ways);
        free(ways);
        return r;
}

void status_print_ways(struct json_object *root)
{
        struct json_object *array;

        if (json_get_array(root, "ways", &array) < 0)
                return;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *o = json_object_array_get_idx(array, i);
                uint64_t tokens, keys, unnamed;
                const char *name;

                if (json_get_str(o, "name", &name) < 0 ||
                    json_get_u64(o, "tpm_tokens", &tokens) < 0 ||
                    json_get_u64(o, "recovery_keys", &keys) < 0 ||
                    json_get_u64(o, "unnamed_keyslots", &unnamed) < 0)
                        continue;
                report_text(stdout, "  %-11s ways in: %llu for the TPM, %llu recovery key%s%s\n",
                            name, (unsigned long long)tokens, (unsigned long long)keys,
                            keys == 1 ? "" : "s",
                            keys == 0 ? ": a broken TPM would lock it for ever" : "");
                if (unnamed > 0)
                        report_text(stdout,
                                    "  %-11s key slots that no token names: %llu; \"tb-agent "
                                    "enroll finish\" wipes them\n",
                                    name, (unsigned long long)unnamed);
        }
}
