/* Reading: views of the mapped log, copies, and finding records by number, time and position. */
#include <errno.h>
#include <stdlib.h>

#include "log/partition.h"

enum {
    MAP_SLACK_BYTES = 4 << 20, /* a segment outgrows segment.bytes by its last append */
    READ_AHEAD_BYTES = 8 << 20,
};

/* ---- views and copies ---- */

/* The handle's mapping, made when first wanted, wide enough for the segment to grow. */
static int map_handle(struct tlog_partition *p, struct tlog_handle *handle, uint64_t segment_bytes)
{
    if (handle->map)
        return 0;
    uint64_t bytes = (uint64_t)tlog_value(p->topic, TLOG_SEGMENT_BYTES);
    if (bytes < segment_bytes)
        bytes = segment_bytes;
    bytes = (bytes + MAP_SLACK_BYTES + 4095) & ~(uint64_t)4095;
    const void *map;
    int r = p->ground->io->map(p->ground->io, handle->log_fd, bytes, &map);
    if (r < 0)
        return r;
    handle->map = map;
    handle->map_bytes = bytes;
    return 0;
}

/* A place in a segment's files, with a reference to them. */
struct place {
    struct tlog_handle *handle; /* NULL: pos is the end */
    uint64_t foff;
    uint64_t have;          /* bytes from there to the end of the segment or the log */
    uint64_t segment_bytes; /* up to the same */
};

/* With the lock. -ESTALE below the start. */
static int find_place(struct tlog_partition *p, uint64_t pos, struct place *out)
{
    *out = (struct place){0};
    if (pos < p->segments[0].pos)
        return -ESTALE;
    if (pos >= p->end)
        return 0;
    unsigned i = tlog_segment_find(p, pos);
    uint64_t end = i + 1 < p->segment_count ? p->segments[i + 1].pos : p->end;
    int r = tlog_segment_open(p, i, &out->handle);
    if (r < 0)
        return r;
    tlog_handle_ref(out->handle);
    out->foff = pos - p->segments[i].pos;
    out->have = end - pos;
    out->segment_bytes = end - p->segments[i].pos;
    return 0;
}

int tlog_partition_view(struct tlog_partition *partition, uint64_t pos, size_t length, bool sequential,
                        struct tlog_view *out)
{
    struct tlog_partition *p = partition;
    struct place at;
    *out = (struct tlog_view){0};
    pthread_mutex_lock(&p->lock);
    int r = find_place(p, pos, &at);
    if (r == 0 && at.handle)
        r = map_handle(p, at.handle, at.segment_bytes);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && at.handle && at.foff >= at.handle->map_bytes)
        r = -ENOMEM; /* segment.bytes was raised since: copy instead */
    if (r < 0 || !at.handle) {
        if (at.handle)
            tlog_handle_unref(at.handle);
        return r;
    }
    uint64_t mapped = at.handle->map_bytes - at.foff, have = at.have < mapped ? at.have : mapped;
    out->data = at.handle->map + at.foff;
    out->length = have < length ? have : length;
    out->hold = at.handle;
    if (sequential && at.foff / (READ_AHEAD_BYTES / 2) != (at.foff + out->length) / (READ_AHEAD_BYTES / 2))
        p->ground->io->readahead(p->ground->io, at.handle->log_fd, at.foff + out->length, READ_AHEAD_BYTES);
    return 0;
}

void tlog_view_release(struct tlog_view *view)
{
    if (view->hold)
        tlog_handle_unref(view->hold);
    view->hold = NULL;
}

/* Copies from one segment; *copied is 0 only at the end. */
static int read_some(struct tlog_partition *p, uint64_t pos, uint8_t *to, size_t length, size_t *copied)
{
    struct place at;
    *copied = 0;
    pthread_mutex_lock(&p->lock);
    int r = find_place(p, pos, &at);
    pthread_mutex_unlock(&p->lock);
    if (r < 0 || !at.handle)
        return r;
    if (length > at.have)
        length = at.have;
    ssize_t n = p->ground->io->pread(p->ground->io, at.handle->log_fd, to, length, at.foff);
    tlog_handle_unref(at.handle);
    if (n < 0)
        return (int)n;
    if ((size_t)n < length) /* the file is shorter than the index says */
        return -EIO;
    *copied = length;
    return 0;
}

