/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that come to stand on the ESP: the bytes of a stream are written and verified in one pass,
 * then read back from the medium; also a second copy of an image that is there, and one that is
 * there already.
 *
 *     image_receiver_begin() -> _push()... -> _finish()
 *
 * No entry may name the number before _finish() gave its verified image: nothing here changes an
 * entry. The demands are borrowed until the end.
 *
 * An unfinished file stays only after image_receiver_keep(), for a transfer that broke off. In all
 * other cases image_receiver_free() removes it: what was refused is not worth continuing.
 */
#pragma once

#include "upgrade/image.h"

struct image_receive {
        uint32_t number;       /* file of this number; see entry_image_name_format() */
        uint64_t size;         /* of the image, 0 = unknown: what fits is accepted */
        const uint8_t *sha256; /* what the source promises, NULL = nothing */
        bool resume; /* go on with what a run for this very image left under that number */
        const struct image_demands *demands;
};

struct image_receiver;

/*
 * *ret_offset: bytes that are there already, from which the source has to go on; they were read
 * from the medium and went into the proofs. 0 unless resume. Without resume a file that no entry
 * names is replaced. -EBUSY: an entry names it; -EUCLEAN: it shares clusters with another file, so
 * another number has to be taken; -ENOSPC (ERROR_SPACE) when the size does not fit.
 */
int image_receiver_begin(const struct esp *esp, const struct image_receive *what,
                         struct image_receiver **ret, uint64_t *ret_offset, struct error *e)
        _must_check_;

/*
 * The next bytes. A refusal that can be seen already is returned at once, as
 * image_receiver_finish() would; nothing more is to be pushed then.
 */
int image_receiver_push(struct image_receiver *r, const void *data, size_t n, struct error *e)
        _must_check_;

/*
 * The image ends here: proofs, then durable, then read back and compared. Beside refusals of the
 * proofs: -ENODATA (ERROR_SOURCE) for fewer bytes than announced, -EBADMSG (ERROR_REFUSED) when the
 * promised digest does not come out. After a refusal image_receiver_resumed() says whether it is
 * worth to begin anew: what an earlier run left may have been damaged by a power cut.
 */
int image_receiver_finish(struct image_receiver *r, struct verified_image **ret, struct error *e)
        _must_check_;

/* Whether the image began with bytes of an earlier run. */
bool image_receiver_resumed(const struct image_receiver *r);

/* The proofs, once they were given: after a refusal or after finish; NULL before. Borrowed. */
const struct proofs *image_receiver_proofs(const struct image_receiver *r);

/* Bytes written by this run. */
uint64_t image_receiver_written(const struct image_receiver *r);

/*
 * Breaks off and keeps what is there, synced, for a later resume; a refused image is removed all
 * the same. Frees r in any case.
 */
int image_receiver_keep(struct image_receiver *r, struct error *e) _must_check_;
void image_receiver_free(struct image_receiver *r);
DEFINE_CLEANUP(struct image_receiver, image_receiver_free)

/*
 * A second physical copy of image `from` as `what->number`, verified while it is copied. The digest
 * of what->sha256 is required.
 */
int image_receiver_copy(const struct esp *esp, uint32_t from, const struct image_receive *what,
                        struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
        _must_check_;

/* An image that stands there: made durable and verified as the medium returns it. */
int image_receiver_take(const struct esp *esp, const struct image_receive *what,
                        struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
        _must_check_;
