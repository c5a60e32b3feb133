/* Reading a sealed file. Whatever a file holds, nothing here reads past it or asks for more memory than its size
 * allows: the seek table and the index's directory are checked against it when it is opened, and each group and frame
 * against those when it is read. */
#include "log/sealed.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#include "log/error.h"
#include "log/sealed_format.h"

/* Reads all of it: a file that ends before is damaged. */
static int read_all(const struct tlog_sealed *sealed, void *to, size_t bytes, uint64_t foff)
{
    ssize_t n = sealed->io->pread(sealed->io, sealed->fd, to, bytes, foff);
    return n < 0 ? (int)n : (size_t)n < bytes ? -EBADMSG : 0;
}

static int damaged(struct tlog_error *error, const char *what)
{
    tlog_error_set(error, "%s", what);
    return -EBADMSG;
}

/* ---- opening ---- */

/* The rows of the seek table but the last become places of frames. *foff is where the index should begin. */
static int place_frames(struct tlog_sealed *sealed, const uint8_t *rows, uint64_t *foff)
{
    *foff = 0;
    for (uint32_t i = 0; i < sealed->frames; i++, rows += TLOG_SEEK_ROW_BYTES) {
        uint32_t bytes = tlog_get_u32(rows), content = tlog_get_u32(rows + 4);
        bool last = i + 1 == sealed->frames;
        if (bytes > TLOG_FRAME_MOST || bytes == 0 || content == 0 || content > TLOG_FRAME_BYTES ||
            (!last && content != TLOG_FRAME_BYTES))
            return -EBADMSG;
        sealed->frame_foffs[i] = *foff;
        *foff += bytes;
        if (last)
            sealed->end.pos = (uint64_t)i * TLOG_FRAME_BYTES + content; /* compared with the index's */
    }
    sealed->frame_foffs[sealed->frames] = *foff;
    return 0;
}

/* The seek table; *index_bytes: of the index frame that it lists last. */
static int read_seek_table(struct tlog_sealed *sealed, uint32_t *index_bytes, struct tlog_error *error)
{
    enum { AROUND = TLOG_SKIPPABLE_BYTES + TLOG_SEEK_FOOTER_BYTES };
    uint8_t footer[TLOG_SEEK_FOOTER_BYTES];
    if (sealed->file_bytes < AROUND + TLOG_SEEK_ROW_BYTES)
        return damaged(error, "too short for a sealed file");
    int r = read_all(sealed, footer, sizeof footer, sealed->file_bytes - sizeof footer);
    if (r < 0)
        return r;
    uint64_t rows = tlog_get_u32(footer);
    if (tlog_get_u32(footer + 5) != TLOG_SEEK_FOOTER_MAGIC || footer[4] != 0)
        return damaged(error, "its end is missing or damaged");
    if (rows == 0 || rows > (sealed->file_bytes - AROUND) / TLOG_SEEK_ROW_BYTES)
        return damaged(error, "its seek table is longer than the file");
    size_t bytes = TLOG_SKIPPABLE_BYTES + rows * TLOG_SEEK_ROW_BYTES;
    uint64_t foff, table_foff = sealed->file_bytes - sizeof footer - bytes;
    uint8_t *table = malloc(bytes);
    sealed->frames = (uint32_t)rows - 1;
    sealed->frame_foffs = malloc(rows * sizeof *sealed->frame_foffs);
    r = table && sealed->frame_foffs ? read_all(sealed, table, bytes, table_foff) : -ENOMEM;
    if (r == 0 && (tlog_get_u32(table) != TLOG_SEEK_MAGIC ||
                   tlog_get_u32(table + 4) != rows * TLOG_SEEK_ROW_BYTES + sizeof footer ||
                   place_frames(sealed, table + TLOG_SKIPPABLE_BYTES, &foff) < 0 || foff > table_foff ||
                   table_foff - foff != tlog_get_u32(table + bytes - 8) || tlog_get_u32(table + bytes - 4) != 0))
        r = damaged(error, "its seek table is damaged");
    if (r == 0)
        *index_bytes = (uint32_t)(table_foff - foff);
    free(table);
    return r;
}

