/* Recovery of one partition: finding where its log ends, putting in what the journal holds, and making the files
 * say so. Nothing is thrown away: bytes that do not count go to a .cut file beside the log, which is synced
 * before the log is cut. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/recover.h"

enum { COPY_BYTES = 1 << 20, TAIL_ENTRIES = 64, NEW_ENTRY_BYTES = 1 << 20 };

struct state {
    struct tlog_recover *recover; /* NULL when only looking */
    struct tlog_partition *p;
    const struct tlog_io *io;
    char dir[TLOG_NAME_BYTES];
    bool failed_marker, raw, changed;
    struct tlog_point at; /* where the log ends, as found so far */
    unsigned segment;     /* the one that it stands in */
    uint64_t idx_bytes;   /* of its index */
    bool index_tail;      /* whole lines past `at` count */
};

static void note(struct state *s, const char *before, uint64_t number, const char *after)
{
    tlog_store_note(s->p->store, "%s/%u: %s %" PRIu64 "%s", s->p->topic->name, s->p->number, before, number, after);
}

/* ---- the directory ---- */

struct found {
    uint64_t *positions;
    size_t count;
    bool failed_marker;
};

static int add_position(void *arg, const char *name)
{
    struct found *found = arg;
    char *end;
    uint64_t pos = strtoull(name, &end, 10);
    if (strcmp(name, "failed") == 0)
        found->failed_marker = true;
    if (end != name + 20 || (strcmp(end, ".log") != 0 && strcmp(end, ".idx") != 0))
        return 0;
    for (size_t i = 0; i < found->count; i++)
        if (found->positions[i] == pos)
            return 0;
    uint64_t *grown = realloc(found->positions, (found->count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    found->positions = grown;
    grown[found->count++] = pos;
    return 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static int list_segments(struct state *s)
{
    struct found found = {0};
    int r = s->io->list(s->io, s->dir, add_position, &found);
    if (r == 0 && found.count > 0)
        qsort(found.positions, found.count, sizeof *found.positions, by_position);
    for (size_t i = 0; r == 0 && i < found.count; i++)
        r = tlog_segment_add(s->p, found.positions[i], 0);
    free(found.positions);
    s->failed_marker = found.failed_marker;
    return r;
}

static void file_name(struct state *s, uint64_t pos, const char *suffix, char to[TLOG_NAME_BYTES])
{
    char path[TLOG_NAME_BYTES];
    tlog_segment_path(s->p, pos, path);
    if (snprintf(to, TLOG_NAME_BYTES, "%s%s", path, suffix) >= TLOG_NAME_BYTES)
        to[TLOG_NAME_BYTES - 1] = 0;
}

static uint64_t size_of(struct state *s, uint64_t pos, const char *suffix)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    file_name(s, pos, suffix, path);
    return s->io->stat_path(s->io, path, &st) == 0 ? st.size_bytes : 0;
}

static bool has_file(struct state *s, uint64_t pos, const char *suffix)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    file_name(s, pos, suffix, path);
    return s->io->stat_path(s->io, path, &st) == 0;
}

static void close_segment(struct state *s, unsigned i)
{
    tlog_handles_close(&s->p->store->handles, &s->p->segments[i].handle);
}

/* ---- scanning ---- */

static int open_scan(struct state *s, unsigned i, struct tlog_scan *scan, struct tlog_error *error)
{
    struct tlog_handle *handle;
    int r = tlog_segment_open(s->p, i, &handle);
    if (r == 0)
        r = tlog_scan_open(scan, s->io, handle->log_fd, handle->idx_fd, s->p->segments[i].pos, s->p->topic->id, error);
    if (r == 0)
        s->p->segments[i].seq = scan->at.seq;
    return r;
}

static void stand(struct state *s, unsigned i, const struct tlog_scan *scan)
{
    s->at = scan->at;
    s->segment = i;
    s->idx_bytes = scan->idx_foff;
}

static int tell_progress(void *arg, const struct tlog_entry *entry)
{
    struct tlog_recover *recover = arg;
    const struct tlog_options *options = &recover->store->options;
    uint64_t before = recover->done_bytes >> 24;
    recover->done_bytes += entry->length_bytes;
    if (options->progress && recover->done_bytes >> 24 != before)
        options->progress(options->arg, recover->done_bytes,
                          recover->total_bytes > recover->done_bytes ? recover->total_bytes : recover->done_bytes);
    return 0;
}

/* The same boot: the last entry is looked at, the rest believed. -EBADMSG: not to be believed after all. */
static int trust(struct state *s)
{
    unsigned last = s->p->segment_count - 1;
    struct tlog_scan scan;
    int r = open_scan(s, last, &scan, NULL);
    if (r == 0)
        r = tlog_scan_tail(&scan, 1);
    if (r < 0)
        return r;
    scan.check_data = true;
    r = tlog_scan_run(&scan, NULL);
    s->index_tail = r == 0;
    if (r == -EBADMSG) {
        /* An entry whose data was not written yet when the daemon was killed: nobody was answered. */
        struct tlog_entry entry;
        r = tlog_scan_entry(&scan, (scan.idx_foff - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES, &entry);
        if (r == 0 && entry.pos - scan.segment_pos + entry.length_bytes <= scan.log_bytes)
            r = -EBADMSG;
    }
    if (r == 0)
        stand(s, last, &scan);
    return r;
}

/* Goes on verifying from the scan over this and the later segments as far as it holds. */
static int verify_on(struct state *s, unsigned i, struct tlog_scan *scan)
{
    struct tlog_recover *recover = s->recover;
    for (;;) {
        scan->check_data = true;
        if (recover) {
            scan->each = tell_progress;
            scan->arg = recover;
            recover->total_bytes += scan->log_bytes - (scan->at.pos - scan->segment_pos);
        }
        int r = tlog_scan_run(scan, NULL);
        stand(s, i, scan);
        if (r < 0 && r != -EBADMSG)
            return r;
        if (r == -EBADMSG || ++i >= s->p->segment_count || s->p->segments[i].pos != s->at.pos)
            return 0;
        struct tlog_scan next;
        r = open_scan(s, i, &next, NULL);
        if (r < 0 && r != -EBADMSG && r != -ENOENT)
            return r;
        if (r < 0 || next.at.seq != s->at.seq || next.at.chain != s->at.chain)
            return 0;
        next.at.epoch = s->at.epoch;
        next.at.leader = s->at.leader;
        *scan = next;
    }
}

/* Another boot: verified from `synced` on. */
static int verify(struct state *s, uint64_t synced)
{
    struct tlog_scan scan;
    unsigned i = tlog_segment_find(s->p, synced > s->p->segments[0].pos ? synced : s->p->segments[0].pos);
    int r = open_scan(s, i, &scan, NULL);
    if (r == 0 && synced > s->p->segments[i].pos && tlog_scan_seek(&scan, synced) < 0)
        r = open_scan(s, i, &scan, NULL);
    return r < 0 ? r : verify_on(s, i, &scan);
}

/* A copy: the last segment's last entries; the whole of it when those do not hold. */
static int verify_tail(struct state *s)
{
    struct tlog_scan scan;
    unsigned last = s->p->segment_count - 1;
    int r = open_scan(s, last, &scan, NULL);
    if (r == 0)
        r = tlog_scan_tail(&scan, TAIL_ENTRIES);
    if (r == 0)
        r = verify_on(s, last, &scan);
    struct tlog_scan again = scan;
    if (r == 0 && scan.idx_foff < scan.idx_bytes / TLOG_ENTRY_BYTES * TLOG_ENTRY_BYTES) {
        r = open_scan(s, last, &again, NULL);
        if (r == 0)
            r = verify_on(s, last, &again);
    }
    return r;
}

/* ---- a lost index ---- */

/* Hashes log bytes [at, at + bytes) of segment i as the data of an entry. */
static int chain_of(struct state *s, int log_fd, uint64_t segment_pos, const struct tlog_entry *entry, uint64_t *chain)
{
    uint8_t *data = malloc(entry->length_bytes + 1);
    if (!data)
        return -ENOMEM;
    ssize_t n = s->io->pread(s->io, log_fd, data, entry->length_bytes, entry->pos - segment_pos);
    if (n == (ssize_t)entry->length_bytes)
        *chain = tlog_entry_chain(entry, tlog_hash(data, entry->length_bytes, s->at.chain));
    free(data);
    return n < 0 ? (int)n : n == (ssize_t)entry->length_bytes ? 0 : -EIO;
}

/* Writes an entry behind s->idx_bytes and stands after it. */
static int add_entry(struct state *s, unsigned i, struct tlog_entry *entry)
{
    struct tlog_handle *handle;
    uint8_t bytes[TLOG_ENTRY_BYTES];
    int r = tlog_segment_open(s->p, i, &handle);
    if (r == 0)
        r = chain_of(s, handle->log_fd, s->p->segments[i].pos, entry, &entry->chain);
    if (r < 0)
        return r;
    tlog_entry_encode(bytes, entry);
    struct iovec part = {bytes, sizeof bytes};
    r = s->recover ? s->io->pwritev(s->io, handle->idx_fd, &part, 1, s->idx_bytes) : 0;
    if (r < 0)
        return r;
    handle->dirty = s->recover != NULL;
    s->idx_bytes += TLOG_ENTRY_BYTES;
    s->at = (struct tlog_point){entry->pos + entry->length_bytes,
                                entry->seq + entry->records,
                                entry->chain,
                                entry->time_ns,
                                entry->epoch,
                                entry->leader};
    return 0;
}

static uint32_t count_lines(const uint8_t *data, size_t bytes, size_t *whole)
{
    uint32_t lines = 0;
    *whole = 0;
    for (const uint8_t *newline; (newline = memchr(data + *whole, '\n', bytes - *whole)); lines++)
        *whole = (size_t)(newline + 1 - data);
    return lines;
}

/* Indexes the whole lines of segment i past `at`, in entries of about a MiB. */
static int index_lines(struct state *s, unsigned i)
{
    struct tlog_handle *handle;
    struct tlog_io_stat st;
    int r = tlog_segment_open(s->p, i, &handle);
    if (r == 0)
        r = s->io->stat(s->io, handle->log_fd, &st);
    size_t room = NEW_ENTRY_BYTES;
    uint8_t *data = NULL;
    while (r == 0) {
        uint64_t foff = s->at.pos - s->p->segments[i].pos;
        if (foff >= st.size_bytes)
            break;
        uint8_t *grown = realloc(data, room);
        if (!grown) {
            r = -ENOMEM;
            break;
        }
        data = grown;
        ssize_t n = s->io->pread(s->io, handle->log_fd, data, room, foff);
        size_t whole = 0;
        uint32_t lines = n > 0 ? count_lines(data, (size_t)n, &whole) : 0;
        if (n < 0)
            r = (int)n;
        else if (lines == 0 && (size_t)n < room)
            break;
        else if (lines == 0)
            room *= 2;
        if (r < 0 || lines == 0)
            continue;
        bool first = i > 0 && foff == 0;
        struct tlog_entry entry = {.pos = s->at.pos,
                                   .seq = s->at.seq,
                                   .length_bytes = (uint32_t)whole,
                                   .records = lines,
                                   .epoch = s->at.epoch,
                                   .leader = s->at.leader,
                                   .flags = first ? TLOG_ENTRY_ROLL : 0,
                                   .time_ns = st.mtime_ns > s->at.time_ns ? st.mtime_ns : s->at.time_ns};
        r = add_entry(s, i, &entry);
        s->p->store->recovery.indexed_records += lines;
    }
    free(data);
    return r;
}

static int write_header(struct state *s, uint64_t pos, const struct tlog_point *at)
{
    char path[TLOG_NAME_BYTES];
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header header = {.pos = pos, .seq = at->seq, .chain = at->chain, .time_ns = at->time_ns};
    memcpy(header.topic_id, s->p->topic->id, 16);
    tlog_index_header_encode(bytes, &header);
    file_name(s, pos, ".idx", path);
    int fd = s->io->open(s->io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    if (fd < 0)
        return fd;
    struct iovec part = {bytes, sizeof bytes};
    int r = s->io->pwritev(s->io, fd, &part, 1, 0);
    s->io->close(s->io, fd);
    return r;
}

/* The index of segment i is gone, its bytes are there: its lines are indexed anew, under a new epoch. */
static int index_anew(struct state *s, unsigned i)
{
    struct tlog_point at = {.chain = tlog_root_chain(s->p->topic->id, s->p->number)};
    struct tlog_scan scan;
    if (i > 0) {
        int r = open_scan(s, i - 1, &scan, NULL);
        if (r == 0)
            r = tlog_scan_run(&scan, NULL);
        if (r < 0)
            return r;
        at = scan.at;
    }
    at.pos = s->p->segments[i].pos;
    int r = write_header(s, at.pos, &at);
    if (r < 0)
        return r;
    s->at = at;
    s->segment = i;
    s->idx_bytes = TLOG_INDEX_HEADER_BYTES;
    struct tlog_entry epoch = {.pos = at.pos,
                               .seq = at.seq,
                               .time_ns = at.time_ns,
                               .epoch = at.epoch + 1,
                               .leader = at.leader,
                               .flags = TLOG_ENTRY_EPOCH};
    r = add_entry(s, i, &epoch);
    if (r == 0)
        r = index_lines(s, i);
    note(s, "the index of segment", at.pos, " was lost; its lines were indexed anew");
    s->changed = true;
    return r;
}

/* ---- what the journal holds ---- */

/* Makes a segment begin at s->at. */
static int roll(struct state *s)
{
    struct tlog_handle *handle;
    int r = tlog_active_open(s->p, &handle);
    if (r == 0)
        r = s->io->truncate(s->io, handle->log_fd, s->at.pos - tlog_active(s->p)->pos);
    if (r == 0)
        r = s->io->truncate(s->io, handle->idx_fd, s->idx_bytes);
    if (r < 0)
        return r;
    handle->dirty = true;
    s->p->closed = s->at;
    r = tlog_segment_make(s->p);
    s->idx_bytes = TLOG_INDEX_HEADER_BYTES;
    s->segment = s->p->segment_count - 1;
    return r;
}

static int drop_segments(struct state *s, unsigned from);

static int replay_entry(struct state *s, const struct tlog_entry *entry, const uint8_t *data)
{
    struct tlog_handle *handle;
    uint8_t bytes[TLOG_ENTRY_BYTES];
    if (entry->pos + entry->length_bytes <= s->at.pos && entry->length_bytes > 0)
        return 0;
    if (!tlog_entry_follows(entry, s->at.pos, s->at.seq, s->at.time_ns) ||
        tlog_entry_chain(entry, tlog_hash(data, entry->length_bytes, s->at.chain)) != entry->chain)
        return -EBADMSG;
    int r = drop_segments(s, s->segment + 1);
    if (r == 0 && (entry->flags & TLOG_ENTRY_ROLL) && s->at.pos != tlog_active(s->p)->pos)
        r = roll(s);
    if (r == 0)
        r = tlog_active_open(s->p, &handle);
    if (r < 0)
        return r;
    struct iovec part = {(void *)(uintptr_t)data, entry->length_bytes};
    tlog_entry_encode(bytes, entry);
    struct iovec index = {bytes, sizeof bytes};
    r = entry->length_bytes > 0 ? s->io->pwritev(s->io, handle->log_fd, &part, 1, s->at.pos - tlog_active(s->p)->pos)
                                : 0;
    if (r == 0)
        r = s->io->pwritev(s->io, handle->idx_fd, &index, 1, s->idx_bytes);
    handle->dirty = true;
    if (r < 0)
        return r;
    s->idx_bytes += TLOG_ENTRY_BYTES;
    s->at = (struct tlog_point){entry->pos + entry->length_bytes,
                                entry->seq + entry->records,
                                entry->chain,
                                entry->time_ns,
                                entry->epoch,
                                entry->leader};
    s->p->store->recovery.replayed_bytes += entry->length_bytes;
    s->changed = true;
    return 0;
}

static int replay(struct state *s)
{
    size_t count;
    struct tlog_replayed *records = tlog_recover_records(s->recover, s->p, &count);
    for (size_t i = 0; i < count; i++) {
        struct tlog_replayed *record = &records[i];
        if (record->type != TLOG_JOURNAL_APPEND || record->body_bytes < 16)
            continue;
        uint64_t entries = tlog_get_u32(record->body + 8), data = 16 + entries * TLOG_ENTRY_BYTES;
        for (uint64_t k = 0; k < entries && data <= record->body_bytes; k++) {
            struct tlog_entry entry;
            tlog_entry_decode(&entry, record->body + 16 + k * TLOG_ENTRY_BYTES);
            if (entry.length_bytes > record->body_bytes - data)
                break;
            int r = replay_entry(s, &entry, record->body + data);
            data += entry.length_bytes;
            if (r == -EBADMSG) {
                note(s, "the journal goes on at", entry.pos, ", past what the log holds: bytes are missing");
                s->p->damaged = true;
                return 0;
            }
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* ---- cutting ---- */

static bool all_zero(const uint8_t *data, size_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

/* Copies [foff, end) of a file to NAME, unless it is only zeros (space that was never written). */
static int save(struct state *s, int fd, uint64_t foff, uint64_t end, const char *name)
{
    char path[TLOG_NAME_BYTES], part[64];
    uint8_t *data = malloc(COPY_BYTES);
    int out = -1, r = data ? 0 : -ENOMEM;
    uint64_t at = 0;
    for (unsigned n = 0; r == 0 && out < 0 && n < 1000; n++) { /* never over an earlier one */
        snprintf(part, sizeof part, n ? "%s.%u" : "%s", name, n);
        snprintf(path, sizeof path, "%.4000s/%s", s->dir, part);
        out = s->io->open(s->io, path, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_EXCL);
        if (out < 0 && out != -EEXIST)
            r = out;
    }
    bool zeros = true;
    for (; r == 0 && foff < end;) {
        ssize_t n = s->io->pread(s->io, fd, data, end - foff < COPY_BYTES ? end - foff : COPY_BYTES, foff);
        if (n <= 0) {
            r = n < 0 ? (int)n : -EIO;
            break;
        }
        struct iovec piece = {data, (size_t)n};
        zeros = zeros && all_zero(data, (size_t)n);
        r = s->io->pwritev(s->io, out, &piece, 1, at);
        foff += (size_t)n;
        at += (size_t)n;
    }
    if (r == 0 && !zeros)
        r = s->io->sync(s->io, out);
    if (out >= 0)
        s->io->close(s->io, out);
    if (out >= 0 && (r < 0 || zeros))
        s->io->unlink(s->io, path);
    if (r == 0 && !zeros)
        r = s->io->sync_dir(s->io, s->dir);
    free(data);
    if (r == 0 && !zeros) {
        s->p->store->recovery.cut_bytes += at;
        s->p->store->recovery.cut_files++;
        tlog_store_note(s->p->store, "%s/%u: %" PRIu64 " bytes past the last whole record were cut and kept in %s",
                        s->p->topic->name, s->p->number, at, part);
    }
    return r;
}

/* Takes segments `from` and later out of the log, and keeps their bytes. */
static int drop_segments(struct state *s, unsigned from)
{
    int r = 0;
    while (r == 0 && s->p->segment_count > from) {
        unsigned last = s->p->segment_count - 1;
        uint64_t pos = s->p->segments[last].pos;
        char path[TLOG_NAME_BYTES], name[64];
        close_segment(s, last);
        file_name(s, pos, ".log", path);
        int fd = s->io->open(s->io, path, TLOG_IO_READ);
        struct tlog_io_stat st = {0};
        if (fd >= 0) {
            snprintf(name, sizeof name, "%020" PRIu64 ".cut", pos);
            r = s->io->stat(s->io, fd, &st);
            if (r == 0 && st.size_bytes > 0)
                r = save(s, fd, 0, st.size_bytes, name);
            s->io->close(s->io, fd);
        }
        if (r == 0)
            (void)s->io->unlink(s->io, path);
        file_name(s, pos, ".idx", path);
        if (r == 0)
            (void)s->io->unlink(s->io, path);
        s->p->segment_count--;
        s->changed = true;
    }
    return r;
}

/* Cuts the active segment's files to what counts. */
static int cut(struct state *s)
{
    struct tlog_handle *handle;
    struct tlog_io_stat log, idx;
    char name[64];
    uint64_t foff = s->at.pos - tlog_active(s->p)->pos;
    int r = tlog_active_open(s->p, &handle);
    if (r == 0)
        r = s->io->stat(s->io, handle->log_fd, &log);
    if (r == 0)
        r = s->io->stat(s->io, handle->idx_fd, &idx);
    snprintf(name, sizeof name, "%020" PRIu64 ".cut", s->at.pos);
    if (r == 0 && log.size_bytes > foff) {
        r = save(s, handle->log_fd, foff, log.size_bytes, name);
        if (r == 0)
            r = s->io->truncate(s->io, handle->log_fd, foff);
        handle->dirty = s->changed = true;
    }
    if (r == 0 && idx.size_bytes != s->idx_bytes) {
        r = s->io->truncate(s->io, handle->idx_fd, s->idx_bytes);
        handle->dirty = s->changed = true;
    }
    s->p->log_inode = log.inode;
    s->p->idx_inode = idx.inode;
    return r;
}

/* ---- after a failed fsync ---- */

static int rewrite_file(struct state *s, uint64_t pos, const char *suffix)
{
    char from[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES], new_suffix[16];
    snprintf(new_suffix, sizeof new_suffix, "%s.new", suffix);
    file_name(s, pos, suffix, from);
    file_name(s, pos, new_suffix, to);
    uint8_t *data = malloc(COPY_BYTES);
    int in = s->io->open(s->io, from, TLOG_IO_READ);
    int out = in < 0 ? in : s->io->open(s->io, to, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    int r = !data ? -ENOMEM : out < 0 ? out : 0;
    for (uint64_t foff = 0; r == 0;) {
        ssize_t n = s->io->pread(s->io, in, data, COPY_BYTES, foff);
        if (n <= 0) {
            r = (int)n;
            break;
        }
        struct iovec piece = {data, (size_t)n};
        r = s->io->pwritev(s->io, out, &piece, 1, foff);
        foff += (size_t)n;
    }
    if (r == 0)
        r = s->io->sync(s->io, out);
    if (in >= 0)
        s->io->close(s->io, in);
    if (out >= 0)
        s->io->close(s->io, out);
    free(data);
    if (r == 0)
        r = s->io->rename(s->io, to, from);
    return r;
}

/* Writes what was not known durable into fresh files. */
static int rewrite(struct state *s, uint64_t synced)
{
    char marker[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    int r = 0;
    unsigned i = tlog_segment_find(s->p, synced > s->p->segments[0].pos ? synced : s->p->segments[0].pos);
    for (; r == 0 && i < s->p->segment_count; i++) {
        close_segment(s, i);
        r = rewrite_file(s, s->p->segments[i].pos, ".log");
        if (r == 0)
            r = rewrite_file(s, s->p->segments[i].pos, ".idx");
        s->p->store->recovery.rewritten_files += 2;
    }
    if (r == 0)
        r = s->io->sync_dir(s->io, s->dir);
    struct tlog_handle *handle;
    if (r == 0)
        r = tlog_active_open(s->p, &handle);
    if (r == 0)
        r = s->io->stat(s->io, handle->log_fd, &st);
    if (r == 0) {
        s->p->log_inode = st.inode;
        r = s->io->stat(s->io, handle->idx_fd, &st);
        s->p->idx_inode = st.inode;
    }
    snprintf(marker, sizeof marker, "%.4000s/failed", s->dir);
    if (r == 0 && s->failed_marker)
        r = s->io->unlink(s->io, marker);
    if (r == 0)
        r = s->io->sync_dir(s->io, s->dir);
    if (r == 0)
        note(s, "after a failed fsync everything from", synced, " on was written to fresh files and synced");
    return r;
}

/* ---- all of it ---- */

/* Whether the last segment's files are those that this boot has written. */
static bool known_files(struct state *s, const struct tlog_checkpoint_row *row)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat log, idx;
    uint64_t pos = tlog_active(s->p)->pos;
    file_name(s, pos, ".log", path);
    if (s->io->stat_path(s->io, path, &log) < 0)
        return false;
    file_name(s, pos, ".idx", path);
    if (s->io->stat_path(s->io, path, &idx) < 0)
        return false;
    if (row && row->segment_pos == pos && row->log_inode == log.inode && row->idx_inode == idx.inode)
        return true;
    size_t count;
    struct tlog_replayed *records = tlog_recover_records(s->recover, s->p, &count);
    for (size_t i = 0; i < count; i++)
        if (records[i].type == TLOG_JOURNAL_FILES && records[i].body_bytes >= 24 &&
            tlog_get_u64(records[i].body) == pos && tlog_get_u64(records[i].body + 8) == log.inode &&
            tlog_get_u64(records[i].body + 16) == idx.inode)
            return true;
    return false;
}

/* Whether the checkpoint speaks of other files: somebody put a copy in their place. */
static bool replaced(struct state *s, const struct tlog_checkpoint_row *row)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    file_name(s, row->segment_pos, ".log", path);
    return s->io->stat_path(s->io, path, &st) == 0 && st.inode != row->log_inode;
}

/* Segments whose making was cut short (no bytes, no header) are no segments. */
static int drop_unmade(struct state *s)
{
    while (s->p->segment_count > 0) {
        uint64_t pos = tlog_active(s->p)->pos;
        struct tlog_scan scan;
        if (size_of(s, pos, ".log") > 0)
            return 0;
        if (has_file(s, pos, ".log") && has_file(s, pos, ".idx") &&
            open_scan(s, s->p->segment_count - 1, &scan, NULL) == 0)
            return 0;
        int r = drop_segments(s, s->p->segment_count - 1);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Holes cannot be repaired here: they are told, and nothing is added behind them. */
static void find_holes(struct state *s)
{
    for (unsigned i = 0; i + 1 < s->p->segment_count; i++) {
        uint64_t end = s->p->segments[i].pos + size_of(s, s->p->segments[i].pos, ".log");
        if (end < s->p->segments[i + 1].pos && s->p->segments[i + 1].pos <= s->at.pos) {
            note(s, "bytes are missing from", end, " on: a hole between segments");
            s->p->damaged = true;
        }
    }
}

/* Where the log ends, by the case it is. */
static int locate(struct state *s, const struct tlog_checkpoint_row *row, bool trusted)
{
    uint64_t synced = row ? row->synced : s->p->segments[0].pos;
    int r = -EBADMSG;
    if (trusted)
        r = trust(s);
    if (r == -EBADMSG)
        r = s->recover && s->recover->copied ? verify_tail(s) : verify(s, synced);
    if (r != -EBADMSG && r != -ENOENT)
        return r;
    /* An index that is missing, or whose header is not one, where bytes were known to be. */
    unsigned i = tlog_segment_find(s->p, synced > s->p->segments[0].pos ? synced : s->p->segments[0].pos);
    if (s->recover && s->recover->copied)
        i = s->p->segment_count - 1;
    if (s->raw || !s->recover || !has_file(s, s->p->segments[i].pos, ".log")) {
        note(s, "the index of segment", s->p->segments[i].pos, " is missing or damaged");
        s->p->damaged = true;
        s->at = (struct tlog_point){.pos = s->p->segments[i].pos};
        s->segment = i;
        return 0;
    }
    close_segment(s, i);
    return index_anew(s, i);
}

static int make_empty(struct state *s)
{
    struct tlog_topic *topic = s->p->topic;
    struct tlog_point start = {.chain = tlog_root_chain(topic->id, s->p->number)};
    if (s->p->number < topic->ends_count && topic->ends[s->p->number].pos > 0)
        start = topic->ends[s->p->number];
    return tlog_partition_make(s->p, &start);
}

static void settle(struct state *s, const struct tlog_checkpoint_row *row)
{
    struct tlog_partition *p = s->p;
    struct tlog_io_stat st;
    tlog_partition_stand(p, &s->at, s->idx_bytes);
    if (p->last_append_ns == 0) { /* nothing was ever appended: when it was made */
        char path[TLOG_NAME_BYTES];
        file_name(s, tlog_active(p)->pos, ".log", path);
        if (s->io->stat_path(s->io, path, &st) == 0)
            p->last_append_ns = p->changed_ns = st.mtime_ns;
    }
    if (p->end > tlog_active(p)->pos)
        p->segment_first_ns = s->at.time_ns;
    p->synced = row && row->synced <= p->end && row->synced > p->segments[0].pos ? row->synced : p->segments[0].pos;
    p->durable = p->journaled = p->synced;
    p->inherited = p->synced < p->end || s->changed;
    p->unlisted = p->files_unlisted = true;
    for (unsigned i = 0; i + 1 < p->segment_count; i++)
        p->closed_disk_bytes += (p->segments[i + 1].pos - p->segments[i].pos + 4095) & ~(uint64_t)4095;
    if (p->inherited)
        tlog_partition_needs(p, s->recover->checkpoint.lsn ? s->recover->checkpoint.lsn : 1);
}

int tlog_partition_recover(struct tlog_recover *recover, struct tlog_partition *p, struct tlog_error *error)
{
    struct state s = {.recover = recover, .p = p, .io = p->store->io};
    s.raw = tlog_topic_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    tlog_partition_dir(p, s.dir);
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&recover->checkpoint, p->topic->id, p->number);
    if (row && replaced(&s, row))
        row = NULL;
    int r = list_segments(&s);
    if (r == 0)
        r = drop_unmade(&s);
    if (r == 0 && p->segment_count == 0)
        return make_empty(&s);
    bool trusted = r == 0 && recover->same_boot && known_files(&s, row);
    if (r == 0)
        r = locate(&s, row, trusted);
    if (r == 0)
        find_holes(&s);
    if (r == 0 && !p->damaged && !recover->same_boot)
        r = replay(&s);
    if (r == 0 && !p->damaged)
        r = drop_segments(&s, s.segment + 1);
    if (r == 0 && !p->damaged && trusted && s.index_tail && !s.raw)
        r = index_lines(&s, p->segment_count - 1);
    if (r == 0 && !p->damaged)
        r = cut(&s);
    if (r == 0 && !p->damaged && (s.failed_marker || (row && row->failed)))
        r = rewrite(&s, row ? row->synced : p->segments[0].pos);
    if (r < 0) {
        tlog_error_set(error, "recovery: %s", strerror(-r));
        return r;
    }
    struct tlog_scan first;
    if (p->segment_count > 1 && open_scan(&s, 0, &first, NULL) < 0)
        p->damaged = true;
    settle(&s, row);
    return 0;
}

int tlog_partition_look(struct tlog_partition *p, struct tlog_error *error)
{
    struct state s = {.p = p, .io = p->store->io};
    s.raw = tlog_topic_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    tlog_partition_dir(p, s.dir);
    int r = list_segments(&s);
    while (r == 0 && p->segment_count > 1 && size_of(&s, tlog_active(p)->pos, ".log") == 0)
        p->segment_count--;
    if (r == 0 && p->segment_count == 0)
        r = tlog_segment_add(p, 0, 0);
    if (r == 0 && has_file(&s, tlog_active(p)->pos, ".idx"))
        r = trust(&s);
    if (r == -EBADMSG)
        r = locate(&s, NULL, false);
    struct tlog_scan first;
    if (r == 0 && has_file(&s, p->segments[0].pos, ".idx"))
        (void)open_scan(&s, 0, &first, NULL);
    uint64_t idx_bytes = s.idx_bytes;
    struct tlog_point closed = s.at;
    if (r == 0 && s.index_tail && !s.raw)
        r = index_lines(&s, p->segment_count - 1);
    if (r < 0) {
        tlog_error_set(error, "%s", strerror(-r));
        return r;
    }
    tlog_partition_stand(p, &s.at, idx_bytes);
    return s.at.pos > closed.pos ? tlog_entry_pretend(p, &closed) : 0;
}

/* ---- unfinished lines ---- */

/* Whether an entry past `pos` says that it ended this rest. */
static int has_ended(struct tlog_partition *p, const struct tlog_left_rest *rest)
{
    uint64_t from = rest->pos < p->segments[0].pos ? p->segments[0].pos : rest->pos;
    for (unsigned i = tlog_segment_find(p, from); i < p->segment_count; i++) {
        struct tlog_handle *handle;
        struct tlog_scan scan;
        int r = tlog_segment_open(p, i, &handle);
        if (r == 0)
            r = tlog_scan_open(&scan, p->store->io, handle->log_fd, handle->idx_fd, p->segments[i].pos, NULL, NULL);
        if (r < 0)
            return r;
        (void)tlog_scan_seek(&scan, from);
        for (uint64_t n = (scan.idx_foff - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES; n < tlog_scan_entries(&scan);
             n++) {
            struct tlog_entry entry;
            r = tlog_scan_entry(&scan, n, &entry);
            if (r < 0)
                return r;
            if (entry.producer == rest->producer && entry.producer_seq == rest->producer_seq)
                return 1;
        }
    }
    return 0;
}

int tlog_partition_end_rest(struct tlog_partition *p, const struct tlog_left_rest *rest)
{
    int r = tlog_partition_refuses(p);
    if (r < 0)
        return p->damaged ? 0 : r;
    r = has_ended(p, rest);
    if (r != 0)
        return r < 0 ? r : 0;
    struct iovec parts[] = {{rest->data, rest->bytes}, {(void *)(uintptr_t) "\n", 1}};
    struct tlog_append append = {.parts = parts,
                                 .count = 2,
                                 .bytes = rest->bytes + 1,
                                 .records = 1,
                                 .producer = rest->producer,
                                 .producer_seq = rest->producer_seq,
                                 .own_entry = true,
                                 .no_roll = true};
    r = tlog_append_locked(p, &append);
    if (r == 0)
        tlog_partition_needs(p, 1);
    return r < 0 ? r : 1;
}
