/* Walking a segment's index entry by entry, with or without reading the data: recovery and verification both
 * stand on this. Any thread; the files must not be written meanwhile. */
#ifndef TLOG_SCAN_H
#define TLOG_SCAN_H

#include "log/index.h"
#include "log/io.h"

/* Where a log stands: what the next entry must follow. */
struct tlog_point {
    uint64_t pos, seq, chain;
    int64_t time_ns;
    uint32_t epoch, leader;
};

/* Where a log stands after an entry. */
static inline struct tlog_point tlog_point_after(const struct tlog_entry *entry)
{
    return (struct tlog_point){
        .pos = entry->pos + entry->length_bytes,
        .seq = entry->seq + entry->records,
        .chain = entry->chain,
        .time_ns = entry->time_ns,
        .epoch = entry->epoch,
        .leader = entry->leader,
    };
}

struct tlog_scan {
    const struct tlog_io *io;
    int log_fd, idx_fd;
    uint64_t segment_pos;
    uint64_t log_bytes, idx_bytes; /* the files' sizes */
    uint64_t idx_foff;             /* of the next entry to read */
    struct tlog_point at;          /* after the last good entry */
    bool check_data;               /* read the data and compare chains */
    /* Called for every good entry, before `at` moves on; non-zero ends the scan. May be NULL. */
    int (*each)(void *arg, const struct tlog_entry *entry);
    void *arg;
};

/* Opens a scan at the segment's first entry; the header is checked against `topic_id` unless that is NULL, and
 * `at` set from it (epoch and leader 0). -EBADMSG with a sentence for a header that is not one. */
int tlog_scan_open(struct tlog_scan *scan, const struct tlog_io *io, int log_fd, int idx_fd, uint64_t segment_pos,
                   const uint8_t topic_id[16], struct tlog_error *error);
/* Sets the scan to the boundary between entries at `pos`: the last entry that ends at or before it is `at`,
 * without being checked. -EBADMSG when no entry ends at pos exactly; then the scan is as it was. */
int tlog_scan_seek(struct tlog_scan *scan, uint64_t pos);
/* Sets the scan before the last `count` entries (or the first). */
int tlog_scan_tail(struct tlog_scan *scan, uint64_t count);
/* Goes on to the end of the index. 0: every entry was good; -EBADMSG: `at` is after the last good one, `error`
 * says what is wrong with the next; what `each` returned; -EIO, -ENOMEM. */
int tlog_scan_run(struct tlog_scan *scan, struct tlog_error *error);
/* Entry number n of the index, decoded, unchecked. */
int tlog_scan_entry(const struct tlog_scan *scan, uint64_t number, struct tlog_entry *out);
static inline uint64_t tlog_scan_entries(const struct tlog_scan *scan)
{
    return scan->idx_bytes < TLOG_INDEX_HEADER_BYTES ? 0
                                                     : (scan->idx_bytes - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES;
}

#endif