static bool same_point(const struct tlog_point *a, const struct tlog_point *b)
{
    return a->pos == b->pos && a->seq == b->seq && a->chain == b->chain && a->time_ns == b->time_ns &&
           a->epoch == b->epoch && a->leader == b->leader;
}

/* Whether a row can follow: it goes on where the one before ended, and its payload lies in the index. */
static bool row_fits(const struct tlog_sealed *sealed, const struct tlog_sealed_row *row, uint64_t payloads_bytes)
{
    return row->entries > 0 && row->entries <= TLOG_GROUP_ENTRIES && row->bytes <= payloads_bytes &&
           row->offset <= payloads_bytes - row->bytes && row->before.pos >= sealed->header.pos &&
           row->before.pos <= sealed->end.pos && row->before.seq >= sealed->header.seq &&
           row->before.seq <= sealed->end.seq && row->before.time_ns <= sealed->end.time_ns;
}

/* Reads the directory through once: its hash, and that its rows are in order. */
static int check_directory(struct tlog_sealed *sealed, const uint8_t head[TLOG_HEAD_BYTES], uint64_t payloads_bytes)
{
    enum { BATCH = 64 };
    uint8_t rows[BATCH * TLOG_ROW_BYTES], expected[TLOG_HASH_BYTES];
    struct tlog_point at = {sealed->header.pos, sealed->header.seq, sealed->header.chain, sealed->header.time_ns, 0, 0};
    uint64_t entries = 0, offset = 0;
    XXH3_state_t hash;
    tlog_hash_begin(&hash, 0);
    XXH3_64bits_update(&hash, head, TLOG_HEAD_BYTES);
    for (uint32_t done = 0, n; done < sealed->groups; done += n) {
        n = sealed->groups - done < BATCH ? sealed->groups - done : BATCH;
        int r = read_all(sealed, rows, n * TLOG_ROW_BYTES, sealed->groups_foff + (uint64_t)done * TLOG_ROW_BYTES);
        if (r < 0)
            return r;
        XXH3_64bits_update(&hash, rows, n * TLOG_ROW_BYTES);
        for (uint32_t i = 0; i < n; i++) {
            struct tlog_sealed_row row;
            tlog_sealed_row_decode(&row, rows + i * TLOG_ROW_BYTES);
            if (!row_fits(sealed, &row, payloads_bytes) || row.offset != offset || row.before.pos < at.pos ||
                row.before.seq < at.seq || row.before.time_ns < at.time_ns ||
                (done + i == 0 && !same_point(&row.before, &at)))
                return -EBADMSG;
            at = row.before;
            offset += row.bytes;
            entries += row.entries;
        }
    }
    int r = read_all(sealed, expected, sizeof expected, sealed->payloads_foff - sizeof expected);
    if (r < 0)
        return r;
    bool empty = sealed->groups > 0 || same_point(&sealed->end, &at);
    return empty && tlog_get_u64(expected) == XXH3_64bits_digest(&hash) && offset == payloads_bytes &&
                   entries == sealed->entries
               ? 0
               : -EBADMSG;
}

