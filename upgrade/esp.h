/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one module that changes files on the EFI system partition.
 *
 * Linux vfat has no journal, and most crash states of "write temporary, fsync, rename, fsync
 * directory" leave the active file unreadable. The moves offered here are those that survived a
 * replay of every crash state: create under a new name, overwrite one sector in place, unlink.
 * There is no rename and no truncation, and a file that exists is never rewritten except an entry
 * of exactly ENTRY_SIZE bytes. Other small files that have to change (boot loader, loader.conf)
 * change places with their successor, RENAME_EXCHANGE, which survived the replay as well.
 *
 * Order of work that keeps one bootable entry at every moment:
 *   image:   esp_add_stream() (or the writer), then esp_add_entry() or esp_write_entry_in_place()
 *   confirm: esp_bless(); take that back: esp_put_on_trial()
 *   clean:   esp_remove() of images that no entry names any more
 * Each call returns 0 only when what it did is durable. After a power cut the same calls with the
 * same arguments finish the work.
 *
 * A struct esp borrows the descriptor of the mounted ESP's root directory; the caller closes it.
 * Paths are relative to that directory, without "..", and symbolic links are not followed (FAT has
 * none). One thread, one process: the agent's lock sees to that.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/digest.h"
#include "base/error.h"
#include "partition/fat.h"
#include "upgrade/entry.h"
#include "upgrade/esp_map.h"

#define ESP_IMAGE_DIR "EFI/kairos"
#define ESP_ENTRY_DIR "loader/entries"

struct esp {
        int root; /* borrowed */
        /*
         * Instead of root: a file system that is being made in a disk image, borrowed. Of the
         * functions here only esp_make_dir(), esp_add_file(), esp_add_entry() and esp_add_stream()
         * work on it; a file that is there is -EEXIST, and durable is what fat_finish() makes so.
         */
        struct fat *fat;
        /*
         * Called before each step that changes the medium, with its name and the path. A negative
         * errno makes the step fail with it. For fault tests and for stopping at a safe point; NULL
         * otherwise.
         */
        int (*step)(void *arg, const char *what, const char *path);
        void *step_arg;
        /* Told how many bytes of a file esp_add_stream() has copied; NULL: nobody asks. */
        void (*copied)(void *arg, uint64_t done);
        void *copied_arg;
        /* Cluster map of files, for tests; NULL = that of the kernel. See upgrade/esp_map.h. */
        esp_map_cluster *clusters;
};

#define ESP_INIT(fd)                                                                               \
        {                                                                                          \
                .root = (fd)                                                                       \
        }

struct esp_image {
        char file[ENTRY_IMAGE_NAME_SIZE];
        uint32_t number;
        uint64_t size;
        bool named; /* by an entry, readable or not: esp_remove() would refuse it */
};

struct esp_space {
        uint64_t available; /* bytes images may take: a few clusters are kept back */
        uint64_t cluster;   /* a file takes a multiple of this many bytes */
};

int esp_get_space(const struct esp *esp, struct esp_space *ret, struct error *e) _must_check_;

/* The first of these numbers. */
int esp_free_space(const struct esp *esp, uint64_t *ret, struct error *e) _must_check_;

/* -ENOSPC (ERROR_SPACE) unless a file of that size fits now. One of a single cluster, such as an
 * entry, may take some of what is kept back from images. */
int esp_check_space(const struct esp *esp, uint64_t size, struct error *e) _must_check_;

/* Creates a directory and its parents, each durable in its own parent. Existing ones are fine. */
int esp_make_dir(const struct esp *esp, const char *path, struct error *e) _must_check_;

/*
 * Adds a small file (at most LIMIT_BOOT_LOADER bytes: boot loader, configuration, keys) by the same
 * steps as an image. A file that already has this content is made durable and counts as added.
 * -EEXIST when there is another content. Not for entries: esp_add_entry().
 */
int esp_add_file(const struct esp *esp, const char *path, const void *data, size_t n,
                 struct error *e) _must_check_;

/*
 * Adds an image of known size and digest. fd: a seekable one is read from offset 0 without moving
 * its position, a pipe or socket from where it is. Creates exclusively, writes, syncs the file and
 * its directory, reads the file back from the medium and compares the digest (esp_writer_finish()
 * says how far that goes). On failure the new file is removed: no entry names it.
 *
 * When the path exists with this content, nothing is written and 0 is returned: a repeated
 * upgrade. With another content it is the rest of an interrupted run and is replaced, unless an
 * entry names it (-EBUSY).
 */
int esp_add_stream(const struct esp *esp, const char *path, int fd, uint64_t size,
                   const uint8_t sha256[SHA256_SIZE], struct error *e) _must_check_;