ssize_t tlog_partition_read(struct tlog_partition *partition, uint64_t pos, void *to, size_t length)
{
    size_t done = 0;
    while (done < length) {
        size_t copied;
        int r = read_some(partition, pos + done, (uint8_t *)to + done, length - done, &copied);
        if (r < 0)
            return done > 0 ? (ssize_t)done : r;
        if (copied == 0)
            break;
        done += copied;
    }
    return (ssize_t)done;
}

/* ---- finding ---- */

/* A scan over the closed entries of segment i, with the lock held. */
static int scan_segment(struct tlog_partition *p, unsigned i, struct tlog_scan *scan)
{
    struct tlog_handle *handle;
    struct tlog_io_stat idx;
    int r = tlog_segment_open(p, i, &handle);
    if (r == 0)
        r = p->ground->io->stat(p->ground->io, handle->idx_fd, &idx);
    if (r < 0)
        return r;
    bool last = i + 1 == p->segment_count;
    *scan = (struct tlog_scan){.io = p->ground->io,
                               .log_fd = handle->log_fd,
                               .idx_fd = handle->idx_fd,
                               .segment_pos = p->segments[i].pos,
                               .idx_foff = TLOG_INDEX_HEADER_BYTES,
                               .idx_bytes = last ? p->idx_bytes : idx.size_bytes};
    return 0;
}

enum by { BY_SEQ, BY_TIME, BY_POS };

/* Whether an entry ends before what is looked for. */
static bool before(const struct tlog_entry *entry, enum by by, uint64_t value)
{
    if (by == BY_SEQ)
        return entry->seq + entry->records <= value;
    if (by == BY_TIME)
        return entry->time_ns < (int64_t)value;
    return entry->pos + entry->length_bytes <= value;
}

