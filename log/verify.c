/* Verification of a whole store at rest: every byte against its chain. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/store.h"
#include "log/verify_sealed.h"

struct verify {
    const struct tlog_io *io;
    const char *path, *topic_name;
    struct tlog_verify *out;
    void (*damage)(void *arg, const char *line);
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *arg;
    uint64_t total_bytes, told_bytes;
    struct tlog_checkpoint checkpoint;
    bool other_boot; /* the store has not been recovered since a boot */
};

static void damage(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void damage(struct verify *v, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    v->out->damages++;
    if (v->damage)
        v->damage(v->arg, line);
}

static int count_entry(void *arg, const struct tlog_entry *entry)
{
    struct verify *v = arg;
    v->out->entries++;
    v->out->records += entry->records;
    v->out->bytes += entry->length_bytes;
    if (v->progress && v->out->bytes - v->told_bytes >= 16 << 20) {
        v->told_bytes = v->out->bytes;
        v->progress(v->arg, v->out->bytes, v->total_bytes);
    }
    return 0;
}

/* ---- one segment ---- */

struct segment {
    const struct tlog_topic_head *topic;
    uint32_t partition;
    uint64_t pos;
    unsigned forms;
    bool first, last, raw;
};

/* Bytes of the last segment past its last entry: whole lines, and an unfinished one. */
static int count_tail(struct verify *v, const struct segment *segment, const struct tlog_scan *scan)
{
    uint64_t foff = scan->at.pos - scan->segment_pos, whole = foff;
    char *buffer = malloc(1 << 16);
    if (!buffer)
        return -ENOMEM;
    int r = 0;
    for (uint64_t at = foff; at < scan->log_bytes;) {
        ssize_t n = v->io->pread(v->io, scan->log_fd, buffer, 1 << 16, at);
        if (n <= 0) {
            r = n < 0 ? (int)n : 0;
            break;
        }
        const char *newline = segment->raw ? NULL : memrchr(buffer, '\n', (size_t)n);
        if (newline)
            whole = at + (uint64_t)(newline + 1 - buffer);
        at += (uint64_t)n;
    }
    free(buffer);
    v->out->unindexed_bytes += whole - foff;
    v->out->torn_bytes += scan->log_bytes - whole;
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
static bool was_cut_short(const struct verify *v, const struct segment *segment, const struct tlog_scan *scan)
{
    const struct tlog_checkpoint_row *row =
        tlog_checkpoint_find(&v->checkpoint, segment->topic->id, segment->partition);
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
    return good == 0 && (alone || (v->other_boot && row));
}

static int scan_segment(struct verify *v, const struct segment *segment, struct tlog_scan *scan, const char *name)
{
    scan->check_data = true;
    scan->each = count_entry;
    scan->arg = v;
    for (;;) {
        struct tlog_error error = {0};
        int r = tlog_scan_run(scan, &error);
        uint64_t end = scan->at.pos - scan->segment_pos;
        if (r == 0 && !segment->last && scan->log_bytes > end)
            damage(v, "%s.log: %" PRIu64 " bytes past its last entry", name, scan->log_bytes - end);
        if (r == 0)
            return segment->last ? count_tail(v, segment, scan) : 0;
        if (r != -EBADMSG)
            return r;
        if (segment->last && was_cut_short(v, segment, scan)) {
            v->out->torn_bytes += scan->log_bytes - end;
            return 0;
        }
        damage(v, "%s.idx: %s", name, error.text);
        if (!skip_entry(scan))
            return 0;
    }
}

/* Whether the making of the last segment was cut short: no bytes, no header. Recovery makes it anew. */
static bool unmade(const struct verify *v, const struct segment *segment, int log, int idx)
{
    struct tlog_io_stat st;
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    struct tlog_index_header header;
    if (!segment->last || (log < 0 && log != -ENOENT) || (idx < 0 && idx != -ENOENT))
        return false;
    if (log >= 0 && (v->io->stat(v->io, log, &st) < 0 || st.size_bytes > 0))
        return false;
    return log < 0 || idx < 0 || v->io->pread(v->io, idx, bytes, sizeof bytes, 0) < (ssize_t)sizeof bytes ||
           tlog_index_header_decode(&header, bytes) == -EBADMSG;
}

/* Whether the segment goes on from where the log stands; the first one stands on its own header. */
static void check_header(struct verify *v, const struct segment *segment, const struct tlog_point *at,
                         const struct tlog_point *header, const char *name, const char *suffix)
{
    if (segment->first) {
        if (header->pos == 0 && header->chain != tlog_root_chain(segment->topic->id, segment->partition))
            damage(v, "%s.%s: belongs to another partition", name, suffix);
    } else if (at->pos != segment->pos) {
        damage(v, "%s.%s: bytes from %" PRIu64 " to %" PRIu64 " are missing before it", name,
               segment->forms & TLOG_RAW ? "log" : "zst", at->pos, segment->pos);
    } else if (at->chain != header->chain || at->seq != header->seq) {
        damage(v, "%s.%s: does not go on from the segment before it", name, suffix);
    }
}

/* *end: where the log stands after it, as far as it is good. */
static int verify_raw(struct verify *v, const struct segment *segment, const struct tlog_point *at, const char *name,
                      struct tlog_point *end)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_error error = {0};
    struct tlog_scan scan;
    snprintf(path, sizeof path, "%s/topics/%s.log", v->path, name);
    int log = v->io->open(v->io, path, TLOG_IO_READ);
    snprintf(path, sizeof path, "%s/topics/%s.idx", v->path, name);
    int idx = v->io->open(v->io, path, TLOG_IO_READ);
    int r = 0;
    if (unmade(v, segment, log, idx)) {
        v->out->segments--;
    } else if (log == -ENOENT || idx == -ENOENT) {
        damage(v, "%s.%s: missing", name, log == -ENOENT ? "log" : "idx");
    } else if (log < 0 || idx < 0) {
        r = log < 0 ? log : idx;
    } else if ((r = tlog_scan_open(&scan, v->io, log, idx, segment->pos, segment->topic->id, &error)) == -EBADMSG ||
               r == -ENOTSUP) {
        damage(v, "%s.idx: %s", name, error.text);
        r = 0;
    } else if (r == 0) {
        check_header(v, segment, at, &scan.at, name, "idx");
        r = scan_segment(v, segment, &scan, name);
        *end = scan.at;
    }
    if (log >= 0)
        v->io->close(v->io, log);
    if (idx >= 0)
        v->io->close(v->io, idx);
    return r;
}

struct sealed_name {
    struct verify *v;
    const char *name;
    bool counts; /* its entries are not counted elsewhere */
};

static void sealed_damage(void *arg, const char *what)
{
    const struct sealed_name *sealed = arg;
    damage(sealed->v, "%s.zst: %s", sealed->name, what);
}

static void sealed_entry(void *arg, const struct tlog_entry *entry)
{
    const struct sealed_name *sealed = arg;
    if (sealed->counts)
        (void)count_entry(sealed->v, entry);
}

static int verify_sealed(struct verify *v, const struct segment *segment, const struct tlog_point *at, const char *name,
                         struct tlog_point *end)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_error error = {0};
    struct tlog_sealed *sealed;
    struct sealed_name arg = {v, name, !(segment->forms & TLOG_RAW)};
    snprintf(path, sizeof path, "%s/topics/%s.zst", v->path, name);
    int fd = v->io->open(v->io, path, TLOG_IO_READ);
    int r = fd < 0 ? fd : tlog_sealed_open(&sealed, v->io, fd, segment->pos, segment->topic->id, &error);
    if (r == -EBADMSG || r == -ENOTSUP) {
        damage(v, "%s.zst: %s", name, error.text);
        return 0;
    }
    if (r < 0)
        return r;
    const struct tlog_index_header *header = &sealed->header;
    check_header(v, segment, at, &(struct tlog_point){header->pos, header->seq, header->chain, header->time_ns, 0, 0},
                 name, "zst");
    if ((segment->forms & TLOG_RAW) && (end->pos != sealed->end.pos || end->chain != sealed->end.chain))
        damage(v, "%s.zst: is not the same as its raw files", name);
    *end = sealed->end;
    struct tlog_sealed_check check = {sealed, sealed_entry, sealed_damage, &arg};
    r = tlog_sealed_check(&check);
    tlog_sealed_free(sealed);
    return r;
}