/*
 * The same in pieces, for content that is verified while it arrives. Begin creates the file
 * exclusively (-EEXIST) after checking that max_size fits; write appends (-EFBIG above max_size);
 * finish makes it durable, reads it back and compares with what was written and, when sha256 is not
 * NULL, with that; *ret_sha256 and *ret_size may be NULL. Free without a successful finish removes
 * the file.
 *
 * Reading back happens through a fresh descriptor after POSIX_FADV_DONTNEED on the synced file. The
 * kernel then has no clean page of it left, so the data comes from the device: this proves that the
 * allocation table and the data reached the drive and that the drive returns them. It does not
 * prove that the drive's own cache reached the flash; for that the drive's word in answer to the
 * flush of fsync() is all there is.
 */
struct esp_writer;
int esp_writer_begin(const struct esp *esp, const char *path, uint64_t max_size,
                     struct esp_writer **ret, struct error *e) _must_check_;
int esp_writer_write(struct esp_writer *w, const void *data, size_t n, struct error *e)
        _must_check_;
int esp_writer_finish(struct esp_writer *w, const uint8_t *sha256, uint8_t *ret_sha256,
                      uint64_t *ret_size, struct error *e) _must_check_;
/*
 * For a caller who hashes the very bytes that are written: they are not hashed a second time, and
 * esp_writer_finish() needs their digest. Before the first byte.
 */
void esp_writer_leave_digest(struct esp_writer *w);
void esp_writer_free(struct esp_writer *w);
DEFINE_CLEANUP(struct esp_writer, esp_writer_free)

/*
 * Takes up a file that an earlier run did not finish. It must not be named by an entry (-EBUSY) and
 * must not share a cluster with another file (-EUCLEAN: leave it and take another name). A file of
 * more than max_size bytes is deleted and begun anew, as is an absent or empty one; *ret_size is
 * what is there of it.
 *
 * What is there has to be read first, all of it, as the medium returns it: esp_writer_replay()
 * gives the next bytes, 0 when there are no more; only then esp_writer_write() goes on behind them.
 * Nobody knows whether a power cut left them as they were written: whoever goes on compares the
 * digest of the whole.
 */
int esp_writer_resume(const struct esp *esp, const char *path, uint64_t max_size,
                      struct esp_writer **ret, uint64_t *ret_size, struct error *e) _must_check_;
ssize_t esp_writer_replay(struct esp_writer *w, void *buf, size_t n, struct error *e) _must_check_;

/*
 * Ends the writing and keeps what is there, synced, for esp_writer_resume(). Frees w in any case.
 */
int esp_writer_keep(struct esp_writer *w, struct error *e) _must_check_;

/*
 * Deletes what a cut left of an exchange in a folder (see below). Names that share clusters with
 * another file stay, with a warning. A missing folder is fine.
 */
int esp_drop_temporary(const struct esp *esp, const char *folder, struct error *e) _must_check_;

/*
 * Gives a small file (at most LIMIT_BOOT_LOADER bytes) a new content: written under a temporary
 * name in the same folder, synced, read back; the two change places, synced; the old content is
 * deleted. At every moment the path leads to the whole old or the whole new content. A file that
 * has the content already, on clusters of its own, is made durable and stays; an absent one is
 * added.
 *
 * What a cut leaves under a temporary name (ESP_TEMPORARY) is deleted by the next call for this
 * folder, unless it shares clusters with another file: then it stays, with a warning, and the path
 * gets clusters of its own. Not for entries: esp_set_entry(). -EOPNOTSUPP: this kernel's vfat does
 * not know the exchange (Linux 6.0 does).
 */
#define ESP_TEMPORARY_HEAD "TBAGENT"
#define ESP_TEMPORARY_TAIL ".TMP"
#define ESP_TEMPORARY ESP_TEMPORARY_HEAD "%u" ESP_TEMPORARY_TAIL
int esp_exchange_file(const struct esp *esp, const char *path, const void *data, size_t n,
                      struct error *e) _must_check_;

/* Opens a file for reading, made durable and out of the cache: what is read comes from the medium.
 * A descriptor, or negative. */
int esp_open_file(const struct esp *esp, const char *path, struct error *e) _must_check_;

/* Size and digest of a file as the medium returns them (see esp_writer_finish). -ENOENT. */
int esp_digest(const struct esp *esp, const char *path, uint8_t ret_sha256[SHA256_SIZE],
               uint64_t *ret_size, struct error *e) _must_check_;

/*
 * Deletes a file, durably; one that does not exist is fine. Refused with -EBUSY: a file whose name
 * appears in any entry, every such file while an entry cannot be read, and the last entry that
 * names an image. Refused with -EUCLEAN: a file that shares clusters with another one after a
 * crash, because deleting it would free the other file's data.
 */
int esp_remove(const struct esp *esp, const char *path, struct error *e) _must_check_;

