/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust as a type. A struct verified_image can only be made here, and only from an image that gave
 * every proof of upgrade/proof.h; the functions that put an image on an ESP take nothing else.
 *
 * The bytes pass once: format, measurement, Authenticode digest and SHA-256 are taken from the same
 * stream, so that a network source is read a single time and all proofs are about the same bytes.
 *
 *     image_reader_new() -> image_reader_push()... -> image_reader_finish()   a stream
 *     image_verify()                                                          a file
 *
 * A copy is compared with the digest taken here, so a file that changes after its verification is
 * refused when it is written.
 */
#pragma once

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "efivars/sigdb.h"
#include "partition/eventlog.h"
#include "partition/floor.h"
#include "partition/policy.h"
#include "upgrade/esp.h"
#include "upgrade/proof.h"
#include "upgrade/sbat.h"

/* The phase path that partitions are sealed for. */
#define IMAGE_PHASE_PATH "enter-initrd"

/* What this machine demands of an image. All borrowed. */
struct image_demands {
        const struct sigdb *db, *dbx; /* NULL: unknown, and the proof fails */
        const struct sbat *level;     /* NULL: this machine has no SBAT level */
        bool elsewhere;  /* the image is for another machine: absence here says nothing about it */
        bool keys_given; /* the policy keys below were named by somebody, and are of no disk here */
        /* Policy keys the disk is sealed to; none: the image's own key will be enrolled. */
        struct policy_key *const *keys;
        size_t n_keys;
        const struct floor *floor;   /* NULL: none was ever set */
        const char *allow_downgrade; /* NULL, or by whose wish an older image is accepted */
        /* What is known about PCR 7 at the next boot: PROOF_PASSED, _WARNING or _NOT_APPLICABLE,
         * and why. */
        enum proof_state pcr7;
        const char *pcr7_text;
        const struct eventlog *log; /* of this boot; NULL: unknown */
};

struct verified_image;
struct image_reader;

/*
 * demands (borrowed for this call): hashed is what their databases ask for, and the few images that
 * are signed with another digest are read once more, see image_reader_finish(). NULL: hashed is
 * whatever a signature may need, for a source that cannot be read a second time.
 */
int image_reader_new(const struct image_demands *demands, struct image_reader **ret,
                     struct error *e) _must_check_;
void image_reader_free(struct image_reader *r);
DEFINE_CLEANUP(struct image_reader, image_reader_free)

/*
 * Takes the next bytes. A refusal is kept for the proofs and is no failure of this call: a file
 * that is no USI can still be asked for its signature, which takes all of its bytes.
 * image_reader_settled() tells that no byte can change a proof any more; until then
 * image_reader_finish() needs the whole image. image_reader_refused() tells a caller who only wants
 * images that are good, and who goes on to image_reader_refusal().
 */
int image_reader_push(struct image_reader *r, const void *data, size_t n, struct error *e)
        _must_check_;
bool image_reader_settled(const struct image_reader *r);
bool image_reader_refused(const struct image_reader *r);

/* The refusal of an image that was not read to its end: like image_reader_finish(), but only of
 * what made the reader refuse; the other proofs are not reached. */
int image_reader_refusal(const struct image_reader *r, struct proofs *ret_proofs, struct error *e)
        _must_check_;

/* SHA-256 of all bytes that were pushed; then none may follow. Not after a refusal of the format
 * (-ENODATA). */
int image_reader_digest(struct image_reader *r, uint8_t ret[SHA256_SIZE]) _must_check_;

/*
 * The image ends here: gives the proofs. again (borrowed): a file with the very bytes that were
 * pushed, for a signature with a digest that was not taken on the way; -EBADF when there is none
 * and the reader was made for it. ret_proofs (may be NULL) is always filled when the result
 * is 0 or a refusal. A refusal returns the errno and class of the first failed proof.
 */
int image_reader_finish(struct image_reader *r, int again, const struct image_demands *demands,
                        struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
        _must_check_;

/* All of that for a file; fd has to stay open as long as the result. name stands in messages. */
int image_verify(int fd, const char *name, const struct image_demands *demands,
                 struct proofs *ret_proofs, struct verified_image **ret, struct error *e)
        _must_check_;
void image_free(struct verified_image *v);
DEFINE_CLEANUP(struct verified_image, image_free)

uint64_t image_size(const struct verified_image *v);
const uint8_t *image_sha256(const struct verified_image *v); /* SHA256_SIZE bytes */
const uint8_t *image_pcr11(const struct verified_image *v);  /* predicted for IMAGE_PHASE_PATH */
const char *image_product(const struct verified_image *v);   /* IMAGE_ID; "" when it has none */
const char *image_version(const struct verified_image *v); /* IMAGE_VERSION; "" when it has none */
const char *image_title(const struct verified_image *v);   /* PRETTY_NAME or IMAGE_ID */
const struct policy_key *image_policy_key(const struct verified_image *v);
/* The certificate of the db it was verified against that vouches for it, borrowed from there: what
 * firmware measures when it starts the image. NULL when the image's hash is in db instead. */
const struct sigdb_entry *image_authority(const struct verified_image *v);
/* The signature of the policy for image_pcr11(), borrowed. */
const struct buf *image_policy_signature(const struct verified_image *v);

/*
 * Number of the file on the ESP that was read back and holds this image: true for results of
 * upgrade/image_receiver.h, which alone may set it.
 */
bool image_stands_as(const struct verified_image *v, uint32_t number);
void image_set_number(struct verified_image *v, uint32_t number);

/* "EFI/kairos/usi-00000007.efi". -ERANGE. */
#define IMAGE_PATH_SIZE (sizeof(ESP_IMAGE_DIR) + ENTRY_IMAGE_NAME_SIZE)
int image_path(uint32_t number, char ret[IMAGE_PATH_SIZE]) _must_check_;

/*
 * Writes a copy of a file's image to the ESP under this number ("EFI/kairos/usi-%08u.efi"), read
 * back and compared.
 */
int image_add(const struct esp *esp, const struct verified_image *v, uint32_t number,
              struct error *e) _must_check_;

/* Text of the boot entry that gives image number the role. key: how this boot loader wants images
 * to be named. */
int image_entry(const struct verified_image *v, uint32_t number, enum entry_role role,
                enum entry_key key, char ret[ENTRY_SIZE], struct error *e) _must_check_;