static int verify_segment(struct verify *v, const struct segment *segment, struct tlog_point *at)
{
    char name[512];
    struct tlog_point end = *at; /* when none of it can be read */
    int r = 0;
    snprintf(name, sizeof name, "%s/%u/%020" PRIu64, segment->topic->name, segment->partition, segment->pos);
    v->out->segments++;
    if (segment->forms & TLOG_RAW)
        r = verify_raw(v, segment, at, name, &end);
    if (r == 0 && (segment->forms & TLOG_SEALED))
        r = verify_sealed(v, segment, at, name, &end);
    *at = end;
    return r;
}

/* ---- partitions and topics ---- */

static int verify_partition(struct verify *v, struct tlog_partition *p)
{
    bool raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    struct tlog_point at = {0};
    int r = 0;
    v->out->partitions++;
    for (unsigned i = 0; r == 0 && i < p->segment_count; i++) {
        unsigned forms = p->segments[i].forms;
        bool last = i + 1 == p->segment_count && !(forms & TLOG_SEALED);
        struct segment segment = {p->topic, p->number, p->segments[i].pos, forms, i == 0, last, raw};
        r = verify_segment(v, &segment, &at);
    }
    return r;
}

static int verify_topics(struct verify *v, struct tlog_store *store)
{
    bool found = false;
    int r = 0;
    for (size_t i = 0; i < store->topic_count; i++)
        for (unsigned k = 0; k < store->topics[i]->partition_count; k++)
            if (store->topics[i]->partitions[k])
                v->total_bytes += store->topics[i]->partitions[k]->end - store->topics[i]->partitions[k]->start;
    for (size_t i = 0; r == 0 && i < store->topic_count; i++) {
        struct tlog_topic *topic = store->topics[i];
        if (v->topic_name && strcmp(topic->head.name, v->topic_name) != 0)
            continue;
        found = true;
        v->out->topics++;
        for (unsigned k = 0; r == 0 && k < topic->partition_count; k++)
            if (topic->partitions[k])
                r = verify_partition(v, topic->partitions[k]);
    }
    return r == 0 && v->topic_name && !found ? -ENOENT : r;
}