/*
 * Adds an entry file (a name in ESP_ENTRY_DIR) by create-and-sync. The text must parse and the
 * image it names must exist (-ENOENT), so that no entry ever points nowhere. An existing file with
 * this text counts as added; one that names no existing image is the rest of an interrupted run and
 * is replaced; any other is -EEXIST.
 */
int esp_add_entry(const struct esp *esp, const char *file, const char text[ENTRY_SIZE],
                  struct error *e) _must_check_;

/*
 * Switches an existing entry to another text: one write of one sector, synced. The same demands on
 * the text; -EINVAL when the file is not exactly ENTRY_SIZE bytes. After a power cut the entry is
 * the old or the new one. One that shares its cluster with another file must not write into that:
 * it gets one of its own by the exchange of esp_exchange_file().
 */
int esp_write_entry_in_place(const struct esp *esp, const char *file, const char text[ENTRY_SIZE],
                             struct error *e) _must_check_;

/*
 * The entry has this text when 0 is returned, whatever was there: nothing, a leftover that leads
 * nowhere or cannot be read (deleted first), one of ours (in place), one of another size (by the
 * exchange of esp_exchange_file()). The image it names must exist.
 */
int esp_set_entry(const struct esp *esp, const char *file, const char text[ENTRY_SIZE],
                  struct error *e) _must_check_;

/*
 * Confirms a boot: boot_count_path is what the loader reported ("\loader\entries\active+2-1.conf").
 * Makes sure that the uncounted twin exists with the same text, durably, and only then unlinks the
 * counted file (and other counted files of that base with the same text, which the loader's own
 * rename may have left). 0 when there is nothing left to do; -ENOENT when there is neither; -EINVAL
 * for a path that is no counted entry.
 */
int esp_bless(const struct esp *esp, const char *boot_count_path, struct error *e) _must_check_;

/*
 * Takes a confirmation back: an entry without a counter ("active.conf", a name in ESP_ENTRY_DIR)
 * whose boot failed gets one again, so that the boot loader falls back by itself when the tries are
 * used up; no variable is written. Makes sure that a counted entry of that base ("active+3-0.conf")
 * exists with the same text, durably, and only then unlinks the uncounted one. Until that is
 * durable the loader goes on to start the uncounted one; there is an entry for the image at every
 * moment.
 *
 * A counted entry of that base with the same text is kept as it is: it gets no new tries, even when
 * it has none left. tries_left 0 makes the entry bad at once. 0 when there is nothing left to do,
 * which is when the uncounted file is absent and a counted one of that base names an image.
 *
 * -EINVAL for a name with a counter, one that systemd-boot does not list, too many tries, or an
 * entry that names no existing image; -ENOENT when there is neither file; -EEXIST when the counted
 * name is taken by an entry with another text, which is a newer image on trial. Nothing has changed
 * after any of these.
 */
int esp_put_on_trial(const struct esp *esp, const char *file, unsigned tries_left, struct error *e)
        _must_check_;

/*
 * The try of a boot on trial, for a boot that waits for a person and says nothing about the image
 * meanwhile. boot_count_path as of esp_bless(), the name that the boot loader gave the entry for
 * this boot. Return: the entry gets the name it had before ("active+3-0.conf" instead of
 * "active+2-1.conf"). Take: it gets the name of this boot again, as esp_bless() will look for it.
 * At every moment one of the two is there. 0 when that is so already; -ENOENT when there is
 * neither; -EINVAL for a path that is no entry on trial, or one whose tries cannot be counted
 * further.
 */
int esp_return_try(const struct esp *esp, const char *boot_count_path, struct error *e)
        _must_check_;
int esp_take_try(const struct esp *esp, const char *boot_count_path, struct error *e) _must_check_;

/*
 * Makes everything durable that was ever written to this file system: what an earlier run that was
 * killed did may still be in memory only, and looks finished.
 */
int esp_sync(const struct esp *esp, struct error *e) _must_check_;

/*
 * All entries, sorted by file name (names systemd-boot does not list are left out). The caller
 * frees *ret. A missing directory is an empty list.
 */
int esp_list_entries(const struct esp *esp, struct entry_file **ret, size_t *ret_n, struct error *e)
        _must_check_;

/*
 * Whether a file has to stay as it is, by its path from "/" on. All do but three kinds that cuts
 * leave: images that no entry names, temporary names, and what fsck.vfat made of clusters that no
 * file led to (FSCK0000.REC). Only reads.
 */
bool esp_needs(const struct esp *esp, const char *path) _must_check_;

/*
 * Deletes what fsck.vfat made of lost clusters: room for an image. While an entry leads to no image
 * it stays, as it may be that one's rest; so does, with a warning, what shares clusters.
 */
int esp_drop_salvaged(const struct esp *esp, struct error *e) _must_check_;

/* All images of ESP_IMAGE_DIR, sorted by number. The caller frees *ret. */
int esp_list_images(const struct esp *esp, struct esp_image **ret, size_t *ret_n, struct error *e)
        _must_check_;
