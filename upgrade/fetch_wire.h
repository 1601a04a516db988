/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two sides of a fetch say to each other. The child may have been taken over by what it
 * read, so the parent checks every field of every message; the child trusts its parent.
 *
 * Frames go from the child to the parent through a pipe: a header, then so many bytes.
 *
 *     after WIRE_RESOLVE   NOTE*                          then INFO, or ERROR
 *     after WIRE_BEGIN     (DATA | LOADER | SPOOL | NOTE)*  then END, or ERROR
 *     after WIRE_LAYER     (DATA | NOTE)*                 then END, or ERROR
 *
 * Commands and questions go over a seqpacket socket, one message each: commands from the parent,
 * which the child takes when it has nothing to do; questions from the child while it works, each of
 * which is answered before anything else is sent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/secret.h"

enum wire_type {
        WIRE_INFO = 1,
        WIRE_DATA,   /* of the image */
        WIRE_LOADER, /* of the boot loader */
        WIRE_SPOOL,  /* to be appended to the spool */
        WIRE_NOTE,   /* text of a struct wire_error: why there is a wait */
        WIRE_END,    /* all promises held */
        WIRE_ERROR,
        WIRE_TYPE_MAX,
};

struct wire_header {
        uint32_t type;
        uint32_t length; /* of what follows, at most LIMIT_FETCH_FRAME */
        uint64_t network, spooled;
        uint32_t retries;
        uint32_t zero;
};

struct wire_info {
        char manifest[160];
        char version[128];
        uint64_t size, transfer;
        uint8_t has_sha256, seekable;
        uint8_t sha256[SHA256_SIZE];
        uint16_t n_layers;
        uint8_t zero[4];
};

struct wire_error {
        uint32_t class, code;
        uint32_t again; /* the bytes were wrong, and others can be had: WIRE_BEGIN once more */
        uint32_t zero;
        char text[1024];
        char advice[512];
};

/* -EBADMSG when the header is none that a child of ours sends. */
int wire_header_check(const struct wire_header *h) _must_check_;

/* Makes a text safe to show: NUL at the end, other bytes than printable ASCII as "?". */
void wire_text(char *text, size_t size);

/* An error that the child may claim. A call that failed, here or there, becomes ERROR_SOURCE;
 * classes that mean success, or a proof, ERROR_REFUSED. Returns the negative errno. */
int wire_error_take(const struct wire_error *w, struct error *e);

/* Child: sends a frame whose payload lies behind room for the header. */
int wire_send(int pipe, const struct wire_header *h, const void *payload) _must_check_;

enum wire_command_kind {
        WIRE_LOGIN = 1, /* number of an endpoint; the login follows in the same message */
        WIRE_RESOLVE,
        WIRE_BEGIN,
        WIRE_LAYER,
};

struct wire_command {
        uint32_t kind;
        uint32_t endpoint;
        uint64_t offset; /* WIRE_LAYER: its number */
};

enum wire_ask_kind {
        WIRE_CONNECT = 1, /* text: host; value: port. A descriptor follows an answer of success. */
        WIRE_OPEN,        /* text: name in the layout. Answer: size. */
        WIRE_READ,        /* the file opened; value: offset */
        WIRE_SPOOL_OPEN,  /* text: digest; value: size of the blob. Answer: bytes there. */
        WIRE_SPOOL_READ,  /* value: offset */
        WIRE_ASK_MAX,
};

struct wire_ask {
        uint32_t kind;
        uint32_t zero;
        uint64_t value;
        char text[256];
};

/* Bytes that one answer carries at most: well within the buffer of a socket. */
#define WIRE_PIECE ((size_t)(64 * 1024))

struct wire_answer {
        uint64_t value;
        uint32_t length; /* bytes that follow in the same message */
        uint32_t class, code;
        char text[512];
};

/* One message of exactly this kind and bounds. Bytes, 0 = the other side is gone, negative errno;
 * -EBADMSG for a message that does not fit. Descriptors that came with it are not taken. */
ssize_t wire_receive(int socket, void *head, size_t head_size, void *rest, size_t rest_max)
        _must_check_;
int wire_put(int socket, const void *head, size_t head_size, const void *rest, size_t n)
        _must_check_;
