/* Writing a sealed file: content is gathered to frames, entries to groups. A frame is compressed and written when it
 * is full, a group's payload kept in memory until the index is written, after the last frame. */
#include <stdlib.h>
#include <zstd.h>

#include "log/sealed_format.h"

struct tlog_sealing {
    XXH3_state_t hash; /* of the data since the last entry */
    const struct tlog_io *io;
    int fd, level;
    struct tlog_index_header header;
    struct tlog_point at; /* after the last entry */
    uint64_t foff;        /* where the next frame goes */
    uint64_t synced_foff; /* below it the file was synced */
    uint64_t bytes;       /* of content */
    uint64_t entries;     /* in groups that are closed */
    ZSTD_CCtx *compressor;
    uint8_t *content; /* of the frame that is being gathered */
    uint8_t *frame;   /* the same, compressed */

    struct tlog_point group_before;
    struct tlog_entry *group;
    uint32_t group_count;
    struct tlog_buffer rows, payloads, seek;
};

/* So much is written between two syncs: a sync of all of it at the end would hold up those of others. */
enum { SYNC_BYTES = 8 << 20 };

static int set_up(struct tlog_sealing *sealing, const char *path)
{
    sealing->content = malloc(TLOG_FRAME_BYTES);
    sealing->frame = malloc(TLOG_FRAME_MOST);
    sealing->group = malloc(TLOG_GROUP_ENTRIES * sizeof *sealing->group);
    sealing->compressor = ZSTD_createCCtx();
    if (!sealing->content || !sealing->frame || !sealing->group || !sealing->compressor)
        return -ENOMEM;
    ZSTD_CCtx_setParameter(sealing->compressor, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(sealing->compressor, ZSTD_c_compressionLevel, sealing->level);
    int r = sealing->io->open(sealing->io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    sealing->fd = r;
    return r < 0 ? r : 0;
}

int tlog_sealing_new(struct tlog_sealing **out, const struct tlog_io *io, const char *path,
                     const struct tlog_index_header *header, int level)
{
    size_t bytes = (sizeof(struct tlog_sealing) + 63) & ~(size_t)63;
    struct tlog_sealing *sealing = aligned_alloc(64, bytes);
    if (!sealing)
        return -ENOMEM;
    memset(sealing, 0, bytes);
    sealing->io = io;
    sealing->fd = -1;
    sealing->level = level;
    sealing->header = *header;
    sealing->at = sealing->group_before =
        (struct tlog_point){header->pos, header->seq, header->chain, header->time_ns, 0, 0};
    tlog_hash_begin(&sealing->hash, header->chain);
    int r = set_up(sealing, path);
    if (r < 0) {
        tlog_sealing_free(sealing);
        return r;
    }
    *out = sealing;
    return 0;
}

void tlog_sealing_free(struct tlog_sealing *sealing)
{
    if (!sealing)
        return;
    if (sealing->fd >= 0)
        sealing->io->close(sealing->io, sealing->fd);
    ZSTD_freeCCtx(sealing->compressor);
    free(sealing->content);
    free(sealing->frame);
    free(sealing->group);
    free(sealing->rows.data);
    free(sealing->payloads.data);
    free(sealing->seek.data);
    free(sealing);
}

/* ---- frames ---- */

/* A frame of blocks that hold their bytes as they are (RFC 8878, 3.1.1): magic; a descriptor that says a content size
 * of four bytes, a single segment and a checksum; the size; blocks of 128 KiB at most with three bytes before each;
 * the low half of the content's XXH64. */
static size_t store_frame(uint8_t *to, const uint8_t *content, size_t bytes)
{
    enum { DESCRIPTOR = 0xA4, BLOCK_MOST = 128 << 10 };
    uint8_t *at = to;
    tlog_put_u32(at, ZSTD_MAGICNUMBER);
    at[4] = DESCRIPTOR;
    tlog_put_u32(at + 5, (uint32_t)bytes);
    at += 9;
    for (size_t done = 0; done < bytes;) {
        size_t block = bytes - done < BLOCK_MOST ? bytes - done : BLOCK_MOST;
        uint8_t head[4];
        tlog_put_u32(head, (uint32_t)(block << 3 | (done + block == bytes)));
        memcpy(at, head, 3);
        memcpy(at + 3, content + done, block);
        at += 3 + block;
        done += block;
    }
    tlog_put_u32(at, (uint32_t)XXH64(content, bytes, 0));
    return (size_t)(at + 4 - to);
}

static int add_seek_row(struct tlog_sealing *sealing, size_t frame_bytes, size_t content_bytes)
{
    uint8_t *row = tlog_buffer_room(&sealing->seek, TLOG_SEEK_ROW_BYTES);
    if (!row)
        return -ENOMEM;
    tlog_put_u32(row, (uint32_t)frame_bytes);
    tlog_put_u32(row + 4, (uint32_t)content_bytes);
    sealing->seek.bytes += TLOG_SEEK_ROW_BYTES;
    return 0;
}

static int write_bytes(struct tlog_sealing *sealing, const void *data, size_t bytes)
{
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    int r = bytes > 0 ? sealing->io->pwritev(sealing->io, sealing->fd, &part, 1, sealing->foff) : 0;
    if (r < 0)
        return r;
    sealing->foff += bytes;
    if (sealing->foff - sealing->synced_foff < SYNC_BYTES)
        return 0;
    sealing->synced_foff = sealing->foff;
    return sealing->io->sync(sealing->io, sealing->fd);
}

static int write_frame(struct tlog_sealing *sealing, size_t bytes)
{
    size_t n;
    if (sealing->level == TLOG_SEALED_STORED)
        n = store_frame(sealing->frame, sealing->content, bytes);
    else
        n = ZSTD_compress2(sealing->compressor, sealing->frame, TLOG_FRAME_MOST, sealing->content, bytes);
    if (ZSTD_isError(n))
        return -ENOMEM; /* nothing else can go wrong: there is room for the worst */
    int r = add_seek_row(sealing, n, bytes);
    return r < 0 ? r : write_bytes(sealing, sealing->frame, n);
}

int tlog_sealing_data(struct tlog_sealing *sealing, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    XXH3_64bits_update(&sealing->hash, data, bytes);
    while (bytes > 0) {
        size_t held = sealing->bytes % TLOG_FRAME_BYTES;
        size_t piece = TLOG_FRAME_BYTES - held < bytes ? TLOG_FRAME_BYTES - held : bytes;
        memcpy(sealing->content + held, from, piece);
        from += piece;
        bytes -= piece;
        sealing->bytes += piece;
        int r = held + piece == TLOG_FRAME_BYTES ? write_frame(sealing, TLOG_FRAME_BYTES) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- entries ---- */

static int close_group(struct tlog_sealing *sealing)
{
    size_t offset = sealing->payloads.bytes;
    uint8_t *at = tlog_buffer_room(&sealing->rows, TLOG_ROW_BYTES);
    int r = at ? tlog_group_encode(&sealing->payloads, sealing->header.pos, &sealing->group_before, sealing->group,
                                   sealing->group_count)
               : -ENOMEM;
    if (r < 0)
        return r;
    if (sealing->payloads.bytes > UINT32_MAX)
        return -EFBIG;
    struct tlog_sealed_row row = {
        .before = sealing->group_before,
        .entries = sealing->group_count,
        .offset = (uint32_t)offset,
        .bytes = (uint32_t)(sealing->payloads.bytes - offset),
    };
    row.hash = tlog_hash(sealing->payloads.data + offset, row.bytes, row.before.chain);
    tlog_sealed_row_encode(at, &row);
    sealing->rows.bytes += TLOG_ROW_BYTES;
    sealing->entries += sealing->group_count;
    sealing->group_count = 0;
    sealing->group_before = sealing->at;
    return 0;
}

int tlog_sealing_entry(struct tlog_sealing *sealing, const struct tlog_entry *entry)
{
    uint64_t data_end = sealing->header.pos + sealing->bytes;
    if (!tlog_entry_follows(entry, sealing->at.pos, sealing->at.seq, sealing->at.time_ns) ||
        entry->pos + entry->length_bytes != data_end ||
        tlog_entry_chain(entry, XXH3_64bits_digest(&sealing->hash)) != entry->chain)
        return -EBADMSG;
    sealing->group[sealing->group_count++] = *entry;
    sealing->at = tlog_point_after(entry);
    tlog_hash_begin(&sealing->hash, entry->chain);
    return sealing->group_count == TLOG_GROUP_ENTRIES ? close_group(sealing) : 0;
}

/* ---- the end ---- */

static int write_index(struct tlog_sealing *sealing)
{
    struct tlog_sealed_head head = {
        .header = sealing->header,
        .end = sealing->at,
        .entries = sealing->entries,
        .frames = (uint32_t)(sealing->seek.bytes / TLOG_SEEK_ROW_BYTES),
        .groups = (uint32_t)(sealing->rows.bytes / TLOG_ROW_BYTES),
    };
    uint8_t first[TLOG_SKIPPABLE_BYTES + TLOG_HEAD_BYTES], hash[TLOG_HASH_BYTES];
    size_t bytes = TLOG_HEAD_BYTES + sealing->rows.bytes + TLOG_HASH_BYTES + sealing->payloads.bytes;
    if (bytes > UINT32_MAX - TLOG_SKIPPABLE_BYTES)
        return -EFBIG;
    tlog_put_u32(first, TLOG_INDEX_MAGIC);
    tlog_put_u32(first + 4, (uint32_t)bytes);
    tlog_sealed_head_encode(first + TLOG_SKIPPABLE_BYTES, &head);
    tlog_hash_begin(&sealing->hash, 0);
    XXH3_64bits_update(&sealing->hash, first + TLOG_SKIPPABLE_BYTES, TLOG_HEAD_BYTES);
    XXH3_64bits_update(&sealing->hash, sealing->rows.data, sealing->rows.bytes);
    tlog_put_u64(hash, XXH3_64bits_digest(&sealing->hash));
    int r = write_bytes(sealing, first, sizeof first);
    if (r == 0)
        r = write_bytes(sealing, sealing->rows.data, sealing->rows.bytes);
    if (r == 0)
        r = write_bytes(sealing, hash, sizeof hash);
    if (r == 0)
        r = write_bytes(sealing, sealing->payloads.data, sealing->payloads.bytes);
    return r < 0 ? r : add_seek_row(sealing, TLOG_SKIPPABLE_BYTES + bytes, 0);
}

static int write_seek_table(struct tlog_sealing *sealing)
{
    uint8_t head[TLOG_SKIPPABLE_BYTES], footer[TLOG_SEEK_FOOTER_BYTES];
    tlog_put_u32(head, TLOG_SEEK_MAGIC);
    tlog_put_u32(head + 4, (uint32_t)sealing->seek.bytes + TLOG_SEEK_FOOTER_BYTES);
    tlog_put_u32(footer, (uint32_t)(sealing->seek.bytes / TLOG_SEEK_ROW_BYTES));
    footer[4] = 0; /* the rows carry no checksums: the frames do */
    tlog_put_u32(footer + 5, TLOG_SEEK_FOOTER_MAGIC);
    int r = write_bytes(sealing, head, sizeof head);
    if (r == 0)
        r = write_bytes(sealing, sealing->seek.data, sealing->seek.bytes);
    return r < 0 ? r : write_bytes(sealing, footer, sizeof footer);
}

int tlog_sealing_finish(struct tlog_sealing *sealing)
{
    size_t held = sealing->bytes % TLOG_FRAME_BYTES;
    int r = sealing->at.pos != sealing->header.pos + sealing->bytes ? -EBADMSG : 0;
    if (r == 0 && held > 0)
        r = write_frame(sealing, held);
    if (r == 0 && sealing->group_count > 0)
        r = close_group(sealing);
    if (r == 0)
        r = write_index(sealing);
    if (r == 0)
        r = write_seek_table(sealing);
    return r < 0 ? r : sealing->io->sync(sealing->io, sealing->fd);
}