/* The index, whose frame follows that of the last data. */
static int read_index(struct tlog_sealed *sealed, uint32_t index_bytes, struct tlog_error *error)
{
    enum { FIXED = TLOG_SKIPPABLE_BYTES + TLOG_HEAD_BYTES + TLOG_HASH_BYTES };
    uint64_t foff = sealed->frame_foffs[sealed->frames], content = sealed->end.pos;
    uint8_t bytes[TLOG_SKIPPABLE_BYTES + TLOG_HEAD_BYTES];
    struct tlog_sealed_head head;
    if (index_bytes < FIXED)
        return damaged(error, "its index is too short");
    int r = read_all(sealed, bytes, sizeof bytes, foff);
    if (r < 0)
        return r;
    if (tlog_get_u32(bytes) != TLOG_INDEX_MAGIC || tlog_get_u32(bytes + 4) != index_bytes - TLOG_SKIPPABLE_BYTES)
        return damaged(error, "its index is damaged");
    r = tlog_sealed_head_decode(&head, bytes + TLOG_SKIPPABLE_BYTES);
    if (r == -ENOTSUP) {
        tlog_error_set(error, "sealed in a newer format");
        return r;
    }
    if (r < 0 || head.frames != sealed->frames || head.end.pos < head.header.pos ||
        head.end.pos - head.header.pos != content || head.groups > (index_bytes - FIXED) / TLOG_ROW_BYTES)
        return damaged(error, "its index is damaged");
    sealed->header = head.header;
    sealed->end = head.end;
    sealed->entries = head.entries;
    sealed->groups = head.groups;
    sealed->groups_foff = foff + sizeof bytes;
    sealed->payloads_foff = sealed->groups_foff + (uint64_t)head.groups * TLOG_ROW_BYTES + TLOG_HASH_BYTES;
    r = check_directory(sealed, bytes + TLOG_SKIPPABLE_BYTES, foff + index_bytes - sealed->payloads_foff);
    return r == -EBADMSG ? damaged(error, "its index is damaged") : r;
}

int tlog_sealed_open(struct tlog_sealed **out, const struct tlog_io *io, int fd, uint64_t segment_pos,
                     const uint8_t topic_id[16], struct tlog_error *error)
{
    struct tlog_sealed *sealed = calloc(1, sizeof *sealed);
    struct tlog_io_stat stat;
    uint32_t index_bytes;
    if (!sealed) {
        io->close(io, fd);
        return -ENOMEM;
    }
    sealed->io = io;
    sealed->fd = fd;
    int r = io->stat(io, fd, &stat);
    if (r == 0) {
        sealed->file_bytes = stat.size_bytes;
        r = read_seek_table(sealed, &index_bytes, error);
    }
    if (r == 0)
        r = read_index(sealed, index_bytes, error);
    if (r == 0 && topic_id && memcmp(topic_id, sealed->header.topic_id, 16) != 0)
        r = damaged(error, "belongs to another topic");
    if (r == 0 && sealed->header.pos != segment_pos) {
        tlog_error_set(error, "belongs to position %" PRIu64, sealed->header.pos);
        r = -EBADMSG;
    }
    if (r < 0) {
        tlog_sealed_free(sealed);
        return r;
    }
    *out = sealed;
    return 0;
}

void tlog_sealed_free(struct tlog_sealed *sealed)
{
    if (!sealed)
        return;
    sealed->io->close(sealed->io, sealed->fd);
    free(sealed->frame_foffs);
    free(sealed);
}

/* ---- frames ---- */

/* What decompressing takes, kept for the next who does: as many as there are at a time, and at most so many idle. */
struct decoder {
    struct decoder *next;
    ZSTD_DCtx *context;
    uint8_t frame[TLOG_FRAME_MOST];
};

enum { DECODERS_IDLE = 2 };
static pthread_mutex_t decoders_lock = PTHREAD_MUTEX_INITIALIZER; /* guards these */
static struct decoder *decoders;
static unsigned decoders_idle;

static struct decoder *take_decoder(void)
{
    pthread_mutex_lock(&decoders_lock);
    struct decoder *decoder = decoders;
    if (decoder) {
        decoders = decoder->next;
        decoders_idle--;
    }
    pthread_mutex_unlock(&decoders_lock);
    if (decoder)
        return decoder;
    decoder = malloc(sizeof *decoder);
    if (decoder && !(decoder->context = ZSTD_createDCtx())) {
        free(decoder);
        decoder = NULL;
    }
    return decoder;
}

