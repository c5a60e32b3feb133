/* Appending.
 *
 * The common case: the bytes go to the .log with one pwrite and are added to the open entry; when that has 4
 * KiB it is closed, that is, written to the .idx. What is past the last entry is found again by a restart in
 * the same boot, because the page cache outlives the process, and it is cut after a power cut, when nobody was
 * told that it is durable.
 *
 * An append that ends an unfinished line (or is a raw record) has an entry of its own, written to the .idx
 * before the bytes: the entry names the rest that it ends. A kill between the two leaves an entry without its
 * data, which recovery drops, and the rest is still unfinished; with both there, the rest has ended. Neither
 * twice nor lost.
 *
 * How it fails. A write to the .log fails (disk full, EIO): the file is cut back to where it ended, the entry
 * as well, and the caller gets the error. Closing the open entry fails: its bytes are safe in the .log, so it
 * stays open and grows; the next append tries again first and fails if it cannot. */
#include <errno.h>
#include <stdlib.h>

#include "log/partition.h"

static int open_entry_get(struct tlog_partition *p)
{
    if (p->open)
        return 0;
    p->open = aligned_alloc(64, (sizeof *p->open + 63) & ~(size_t)63);
    if (!p->open)
        return -ENOMEM;
    p->open->entry.length_bytes = 0;
    return 0;
}

int tlog_entry_pretend(struct tlog_partition *p, const struct tlog_point *from)
{
    int r = open_entry_get(p);
    if (r < 0)
        return r;
    p->open->entry = (struct tlog_entry){.pos = from->pos,
                                         .seq = from->seq,
                                         .time_ns = p->last_append_ns,
                                         .length_bytes = (uint32_t)(p->end - from->pos),
                                         .records = (uint32_t)(p->end_seq - from->seq)};
    p->closed = *from;
    return 0;
}

static uint64_t active_bytes(struct tlog_partition *p)
{
    return p->end - tlog_active(p)->pos;
}

/* Starts an entry at the end of the log. The first one of a later segment says that a segment begins. */
static void start_entry(struct tlog_partition *p, int64_t now_ns)
{
    bool rolled = p->end == tlog_active(p)->pos && (p->segment_count > 1 || p->start_next > 0);
    p->open->entry = (struct tlog_entry){
        .pos = p->end,
        .seq = p->end_seq,
        .time_ns = now_ns,
        .epoch = p->closed.epoch,
        .leader = p->closed.leader,
        .flags = rolled ? TLOG_ENTRY_ROLL : 0,
    };
    p->open->opened_ns = p->ground->io->boottime_ns(p->ground->io);
    tlog_hash_begin(&p->open->hash, p->closed.chain);
}

static void hash_parts(struct tlog_partition *p, const struct tlog_append *append)
{
    for (int i = 0; i < append->count; i++)
        XXH3_64bits_update(&p->open->hash, append->parts[i].iov_base, append->parts[i].iov_len);
    p->open->entry.length_bytes += (uint32_t)append->bytes;
    p->open->entry.records += append->records;
}

static int write_entry(struct tlog_partition *p, struct tlog_handle *handle)
{
    struct tlog_entry *entry = &p->open->entry;
    uint8_t bytes[TLOG_ENTRY_BYTES];
    entry->chain = tlog_entry_chain(entry, XXH3_64bits_digest(&p->open->hash));
    tlog_entry_encode(bytes, entry);
    struct iovec part = {bytes, sizeof bytes};
    return p->ground->io->pwritev(p->ground->io, handle->idx_fd, &part, 1, p->idx_bytes);
}

/* The open entry is in the index: the log stands after it. */
static void entry_closed(struct tlog_partition *p)
{
    const struct tlog_entry *entry = &p->open->entry;
    p->idx_bytes += TLOG_ENTRY_BYTES;
    p->closed = tlog_point_after(entry);
    p->open->entry.length_bytes = 0;
}

int tlog_entry_close(struct tlog_partition *p)
{
    struct tlog_handle *handle;
    if (!p->open || p->open->entry.length_bytes == 0)
        return 0;
    int r = tlog_active_open(p, &handle);
    if (r == 0)
        r = write_entry(p, handle);
    if (r < 0)
        return r;
    handle->dirty = true;
    entry_closed(p);
    return 0;
}

