/* What the writer and the reader of sealed files share: the fixed parts of the format, see topicfs-format(5).
 *
 * Pure functions, any thread. */
#ifndef TLOG_SEALED_FORMAT_H
#define TLOG_SEALED_FORMAT_H

#include <errno.h>

#include "log/bytes.h"
#include "log/sealed.h"

enum {
    TLOG_SEALED_VERSION = 1,
    TLOG_SKIPPABLE_BYTES = 8,  /* magic and size before a skippable frame's content */
    TLOG_HEAD_BYTES = 136,     /* of the index */
    TLOG_ROW_BYTES = 64,       /* of its directory, one a group */
    TLOG_HASH_BYTES = 8,       /* after the directory */
    TLOG_GROUP_ENTRIES = 4096, /* at most */
    TLOG_SEEK_ROW_BYTES = 8,
    TLOG_SEEK_FOOTER_BYTES = 9,
    /* More than a frame of TLOG_FRAME_BYTES can take, compressed or not. */
    TLOG_FRAME_MOST = TLOG_FRAME_BYTES + (TLOG_FRAME_BYTES >> 8) + 256,
};
#define TLOG_INDEX_MAGIC       0x184D2A5Au /* any of zstd's skippable ones */
#define TLOG_SEEK_MAGIC        0x184D2A5Eu
#define TLOG_SEEK_FOOTER_MAGIC 0x8F92EAB1u

/* The index begins so. */
struct tlog_sealed_head {
    struct tlog_index_header header;
    struct tlog_point end;
    uint64_t entries;
    uint32_t frames, groups;
};
void tlog_sealed_head_encode(uint8_t to[TLOG_HEAD_BYTES], const struct tlog_sealed_head *head);
/* -EBADMSG not one, -ENOTSUP one of a newer format. The directory's hash, which covers it, is for the caller. */
int tlog_sealed_head_decode(struct tlog_sealed_head *to, const uint8_t from[TLOG_HEAD_BYTES]);

/* A row of the directory. */
struct tlog_sealed_row {
    struct tlog_point before; /* the group's first entry */
    uint32_t entries;
    uint32_t offset, bytes; /* of its payload */
    uint64_t hash;          /* of that, seed: the chain before */
};
void tlog_sealed_row_encode(uint8_t to[TLOG_ROW_BYTES], const struct tlog_sealed_row *row);
void tlog_sealed_row_decode(struct tlog_sealed_row *to, const uint8_t from[TLOG_ROW_BYTES]);

/* The number of the data frame in which an entry ends that ends at `pos`. */
static inline uint64_t tlog_sealed_frame_of(uint64_t segment_pos, uint64_t pos)
{
    return pos == segment_pos ? 0 : (pos - segment_pos - 1) / TLOG_FRAME_BYTES;
}

/* ---- groups: sealed_group.c ---- */

struct tlog_buffer {
    uint8_t *data;
    size_t bytes, capacity;
};
/* Room for `bytes` more at the end; NULL: no memory. */
uint8_t *tlog_buffer_room(struct tlog_buffer *buffer, size_t bytes);

/* Writes the payload of `count` entries after `before` to the end of the buffer. */
int tlog_group_encode(struct tlog_buffer *to, uint64_t segment_pos, const struct tlog_point *before,
                      const struct tlog_entry *entries, uint32_t count);
/* The other way: `out` has room for `count`. -EBADMSG when these are not entries from `before` to `after`. */
int tlog_group_decode(const uint8_t *from, size_t bytes, uint64_t segment_pos, const struct tlog_point *before,
                      const struct tlog_point *after, struct tlog_entry *out, uint32_t count);

#endif
