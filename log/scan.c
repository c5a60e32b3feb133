#include "log/scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"
#include "log/error.h"

enum { BATCH = 256, DATA_BYTES = 1 << 20 };

static uint64_t entry_foff(uint64_t number)
{
    return TLOG_INDEX_HEADER_BYTES + number * TLOG_ENTRY_BYTES;
}

int tlog_scan_open(struct tlog_scan *scan, const struct tlog_io *io, int log_fd, int idx_fd, uint64_t segment_pos,
                   const uint8_t topic_id[16], struct tlog_error *error)
{
    *scan = (struct tlog_scan){.io = io, .log_fd = log_fd, .idx_fd = idx_fd, .segment_pos = segment_pos};
    struct tlog_io_stat log, idx;
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header header;
    int r = io->stat(io, log_fd, &log);
    if (r == 0)
        r = io->stat(io, idx_fd, &idx);
    if (r < 0)
        return r;
    ssize_t n = io->pread(io, idx_fd, bytes, sizeof bytes, 0);
    if (n < 0)
        return (int)n;
    r = n < (ssize_t)sizeof bytes ? -EBADMSG : tlog_index_header_decode(&header, bytes);
    if (r == -ENOTSUP)
        tlog_error_set(error, "index of a newer format");
    else if (r < 0)
        tlog_error_set(error, "bad index header");
    if (r < 0)
        return r;
    if (topic_id && memcmp(topic_id, header.topic_id, 16) != 0) {
        tlog_error_set(error, "index belongs to another topic");
        return -EBADMSG;
    }
    if (header.pos != segment_pos) {
        tlog_error_set(error, "index belongs to position %" PRIu64, header.pos);
        return -EBADMSG;
    }
    scan->log_bytes = log.size_bytes;
    scan->idx_bytes = idx.size_bytes;
    scan->idx_foff = entry_foff(0);
    scan->at = (struct tlog_point){header.pos, header.seq, header.chain, header.time_ns, 0, 0};
    return 0;
}

int tlog_scan_entry(const struct tlog_scan *scan, uint64_t number, struct tlog_entry *out)
{
    uint8_t bytes[TLOG_ENTRY_BYTES];
    ssize_t n = scan->io->pread(scan->io, scan->idx_fd, bytes, sizeof bytes, entry_foff(number));
    if (n < (ssize_t)sizeof bytes)
        return n < 0 ? (int)n : -EBADMSG;
    tlog_entry_decode(out, bytes);
    return 0;
}

static void stand_after(struct tlog_scan *scan, const struct tlog_entry *entry)
{
    scan->at = tlog_point_after(entry);
}

int tlog_scan_seek(struct tlog_scan *scan, uint64_t pos)
{
    uint64_t low = 0, high = tlog_scan_entries(scan);
    /* The number of entries that end at or before pos. One without records at pos itself is not among them: it may be
     * newer than pos, or what a power cut left of an entry, and is for the scan to judge. */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        struct tlog_entry entry;
        int r = tlog_scan_entry(scan, middle, &entry);
        if (r < 0)
            return r;
        if (entry.pos + entry.length_bytes <= pos && !(entry.length_bytes == 0 && entry.pos == pos))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return pos == scan->segment_pos ? 0 : -EBADMSG;
    struct tlog_entry last;
    int r = tlog_scan_entry(scan, low - 1, &last);
    if (r < 0)
        return r;
    if (last.pos + last.length_bytes != pos)
        return -EBADMSG;
    stand_after(scan, &last);
    scan->idx_foff = entry_foff(low);
    return 0;
}

int tlog_scan_tail(struct tlog_scan *scan, uint64_t count)
{
    uint64_t entries = tlog_scan_entries(scan);
    if (entries <= count)
        return 0;
    struct tlog_entry before;
    int r = tlog_scan_entry(scan, entries - count - 1, &before);
    if (r < 0)
        return r;
    stand_after(scan, &before);
    scan->idx_foff = entry_foff(entries - count);
    return 0;
}

/* The hash of an entry's data, read in pieces. */
static int hash_data(const struct tlog_scan *scan, const struct tlog_entry *entry, uint8_t *buffer, uint64_t *hash)
{
    XXH3_state_t state;
    uint64_t foff = entry->pos - scan->segment_pos, left = entry->length_bytes;
    tlog_hash_begin(&state, scan->at.chain);
    while (left > 0) {
        size_t piece = left < DATA_BYTES ? left : DATA_BYTES;
        ssize_t n = scan->io->pread(scan->io, scan->log_fd, buffer, piece, foff);
        if (n < 0)
            return (int)n;
        if ((size_t)n < piece)
            return -EBADMSG;
        XXH3_64bits_update(&state, buffer, piece);
        foff += piece;
        left -= piece;
    }
    *hash = XXH3_64bits_digest(&state);
    return 0;
}

static int check_entry(struct tlog_scan *scan, const struct tlog_entry *entry, uint8_t *buffer,
                       struct tlog_error *error)
{
    const char *wrong = NULL;
    if (entry->pos != scan->at.pos)
        wrong = "does not follow the entry before it";
    else if (!tlog_entry_follows(entry, scan->at.pos, scan->at.seq, scan->at.time_ns))
        wrong = "bad fields";
    else if (entry->pos - scan->segment_pos + entry->length_bytes > scan->log_bytes)
        wrong = "its data is missing from the .log";
    uint64_t hash = 0;
    if (!wrong && scan->check_data) {
        int r = hash_data(scan, entry, buffer, &hash);
        if (r < 0 && r != -EBADMSG)
            return r;
        if (r < 0 || tlog_entry_chain(entry, hash) != entry->chain)
            wrong = "bad chain: the data or the entry was changed";
    }
    if (!wrong)
        return 0;
    tlog_error_set(error, "entry %" PRIu64 " (position %" PRIu64 "): %s",
                   (scan->idx_foff - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES, scan->at.pos, wrong);
    return -EBADMSG;
}

int tlog_scan_run(struct tlog_scan *scan, struct tlog_error *error)
{
    uint8_t batch[BATCH * TLOG_ENTRY_BYTES];
    uint8_t *buffer = scan->check_data ? malloc(DATA_BYTES) : NULL;
    if (scan->check_data && !buffer)
        return -ENOMEM;
    int r = 0;
    while (r == 0) {
        ssize_t n = scan->io->pread(scan->io, scan->idx_fd, batch, sizeof batch, scan->idx_foff);
        if (n < TLOG_ENTRY_BYTES) { /* an entry cut short is no entry yet */
            r = n < 0 ? (int)n : 0;
            break;
        }
        for (size_t i = 0; r == 0 && i + TLOG_ENTRY_BYTES <= (size_t)n; i += TLOG_ENTRY_BYTES) {
            struct tlog_entry entry;
            tlog_entry_decode(&entry, batch + i);
            r = check_entry(scan, &entry, buffer, error);
            if (r == 0 && scan->each)
                r = scan->each(scan->arg, &entry);
            if (r == 0) {
                stand_after(scan, &entry);
                scan->idx_foff += TLOG_ENTRY_BYTES;
            }
        }
    }
    free(buffer);
    return r;
}