void tlog_reserve_release(struct tlog_partition *p)
{
    struct tlog_handle *handle;
    if (p->deleted || (p->reserved_log <= active_bytes(p) && p->reserved_idx <= p->idx_bytes) ||
        tlog_active_open(p, &handle) < 0)
        return;
    (void)p->ground->io->truncate(p->ground->io, handle->log_fd, active_bytes(p));
    (void)p->ground->io->truncate(p->ground->io, handle->idx_fd, p->idx_bytes);
    p->reserved_log = p->reserved_idx = 0;
}

/* ---- rolling ---- */

int tlog_segment_roll(struct tlog_partition *p)
{
    int r = tlog_entry_close(p);
    if (r < 0)
        return r;
    tlog_reserve_release(p);
    uint64_t disk = ((active_bytes(p) + 4095) & ~(uint64_t)4095) + ((p->idx_bytes + 4095) & ~(uint64_t)4095);
    r = tlog_segment_make(p);
    if (r == 0)
        tlog_segment_form(p, p->segment_count - 2, TLOG_RAW, &(struct tlog_io_stat){.disk_bytes = disk});
    /* Unfinished lines will end in the segment that is now the active one. */
    int reserved = tlog_reserve(p, 0, p->pending, p->pending_count);
    return r < 0 ? r : reserved;
}

static bool roll_due(struct tlog_partition *p, uint64_t bytes, int64_t now_ns)
{
    if (active_bytes(p) == 0)
        return false;
    if (active_bytes(p) + bytes > (uint64_t)tlog_value(p->topic, TLOG_SEGMENT_BYTES) ||
        p->idx_bytes >= TLOG_SEGMENT_INDEX_BYTES)
        return true;
    int64_t age_ms = tlog_value(p->topic, TLOG_SEGMENT_MS);
    return age_ms >= 0 && p->segment_first_ns != 0 && (now_ns - p->segment_first_ns) / 1000000 >= age_ms;
}

/* ---- space for unfinished lines ---- */

enum { LEAST_STEP = 64 << 10, MOST_STEP = 4 << 20 };

static int reserve_file(struct tlog_partition *p, int fd, uint64_t from, uint64_t needed, uint64_t *reserved)
{
    if (needed <= *reserved)
        return 0;
    /* In steps of a sixteenth of what is there: seldom for the busy, little for the small. */
    uint64_t step = from / 16 < LEAST_STEP ? LEAST_STEP : from / 16 > MOST_STEP ? MOST_STEP : from / 16;
    uint64_t to = needed + step;
    if (from < *reserved)
        from = *reserved;
    int r = p->ground->io->reserve(p->ground->io, fd, from, to - from);
    if (r == -ENOSPC || r == -EDQUOT) { /* the step is too much: exactly what is needed, then */
        to = needed;
        r = p->ground->io->reserve(p->ground->io, fd, from, to - from);
    }
    if (r < 0)
        return r == -EOPNOTSUPP ? 0 : r;
    *reserved = to;
    return 0;
}

int tlog_reserve(struct tlog_partition *p, uint64_t bytes, uint64_t pending, uint32_t count)
{
    struct tlog_handle *handle;
    if (count == 0)
        return 0;
    int r = tlog_active_open(p, &handle);
    uint64_t log = active_bytes(p), idx = p->idx_bytes;
    if (r == 0)
        r = reserve_file(p, handle->log_fd, log, log + bytes + pending + count, &p->reserved_log);
    if (r == 0)
        r = reserve_file(p, handle->idx_fd, idx, idx + (2 + count) * (uint64_t)TLOG_ENTRY_BYTES, &p->reserved_idx);
    return r;
}

/* ---- appending ---- */

static void cut_back(struct tlog_partition *p, struct tlog_handle *handle)
{
    (void)p->ground->io->truncate(p->ground->io, handle->log_fd, active_bytes(p));
    (void)p->ground->io->truncate(p->ground->io, handle->idx_fd, p->idx_bytes);
    p->reserved_log = p->reserved_idx = 0; /* truncation gave it back */
    (void)tlog_reserve(p, 0, p->pending, p->pending_count);
}

