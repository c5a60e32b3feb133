/* Verification of one segment. Nothing here is shared but the count of bytes. */
#include "log/verify_segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/verify_sealed.h"

void tlog_verify_segment_name(const struct tlog_verify_segment *s, const char *suffix, char to[TLOG_VERIFY_NAME_BYTES])
{
    snprintf(to, TLOG_VERIFY_NAME_BYTES, "%s/%" PRIu32 "/%020" PRIu64 ".%s", s->topic->name, s->partition, s->pos,
             suffix);
}

/* Adds a line "FILE: what" to what was found. Without memory it is only counted. */
static void damage(struct tlog_verify_segment *s, const char *suffix, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void damage(struct tlog_verify_segment *s, const char *suffix, const char *format, ...)
{
    char name[TLOG_VERIFY_NAME_BYTES], what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    tlog_verify_segment_name(s, suffix, name);
    s->found.damages++;
    size_t bytes = strlen(name) + strlen(what) + 4;
    char *grown = realloc(s->damage, s->damage_bytes + bytes);
    if (!grown)
        return;
    s->damage = grown;
    s->damage_bytes += (size_t)snprintf(grown + s->damage_bytes, bytes, "%s: %s\n", name, what);
}

static int count_entry(void *arg, const struct tlog_entry *entry)
{
    struct tlog_verify_segment *s = arg;
    s->found.entries++;
    s->found.records += entry->records;
    s->found.bytes += entry->length_bytes;
    atomic_fetch_add_explicit(&s->ground->done_bytes, entry->length_bytes, memory_order_relaxed);
    return 0;
}

static int open_file(const struct tlog_verify_segment *s, const char *suffix)
{
    char name[TLOG_VERIFY_NAME_BYTES], path[TLOG_NAME_BYTES];
    tlog_verify_segment_name(s, suffix, name);
    if (snprintf(path, sizeof path, "%s/topics/%s", s->ground->path, name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    return s->ground->io->open(s->ground->io, path, TLOG_IO_READ);
}

/* ---- raw files ---- */

/* Bytes of the last segment past its last entry: whole lines, and an unfinished one. */
static int count_tail(struct tlog_verify_segment *s, const struct tlog_scan *scan)
{
    uint64_t foff = scan->at.pos - scan->segment_pos, whole = foff;
    char *buffer = malloc(1 << 16);
    if (!buffer)
        return -ENOMEM;
    int r = 0;
    for (uint64_t at = foff; at < scan->log_bytes;) {
        ssize_t n = s->ground->io->pread(s->ground->io, scan->log_fd, buffer, 1 << 16, at);
        if (n <= 0) {
            r = n < 0 ? (int)n : 0;
            break;
        }
        const char *newline = s->raw ? NULL : memrchr(buffer, '\n', (size_t)n);
        if (newline)
            whole = at + (uint64_t)(newline + 1 - buffer);
        at += (uint64_t)n;
    }
    free(buffer);
    s->found.unindexed_bytes += whole - foff;
    s->found.torn_bytes += scan->log_bytes - whole;
    return r;
}

/* Goes past an entry that is not good, by its own fields, when they can be believed. */
static bool skip_entry(struct tlog_scan *scan)
{
    struct tlog_entry entry;
    uint64_t number = (scan->idx_foff - TLOG_INDEX_HEADER_BYTES) / TLOG_ENTRY_BYTES;
    if (tlog_scan_entry(scan, number, &entry) < 0 ||
        !tlog_entry_follows(&entry, scan->at.pos, scan->at.seq, scan->at.time_ns) ||
        entry.pos - scan->segment_pos + entry.length_bytes > scan->log_bytes)
        return false;
    scan->at = tlog_point_after(&entry);
    scan->idx_foff += TLOG_ENTRY_BYTES;
    return true;
}

/* Whether what follows was never told durable, so that recovery cuts it or takes it from the journal: past what
 * was synced, and nothing good after it, or an entry alone whose data had not arrived. */
static bool was_cut_short(const struct tlog_verify_segment *s, const struct tlog_scan *scan)
{
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&s->ground->checkpoint, s->topic->id, s->partition);
    if (row && scan->at.pos < row->synced)
        return false;
    struct tlog_scan after = *scan;
    after.each = NULL;
    uint64_t good = 0;
    while (good == 0 && skip_entry(&after)) {
        uint64_t from = after.at.pos;
        (void)tlog_scan_run(&after, NULL);
        good = after.at.pos - from;
    }
    bool alone = scan->idx_foff + 2 * TLOG_ENTRY_BYTES > scan->idx_bytes;
    return good == 0 && (alone || (s->ground->other_boot && row));
}

static int scan_segment(struct tlog_verify_segment *s, struct tlog_scan *scan)
{
    scan->check_data = true;
    scan->each = count_entry;
    scan->arg = s;
    for (;;) {
        struct tlog_error error = {0};
        int r = tlog_scan_run(scan, &error);
        uint64_t end = scan->at.pos - scan->segment_pos;
        if (r == 0 && !s->last && scan->log_bytes > end)
            damage(s, "log", "%" PRIu64 " bytes past its last entry", scan->log_bytes - end);
        if (r == 0)
            return s->last ? count_tail(s, scan) : 0;
        if (r != -EBADMSG)
            return r;
        if (s->last && was_cut_short(s, scan)) {
            s->found.torn_bytes += scan->log_bytes - end;
            return 0;
        }
        damage(s, "idx", "%s", error.text);
        if (!skip_entry(scan))
            return 0;
    }
}

/* Whether the making of the last segment was cut short: no bytes, no header. Recovery makes it anew. */
static bool unmade(const struct tlog_verify_segment *s, int log, int idx)
{
    struct tlog_io_stat st;
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header header;
    if (!s->last || (log < 0 && log != -ENOENT) || (idx < 0 && idx != -ENOENT))
        return false;
    if (log >= 0 && (s->ground->io->stat(s->ground->io, log, &st) < 0 || st.size_bytes > 0))
        return false;
    return log < 0 || idx < 0 ||
           s->ground->io->pread(s->ground->io, idx, bytes, sizeof bytes, 0) < (ssize_t)sizeof bytes ||
           tlog_index_header_decode(&header, bytes) == -EBADMSG;
}

/* Whether the active segment has no index because a copy was made while it was: nothing in it was known as durable. */
static bool has_no_index_yet(const struct tlog_verify_segment *s, int log, int idx)
{
    const struct tlog_checkpoint_row *row = tlog_checkpoint_find(&s->ground->checkpoint, s->topic->id, s->partition);
    return s->last && log >= 0 && idx == -ENOENT && (!row || row->synced <= s->pos);
}

/* What that segment holds, as bytes past the last entry. */
static int count_unindexed(struct tlog_verify_segment *s, int log)
{
    struct tlog_io_stat st = {0};
    int r = s->ground->io->stat(s->ground->io, log, &st);
    struct tlog_scan scan = {
        .io = s->ground->io, .log_fd = log, .segment_pos = s->pos, .log_bytes = st.size_bytes, .at = {.pos = s->pos}};
    return r < 0 ? r : count_tail(s, &scan);
}

static int verify_raw(struct tlog_verify_segment *s)
{
    struct tlog_error error = {0};
    struct tlog_scan scan;
    const struct tlog_io *io = s->ground->io;
    int log = open_file(s, "log"), idx = open_file(s, "idx"), r = 0;
    if (unmade(s, log, idx)) {
        s->found.segments--;
    } else if (has_no_index_yet(s, log, idx)) {
        r = count_unindexed(s, log);
    } else if (log == -ENOENT || idx == -ENOENT) {
        damage(s, log == -ENOENT ? "log" : "idx", "missing");
    } else if (log < 0 || idx < 0) {
        r = log < 0 ? log : idx;
    } else if ((r = tlog_scan_open(&scan, io, log, idx, s->pos, s->topic->id, &error)) == -EBADMSG || r == -ENOTSUP) {
        damage(s, "idx", "%s", error.text);
        r = 0;
    } else if (r == 0) {
        s->raw_header = scan.at;
        s->has_raw_header = true;
        r = scan_segment(s, &scan);
        s->end = scan.at;
        s->has_end = true;
    }
    if (log >= 0)
        io->close(io, log);
    if (idx >= 0)
        io->close(io, idx);
    return r;
}

/* ---- the sealed file ---- */

static void sealed_damage(void *arg, const char *what)
{
    damage(arg, "zst", "%s", what);
}

static void sealed_entry(void *arg, const struct tlog_entry *entry)
{
    const struct tlog_verify_segment *s = arg;
    if (!(s->forms & TLOG_RAW)) /* or they are counted already */
        (void)count_entry(arg, entry);
}

static int verify_sealed(struct tlog_verify_segment *s)
{
    struct tlog_error error = {0};
    struct tlog_sealed *sealed;
    int fd = open_file(s, "zst");
    int r = fd < 0 ? fd : tlog_sealed_open(&sealed, s->ground->io, fd, s->pos, s->topic->id, &error);
    if (r == -EBADMSG || r == -ENOTSUP) {
        damage(s, "zst", "%s", error.text);
        return 0;
    }
    if (r < 0)
        return r;
    const struct tlog_index_header *header = &sealed->header;
    s->sealed_header = (struct tlog_point){header->pos, header->seq, header->chain, header->time_ns, 0, 0};
    s->has_sealed_header = true;
    if (s->has_end && (s->end.pos != sealed->end.pos || s->end.chain != sealed->end.chain))
        damage(s, "zst", "is not the same as its raw files");
    s->end = sealed->end;
    s->has_end = true;
    struct tlog_sealed_check check = {sealed, sealed_entry, sealed_damage, s};
    r = tlog_sealed_check(&check);
    tlog_sealed_free(sealed);
    return r;
}

void tlog_verify_segment(struct tlog_verify_segment *s)
{
    s->found.segments++;
    if (s->forms & TLOG_RAW)
        s->result = verify_raw(s);
    if (s->result == 0 && (s->forms & TLOG_SEALED))
        s->result = verify_sealed(s);
}
