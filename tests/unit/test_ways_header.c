/* SPDX-License-Identifier: Apache-2.0 */
/* The ways into the data of a node whose volumes somebody exchanged: what "status" has to survive.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "agent/ways.h"
#include "tests/unit/node_world.h"

static void exchanged_volume_is_told(void **state)
{
        struct node_world n;
        struct ways *ways = calloc(1, sizeof(*ways));
        struct error e = ERROR_INIT;

        (void)state;
        assert_non_null(ways);
        node_world_make(&n);
        node_world_plain(&n, "vda2");
        assert_int_equal(ways_read(&n.w.env, &n.node, NULL, NULL, ways, &e), -EMEDIUMTYPE);
        assert_non_null(strstr(e.text, "oem: "));
        /* "status" does not want to know why. */
        assert_int_equal(ways_read(&n.w.env, &n.node, NULL, NULL, ways, NULL), -EMEDIUMTYPE);
        node_world_end(&n);
        free(ways);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(exchanged_volume_is_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