static int hold_lock(const char *path, int *fd)
{
    char lock[TLOG_NAME_BYTES];
    snprintf(lock, sizeof lock, "%s/LOCK", path);
    *fd = tlog_io_posix.open(&tlog_io_posix, lock, TLOG_IO_WRITE);
    return *fd < 0 ? 0 : tlog_io_posix.lock(&tlog_io_posix, *fd); /* a copy may have none */
}

int tlog_verify(const char *path, const char *topic, void (*damaged)(void *arg, const char *line),
                void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes), void *arg,
                struct tlog_verify *out, struct tlog_error *error)
{
    struct tlog_options options = {.read_only = true};
    return tlog_verify_with(&options, path, topic, damaged, progress, arg, out, error);
}

int tlog_verify_with(const struct tlog_options *options, const char *path, const char *topic,
                     void (*damaged)(void *arg, const char *line),
                     void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes), void *arg,
                     struct tlog_verify *out, struct tlog_error *error)
{
    struct tlog_store *store;
    struct verify v = {.io = options->io ? options->io : &tlog_io_posix,
                       .path = path,
                       .topic_name = topic,
                       .out = out,
                       .damage = damaged,
                       .progress = progress,
                       .arg = arg};
    char boot_id[64] = "";
    int lock = -1;
    memset(out, 0, sizeof *out);
    int r = options->io ? 0 : hold_lock(path, &lock);
    if (r < 0) {
        tlog_error_set(error, "%s: %s", path, r == -EWOULDBLOCK ? "another process has it open" : strerror(-r));
        return r;
    }
    r = tlog_store_open(&store, path, options, error);
    if (r == 0) {
        int c = tlog_checkpoint_read(v.io, path, &v.checkpoint);
        if (c == -EBADMSG)
            damage(&v, "checkpoint: damaged");
        (void)v.io->boot_id(v.io, boot_id);
        v.other_boot = c < 0 || strcmp(v.checkpoint.boot_id, boot_id) != 0;
        r = verify_topics(&v, store);
        if (r < 0)
            tlog_error_set(error, "%s: %s", topic ? topic : path, r == -ENOENT ? "no such topic" : strerror(-r));
        free(v.checkpoint.rows);
        (void)tlog_store_close(store, NULL);
    }
    if (lock >= 0)
        tlog_io_posix.close(&tlog_io_posix, lock);
    return r;
}