static void give_decoder(struct decoder *decoder)
{
    pthread_mutex_lock(&decoders_lock);
    bool keep = decoders_idle < DECODERS_IDLE;
    if (keep) {
        decoder->next = decoders;
        decoders = decoder;
        decoders_idle++;
    }
    pthread_mutex_unlock(&decoders_lock);
    if (!keep) {
        ZSTD_freeDCtx(decoder->context);
        free(decoder);
    }
}

int tlog_sealed_frame(const struct tlog_sealed *sealed, uint32_t frame, void *to)
{
    enum { DESCRIPTOR = 4, CHECKSUM = 4 }; /* a frame that says it has no checksum is none of ours */
    uint64_t foff = sealed->frame_foffs[frame];
    size_t bytes = (size_t)(sealed->frame_foffs[frame + 1] - foff), content = tlog_sealed_frame_bytes(sealed, frame);
    struct decoder *decoder = take_decoder();
    if (!decoder)
        return -ENOMEM;
    int r = read_all(sealed, decoder->frame, bytes, foff);
    if (r == 0 && (bytes <= DESCRIPTOR || !(decoder->frame[DESCRIPTOR] & CHECKSUM) ||
                   ZSTD_decompressDCtx(decoder->context, to, content, decoder->frame, bytes) != content))
        r = -EBADMSG;
    give_decoder(decoder);
    return r;
}

/* ---- the index ---- */

static int read_row(const struct tlog_sealed *sealed, uint32_t group, struct tlog_sealed_row *row)
{
    uint8_t bytes[TLOG_ROW_BYTES];
    int r = read_all(sealed, bytes, sizeof bytes, sealed->groups_foff + (uint64_t)group * TLOG_ROW_BYTES);
    if (r < 0)
        return r;
    tlog_sealed_row_decode(row, bytes);
    return row_fits(sealed, row, sealed->file_bytes - sealed->payloads_foff) ? 0 : -EBADMSG;
}

/* Where a group ends. */
static int group_end(const struct tlog_sealed *sealed, uint32_t group, struct tlog_point *end)
{
    struct tlog_sealed_row next;
    *end = sealed->end;
    if (group + 1 >= sealed->groups)
        return 0;
    int r = read_row(sealed, group + 1, &next);
    *end = next.before;
    return r;
}

int tlog_sealed_find_group(const struct tlog_sealed *sealed, enum tlog_by by, uint64_t value, uint32_t *group)
{
    uint32_t low = 0, high = sealed->groups;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct tlog_point end;
        int r = group_end(sealed, middle, &end);
        if (r < 0)
            return r;
        bool before = by == TLOG_BY_SEQ    ? end.seq <= value
                      : by == TLOG_BY_TIME ? end.time_ns < (int64_t)value
                                           : end.pos <= value;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    *group = low;
    return 0;
}

int tlog_sealed_group(const struct tlog_sealed *sealed, uint32_t group, struct tlog_point *before,
                      struct tlog_entry **out, size_t *count)
{
    struct tlog_sealed_row row;
    struct tlog_point after;
    int r = read_row(sealed, group, &row);
    if (r == 0)
        r = group_end(sealed, group, &after);
    if (r < 0)
        return r;
    uint8_t *payload = malloc(row.bytes + 1);
    struct tlog_entry *entries = malloc(row.entries * sizeof *entries);
    r = payload && entries ? read_all(sealed, payload, row.bytes, sealed->payloads_foff + row.offset) : -ENOMEM;
    if (r == 0 && tlog_hash(payload, row.bytes, row.before.chain) != row.hash)
        r = -EBADMSG;
    if (r == 0)
        r = tlog_group_decode(payload, row.bytes, sealed->header.pos, &row.before, &after, entries, row.entries);
    free(payload);
    if (r < 0) {
        free(entries);
        return r;
    }
    *before = row.before;
    *out = entries;
    *count = row.entries;
    return 0;
}