/* The first entry of the scan with records that is not before `value`; *out is left alone when there is none. */
static int find_entry(struct tlog_scan *scan, enum by by, uint64_t value, struct tlog_entry *out)
{
    uint64_t low = 0, high = tlog_scan_entries(scan), end = high;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        struct tlog_entry entry;
        int r = tlog_scan_entry(scan, middle, &entry);
        if (r < 0)
            return r;
        if (before(&entry, by, value)) {
            low = middle + 1;
        } else {
            high = middle;
            *out = entry;
        }
    }
    while (low < end && out->length_bytes == 0 && ++low < end) { /* an epoch's beginning has none */
        int r = tlog_scan_entry(scan, low, out);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The entry that holds what is looked for, the open one included; length 0 when it lies past the end. */
static int find(struct tlog_partition *p, enum by by, uint64_t value, struct tlog_entry *out)
{
    unsigned low = tlog_segment_first(p), high = p->segment_count;
    struct tlog_scan scan;
    out->length_bytes = 0;
    while (low < high) { /* the first segment whose last entry is not before it */
        unsigned middle = low + (high - low) / 2;
        struct tlog_entry last;
        int r = scan_segment(p, middle, &scan);
        uint64_t entries = tlog_scan_entries(&scan);
        if (r == 0 && entries > 0)
            r = tlog_scan_entry(&scan, entries - 1, &last);
        if (r < 0)
            return r;
        if (entries > 0 && before(&last, by, value)) /* only the last segment can have none */
            low = middle + 1;
        else
            high = middle;
    }
    if (low < p->segment_count) {
        int r = scan_segment(p, low, &scan);
        if (r == 0)
            r = find_entry(&scan, by, value, out);
        if (r < 0 || out->length_bytes > 0)
            return r;
    }
    if (p->open && p->open->entry.length_bytes > 0 && !before(&p->open->entry, by, value))
        *out = p->open->entry;
    return 0;
}

/* Walks the records of one entry to the first with at least this number, or that begins at or after `at`. */
static int walk(struct tlog_partition *p, const struct tlog_entry *entry, uint64_t seq, uint64_t at, uint64_t *pos,
                uint64_t *found_seq)
{
    enum { PIECE = 64 << 10 };
    uint64_t here = entry->pos, number = entry->seq, end = entry->pos + entry->length_bytes;
    char *buffer = NULL;
    ssize_t n = 0;
    bool raw = entry->records == 1;
    if (raw && (number < seq || here < at)) {
        here = end;
        number++;
    }
    uint64_t read_pos = here;
    while (n >= 0 && (number < seq || here < at) && read_pos < end) {
        if (!buffer && !(buffer = malloc(PIECE)))
            return -ENOMEM;
        n = tlog_partition_read(p, read_pos, buffer, end - read_pos < PIECE ? end - read_pos : PIECE);
        for (char *from = buffer, *newline;
             n > 0 && (number < seq || here < at) && (newline = memchr(from, '\n', (size_t)(buffer + n - from)));
             from = newline + 1) {
            here = read_pos + (uint64_t)(newline + 1 - buffer);
            number++;
        }
        if (n == 0)
            n = -EIO;
        read_pos += n > 0 ? (uint64_t)n : 0;
    }
    free(buffer);
    if (n < 0)
        return (int)n;
    *pos = here;
    *found_seq = number;
    return 0;
}

static int find_record(struct tlog_partition *p, enum by by, uint64_t value, uint64_t *pos, uint64_t *found_seq)
{
    struct tlog_entry entry = {0};
    pthread_mutex_lock(&p->lock);
    uint64_t at = p->end, seq = p->end_seq;
    int r = find(p, by, value, &entry);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && entry.length_bytes > 0)
        r = walk(p, &entry, by == BY_SEQ ? value : 0, by == BY_POS ? value : 0, &at, &seq);
    if (r < 0)
        return r;
    if (pos)
        *pos = at;
    if (found_seq)
        *found_seq = seq;
    return 0;
}

int tlog_partition_find_seq(struct tlog_partition *partition, uint64_t seq, uint64_t *pos, uint64_t *found_seq)
{
    return find_record(partition, BY_SEQ, seq, pos, found_seq);
}

int tlog_partition_find_time(struct tlog_partition *partition, int64_t time_ns, uint64_t *pos, uint64_t *found_seq)
{
    return find_record(partition, BY_TIME, (uint64_t)time_ns, pos, found_seq);
}

int tlog_partition_find_pos(struct tlog_partition *partition, uint64_t at, uint64_t *pos, uint64_t *found_seq)
{
    return find_record(partition, BY_POS, at, pos, found_seq);
}

int tlog_partition_entries(struct tlog_partition *partition, int (*each)(void *arg, const struct tlog_entry *entry),
                           void *arg)
{
    struct tlog_partition *p = partition;
    int r = 0;
    uint64_t next = 0; /* segments may be trimmed or added meanwhile */
    while (r == 0) {
        struct tlog_scan scan;
        struct tlog_handle *handle = NULL;
        pthread_mutex_lock(&p->lock);
        unsigned i = tlog_segment_find(p, next < p->start ? p->start : next);
        i += p->segments[i].pos < next;
        bool there = i < p->segment_count;
        next = there ? p->segments[i].pos + 1 : next;
        if (there)
            r = scan_segment(p, i, &scan);
        if (there && r == 0) {
            handle = p->segments[i].handle;
            tlog_handle_ref(handle);
        }
        pthread_mutex_unlock(&p->lock);
        if (!there)
            break;
        for (uint64_t n = 0; r == 0 && n < tlog_scan_entries(&scan); n++) {
            struct tlog_entry entry;
            r = tlog_scan_entry(&scan, n, &entry);
            if (r == 0)
                r = each(arg, &entry);
        }
        if (handle)
            tlog_handle_unref(handle);
    }
    return r;
}