/* Entry first, then the bytes. */
static int append_own(struct tlog_partition *p, const struct tlog_append *append, int64_t now_ns)
{
    struct tlog_handle *handle;
    int r = tlog_entry_close(p);
    if (r == 0)
        r = tlog_active_open(p, &handle);
    if (r < 0)
        return r;
    start_entry(p, now_ns);
    p->open->entry.producer = append->producer_seq ? append->producer : 0;
    p->open->entry.producer_seq = append->producer_seq;
    hash_parts(p, append);
    handle->dirty = true;
    r = write_entry(p, handle);
    if (r == 0)
        r = p->ground->io->pwritev(p->ground->io, handle->log_fd, append->parts, append->count, active_bytes(p));
    if (r == 0) {
        entry_closed(p);
        return 0;
    }
    p->open->entry.length_bytes = 0;
    cut_back(p, handle);
    return r;
}

static int append_open(struct tlog_partition *p, const struct tlog_append *append, int64_t now_ns)
{
    struct tlog_handle *handle;
    if (p->open->entry.length_bytes >= TLOG_ENTRY_CLOSE_BYTES) {
        int r = tlog_entry_close(p); /* failed before */
        if (r < 0)
            return r;
    }
    int r = tlog_active_open(p, &handle);
    if (r < 0)
        return r;
    handle->dirty = true;
    r = p->ground->io->pwritev(p->ground->io, handle->log_fd, append->parts, append->count, active_bytes(p));
    if (r < 0) {
        cut_back(p, handle);
        return r;
    }
    if (p->open->entry.length_bytes == 0)
        start_entry(p, now_ns);
    p->open->entry.time_ns = now_ns;
    hash_parts(p, append);
    return 0;
}

/* Whether a record appended now is as old as that before the maintenance looks by itself. */
static bool is_soon(const struct tlog_partition *p, enum tlog_key key)
{
    int64_t ms = tlog_value(p->topic, key);
    return ms >= 0 && ms < TLOG_MAINTAIN_LOOK_NS / 1000000;
}

int tlog_append_locked(struct tlog_partition *p, const struct tlog_append *append)
{
    int64_t now_ns = tlog_ground_time_ns(p->ground);
    if (now_ns < p->last_append_ns)
        now_ns = p->last_append_ns;
    int r = open_entry_get(p);
    if (r == 0 && !append->no_roll && roll_due(p, append->bytes, now_ns))
        r = tlog_segment_roll(p);
    if (r == 0)
        r = append->own_entry ? append_own(p, append, now_ns) : append_open(p, append, now_ns);
    if (r < 0)
        return r == -EFBIG ? -ENOSPC : r;
    if (p->segment_first_ns == 0) {
        p->segment_first_ns = now_ns;
        if (is_soon(p, TLOG_SEGMENT_MS) || is_soon(p, TLOG_RETENTION_MS))
            tlog_ground_kick_maintain(p->ground);
    }
    p->end += append->bytes;
    p->end_seq += append->records;
    p->last_append_ns = p->changed_ns = now_ns;
    atomic_store_explicit(&p->committed, p->end, memory_order_release);
    if (!append->own_entry && p->open->entry.length_bytes >= TLOG_ENTRY_CLOSE_BYTES)
        (void)tlog_entry_close(p);
    tlog_partition_dirtied(p);
    return 0;
}

void tlog_append_lock(struct tlog_partition *p)
{
    pthread_mutex_lock(&p->lock);
    while (atomic_load_explicit(&p->ground->gate_shut, memory_order_acquire)) {
        pthread_mutex_unlock(&p->lock);
        tlog_gate_wait(p->ground);
        pthread_mutex_lock(&p->lock);
    }
}

int tlog_partition_append(struct tlog_partition *partition, const void *data, size_t length, uint32_t records)
{
    struct tlog_partition *p = partition;
    struct iovec part = {(void *)(uintptr_t)data, length};
    struct tlog_append append = {
        .parts = &part,
        .count = 1,
        .bytes = length,
        .records = records,
        .own_entry = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW,
    };
    int64_t quota = tlog_value(p->topic, TLOG_QUOTA_BYTES);
    if (length == 0)
        return 0;
    tlog_append_lock(p);
    int r = tlog_partition_refuses(p);
    if (r == 0 && quota >= 0 && p->end - p->start + p->pending + p->pending_count + length > (uint64_t)quota)
        r = -EDQUOT;
    if (r == 0)
        r = tlog_reserve(p, length, p->pending, p->pending_count);
    if (r == 0)
        r = tlog_append_locked(p, &append);
    pthread_mutex_unlock(&p->lock);
    if (r == 0 && atomic_load_explicit(&p->watched, memory_order_relaxed) && p->ground->options.grown)
        p->ground->options.grown(p->ground->options.arg, p);
    return r;
}
