#include "log/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"
#include "log/files.h"

static const uint8_t magic[4] = {'T', 'L', 'C', 'P'};
enum { VERSION = 2, HEADER_BYTES = 128, ROW_BYTES = 88 };
enum { OLD_VERSION = 1, OLD_HEADER_BYTES = 104, OLD_ROW_BYTES = 64 }; /* without clock, start and hash */

/* Header: magic, u32 version, store id 16, boot id 64 (text, zero-padded), u64 lsn, u64 rows, the clock's i64 time,
 * boot, doubt. Row: topic id 16, u32 partition, u32 failed, u64 synced, end, segment, inode of .log, of .idx, start, first seq,
 * hash of the segments. Last: u64 XXH3-64 of all. */
static void encode(uint8_t *to, const struct tlog_checkpoint *checkpoint)
{
    memcpy(to, magic, 4);
    tlog_put_u32(to + 4, VERSION);
    memcpy(to + 8, checkpoint->store_id, 16);
    memset(to + 24, 0, 64);
    memcpy(to + 24, checkpoint->boot_id, strnlen(checkpoint->boot_id, 63));
    tlog_put_u64(to + 88, checkpoint->lsn);
    tlog_put_u64(to + 96, checkpoint->count);
    tlog_put_u64(to + 104, (uint64_t)checkpoint->clock.time_ns);
    tlog_put_u64(to + 112, (uint64_t)checkpoint->clock.boot_ns);
    tlog_put_u64(to + 120, (uint64_t)checkpoint->clock.doubt_ns);
    uint8_t *row = to + HEADER_BYTES;
    for (size_t i = 0; i < checkpoint->count; i++, row += ROW_BYTES) {
        const struct tlog_checkpoint_row *from = &checkpoint->rows[i];
        memcpy(row, from->topic_id, 16);
        tlog_put_u32(row + 16, from->partition);
        tlog_put_u32(row + 20, from->failed);
        tlog_put_u64(row + 24, from->synced);
        tlog_put_u64(row + 32, from->end);
        tlog_put_u64(row + 40, from->segment_pos);
        tlog_put_u64(row + 48, from->log_inode);
        tlog_put_u64(row + 56, from->idx_inode);
        tlog_put_u64(row + 64, from->start);
        tlog_put_u64(row + 72, from->start_seq);
        tlog_put_u64(row + 80, from->segments_hash);
    }
    tlog_put_u64(row, tlog_hash(to, (size_t)(row - to), 0));
}

static int compare(const void *a, const void *b)
{
    const struct tlog_checkpoint_row *left = a, *right = b;
    int by_topic = memcmp(left->topic_id, right->topic_id, 16);
    return by_topic != 0 ? by_topic : (left->partition > right->partition) - (left->partition < right->partition);
}

int tlog_checkpoint_write(const struct tlog_io *io, const char *path, struct tlog_checkpoint *checkpoint)
{
    size_t bytes = HEADER_BYTES + checkpoint->count * ROW_BYTES + 8;
    uint8_t *data = malloc(bytes);
    if (!data)
        return -ENOMEM;
    if (checkpoint->count > 0)
        qsort(checkpoint->rows, checkpoint->count, sizeof *checkpoint->rows, compare);
    encode(data, checkpoint);
    int r = tlog_file_replace(io, path, "checkpoint", data, bytes);
    free(data);
    return r;
}

static int decode(struct tlog_checkpoint *to, const uint8_t *from, size_t bytes)
{
    if (bytes < OLD_HEADER_BYTES + 8 || memcmp(from, magic, 4) != 0 ||
        tlog_get_u64(from + bytes - 8) != tlog_hash(from, bytes - 8, 0))
        return -EBADMSG;
    uint32_t version = tlog_get_u32(from + 4);
    size_t header_bytes = version == OLD_VERSION ? OLD_HEADER_BYTES : HEADER_BYTES;
    size_t row_bytes = version == OLD_VERSION ? OLD_ROW_BYTES : ROW_BYTES;
    if ((version != OLD_VERSION && version != VERSION) || bytes < header_bytes + 8)
        return -EBADMSG;
    uint64_t count = tlog_get_u64(from + 96);
    if (count > bytes / row_bytes || header_bytes + count * row_bytes + 8 != bytes)
        return -EBADMSG;
    memcpy(to->store_id, from + 8, 16);
    memcpy(to->boot_id, from + 24, 64);
    to->boot_id[63] = 0;
    to->lsn = tlog_get_u64(from + 88);
    to->count = count;
    if (version == VERSION)
        to->clock = (struct tlog_clock_mark){(int64_t)tlog_get_u64(from + 104), (int64_t)tlog_get_u64(from + 112),
                                             (int64_t)tlog_get_u64(from + 120)};
    to->rows = calloc(count ? count : 1, sizeof *to->rows);
    if (!to->rows)
        return -ENOMEM;
    const uint8_t *row = from + header_bytes;
    for (size_t i = 0; i < count; i++, row += row_bytes) {
        memcpy(to->rows[i].topic_id, row, 16);
        to->rows[i].partition = tlog_get_u32(row + 16);
        to->rows[i].failed = tlog_get_u32(row + 20) != 0;
        to->rows[i].synced = tlog_get_u64(row + 24);
        to->rows[i].end = tlog_get_u64(row + 32);
        to->rows[i].segment_pos = tlog_get_u64(row + 40);
        to->rows[i].log_inode = tlog_get_u64(row + 48);
        to->rows[i].idx_inode = tlog_get_u64(row + 56);
        if (version == OLD_VERSION)
            continue;
        to->rows[i].start = tlog_get_u64(row + 64);
        to->rows[i].start_seq = tlog_get_u64(row + 72);
        to->rows[i].segments_hash = tlog_get_u64(row + 80);
    }
    return 0;
}

int tlog_checkpoint_read(const struct tlog_io *io, const char *path, struct tlog_checkpoint *out)
{
    char name[TLOG_NAME_BYTES], *data;
    size_t bytes;
    snprintf(name, sizeof name, "%s/checkpoint", path);
    memset(out, 0, sizeof *out);
    int r = tlog_file_read(io, name, &data, &bytes);
    if (r < 0)
        return r;
    r = decode(out, (const uint8_t *)data, bytes);
    free(data);
    return r;
}

const struct tlog_checkpoint_row *tlog_checkpoint_find(const struct tlog_checkpoint *checkpoint,
                                                       const uint8_t topic_id[16], uint32_t partition)
{
    struct tlog_checkpoint_row key = {.partition = partition};
    memcpy(key.topic_id, topic_id, 16);
    return checkpoint->count == 0
               ? NULL
               : bsearch(&key, checkpoint->rows, checkpoint->count, sizeof *checkpoint->rows, compare);
}
