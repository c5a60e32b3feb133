/* A sealed segment: one immutable file of zstd frames that holds the bytes and their index. Format in
 * topicfs-format(5): data frames of TLOG_FRAME_BYTES content each, with content size and checksum, then a
 * skippable frame with the index (column-coded entries in groups, compressed), then zstd's seek table, which
 * lists the index frame with content size 0.
 *
 * Chains are kept only where a frame's content ends; those of the entries between are computed again from the
 * data. What is not in here: when to seal, names, directories (seal.c).
 *
 * A sealing belongs to one thread. An open sealed file is constant: any thread. */
#ifndef TLOG_SEALED_H
#define TLOG_SEALED_H

#include <stddef.h>
#include <stdint.h>

#include "log/index.h"
#include "log/io.h"
#include "log/scan.h"

enum {
    TLOG_FRAME_BYTES = 256 << 10, /* content of each data frame but the last */
    TLOG_SEALED_STORED = 0,       /* as a level: frames of bytes as they are (compression.type=none) */
};

/* ---- writing ---- */

struct tlog_sealing;

/* Begins a sealed file at `path`, which is made or truncated. `header` is the segment's, `level` zstd's. */
int tlog_sealing_new(struct tlog_sealing **out, const struct tlog_io *io, const char *path,
                     const struct tlog_index_header *header, int level);
/* The next bytes of content, in pieces of any size. */
int tlog_sealing_data(struct tlog_sealing *sealing, const void *data, size_t bytes);
/* The entry that ends where the data so far ends. -EBADMSG it does not follow the one before or its chain is not that
 * of the data. After any failure the sealing is good for tlog_sealing_free alone. */
int tlog_sealing_entry(struct tlog_sealing *sealing, const struct tlog_entry *entry);
/* Writes what is left, the index and the seek table, and syncs the file. */
int tlog_sealing_finish(struct tlog_sealing *sealing);
/* Closes and frees; the file stays. May be NULL. */
void tlog_sealing_free(struct tlog_sealing *sealing);

/* ---- reading ---- */

struct tlog_sealed {
    const struct tlog_io *io;
    int fd;
    struct tlog_index_header header;
    struct tlog_point end; /* after its last entry */
    uint64_t file_bytes;
    uint64_t entries;
    uint32_t frames;        /* of data */
    uint64_t *frame_foffs;  /* frames + 1: where each begins in the file */
    uint32_t groups;        /* of the index */
    uint64_t groups_foff;   /* of their directory */
    uint64_t payloads_foff; /* what the directory's offsets count from */
};

/* Takes the descriptor, also when it fails. Reads and checks the ends of the file: the seek table, the index's header
 * and directory; no data. `topic_id` NULL: any. -EBADMSG with a sentence: not a whole sealed file, or another's;
 * -ENOTSUP one of a newer format. */
int tlog_sealed_open(struct tlog_sealed **out, const struct tlog_io *io, int fd, uint64_t segment_pos,
                     const uint8_t topic_id[16], struct tlog_error *error);
void tlog_sealed_free(struct tlog_sealed *sealed);

/* Content of a sealed file. */
static inline uint64_t tlog_sealed_bytes(const struct tlog_sealed *sealed)
{
    return sealed->end.pos - sealed->header.pos;
}
static inline size_t tlog_sealed_frame_bytes(const struct tlog_sealed *sealed, uint32_t frame)
{
    uint64_t left = tlog_sealed_bytes(sealed) - (uint64_t)frame * TLOG_FRAME_BYTES;
    return left < TLOG_FRAME_BYTES ? (size_t)left : TLOG_FRAME_BYTES;
}
/* Decompresses a frame; `to` has room for tlog_sealed_frame_bytes. -EBADMSG it is corrupt, -EIO. */
int tlog_sealed_frame(const struct tlog_sealed *sealed, uint32_t frame, void *to);

enum tlog_by { TLOG_BY_SEQ, TLOG_BY_TIME, TLOG_BY_POS };

/* The number of the first group that can hold the first entry not before `value` (in the sense of
 * tlog_entry_before); groups when all end before it. */
int tlog_sealed_find_group(const struct tlog_sealed *sealed, enum tlog_by by, uint64_t value, uint32_t *group);
/* The entries of a group, to be freed. Chains that are not kept in the file are 0. *before: where the group begins. */
int tlog_sealed_group(const struct tlog_sealed *sealed, uint32_t group, struct tlog_point *before,
                      struct tlog_entry **out, size_t *count);

#endif
