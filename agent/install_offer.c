/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/install_offer.h"

#include <stdbool.h>
#include <string.h>

#define ANSWER_SIZE 128u

/* The rest of a line that is too long is another answer, which is none either. */
static bool read_answer(FILE *in, char line[ANSWER_SIZE])
{
        if (!fgets(line, ANSWER_SIZE, in))
                return false;
        line[strcspn(line, "\r\n")] = '\0';
        return true;
}

int install_offer_begin(FILE *in, FILE *out, struct error *e)
{
        char line[ANSWER_SIZE];

        (void)fprintf(out, "\nThis is a live session: nothing was installed by it.\n");
        for (;;) {
                (void)fprintf(out, "Type \"install\" to install this system on a disk of this "
                                   "machine, or \"quit\" to leave: ");
                (void)fflush(out);
                if (!read_answer(in, line))
                        return error_set(e, ERROR_INTERRUPTED, EPIPE,
                                         "nobody answered, nothing was changed");
                if (strcmp(line, "install") == 0)
                        return 0;
                if (strcmp(line, "quit") == 0)
                        return error_set(e, ERROR_NOTHING, ECANCELED, "nothing was changed");
        }
}

void install_offer_end(FILE *in, FILE *out, const char *verb)
{
        char line[ANSWER_SIZE];

        (void)fprintf(out,
                      "The node is installed. Take the medium out, then press Enter to %s: ", verb);
        (void)fflush(out);
        (void)read_answer(in, line); /* nobody there: nobody is in the way */
}
