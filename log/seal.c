/* Sealing a segment: read it entry by entry, check every chain, write POS.zst.new, sync it, rename it to POS.zst, sync
 * the directory; only then does the partition know the new form. The raw files linger for backups that have not come
 * to them yet, and go afterwards; as long as they are there they are what is read.
 *
 * All reading, compressing and syncing is done without the partition's lock, from files that no longer change. Names
 * are used with the lock alone, since a topic may be renamed, a partition deleted and a segment trimmed at any time; a
 * large file that is unlinked is kept open until the lock is given back, so that its blocks are freed without it.
 *
 * How it fails. The machine stops: POS.zst.new is removed by recovery, a POS.zst that has its name is whole. The data
 * or the index is damaged: told, and the segment stays raw for this run. The disk is full, or anything else: told
 * once, the temporary file removed, tried again in a minute. The store is closed: given up, done anew next time. */
#include "log/seal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/sealed.h"
#include "log/trim.h"

static const int64_t retry_ns = INT64_C(60000000000);

struct job {
    struct tlog_partition *p;
    uint64_t pos, end; /* of the segment */
    struct tlog_handle *handle;
    struct tlog_scan scan;
    struct tlog_sealing *sealing;
    uint8_t *buffer; /* what was read and not yet used is [at, at + left) */
    size_t at, left;
    uint64_t read_pos; /* after the buffer */
    struct tlog_error error;
};

/* ---- which one ---- */

/* Whether a segment is still there, raw, and kept. With the lock. */
static bool wanted(struct tlog_partition *p, uint64_t pos, unsigned *i)
{
    if (tlog_partition_refuses(p) < 0 || pos < p->start)
        return false;
    *i = tlog_segment_find(p, pos);
    const struct tlog_segment *segment = &p->segments[*i];
    return segment->pos == pos && segment->forms == TLOG_RAW && !segment->spoilt;
}

/* The oldest that is full, synced and kept; keeps its files open. 1: there is none. */
static int choose(struct job *job)
{
    struct tlog_partition *p = job->p;
    pthread_mutex_lock(&p->lock);
    int r = 1;
    unsigned i = tlog_partition_refuses(p) == 0 ? tlog_segment_first(p) : p->segment_count;
    for (; i + 1 < p->segment_count && p->segments[i + 1].pos <= p->synced; i++) {
        if (p->segments[i].forms != TLOG_RAW || p->segments[i].spoilt)
            continue;
        job->pos = job->read_pos = p->segments[i].pos;
        job->end = p->segments[i + 1].pos;
        r = tlog_segment_open(p, i, &job->handle);
        if (r == 0)
            tlog_handle_ref(job->handle);
        break;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

unsigned tlog_partition_unsealed(struct tlog_partition *p, int64_t *ended_ns)
{
    unsigned count = 0;
    *ended_ns = 0;
    pthread_mutex_lock(&p->lock);
    unsigned i = tlog_partition_refuses(p) == 0 ? tlog_segment_first(p) : p->segment_count;
    for (; i + 1 < p->segment_count; i++) {
        struct tlog_segment *segment = &p->segments[i];
        struct tlog_index_header next;
        if (segment->forms != TLOG_RAW || segment->spoilt)
            continue;
        if (count++ > 0)
            continue;
        if (segment->last_ns == 0 && tlog_segment_header(p, i + 1, &next) == 0)
            segment->last_ns = next.time_ns;
        *ended_ns = segment->last_ns;
    }
    pthread_mutex_unlock(&p->lock);
    return count;
}

/* ---- the file ---- */

static void path_of(struct tlog_partition *p, uint64_t pos, const char *suffix, char to[TLOG_NAME_BYTES + 16])
{
    char path[TLOG_NAME_BYTES];
    tlog_segment_path(p, pos, path);
    snprintf(to, TLOG_NAME_BYTES + 16, "%s.%s", path, suffix);
}

static int level_of(struct tlog_partition *p)
{
    if (tlog_value(p->topic, TLOG_COMPRESSION_TYPE) == TLOG_COMPRESSION_NONE)
        return TLOG_SEALED_STORED;
    return (int)tlog_value(p->topic, TLOG_COMPRESSION_LEVEL);
}

/* Whether the disk is so full that producers will want what is left. */
static bool is_crowded(struct job *job)
{
    enum { KEEP_MOST = 64 << 20 };
    struct tlog_io_statfs st;
    const struct tlog_ground *ground = job->p->ground;
    if (ground->io->statfs(ground->io, ground->path, &st) < 0)
        return false;
    uint64_t keep = st.blocks / 20 * st.block_bytes;
    return st.blocks_available * st.block_bytes < (keep < KEEP_MOST ? keep : KEEP_MOST);
}

static int begin(struct job *job)
{
    struct tlog_partition *p = job->p;
    char path[TLOG_NAME_BYTES + 16];
    unsigned i;
    int r = tlog_scan_open(&job->scan, p->ground->io, job->handle->log_fd, job->handle->idx_fd, job->pos, p->topic->id,
                           &job->error);
    if (r < 0)
        return r;
    struct tlog_index_header header = {
        .pos = job->pos, .seq = job->scan.at.seq, .chain = job->scan.at.chain, .time_ns = job->scan.at.time_ns};
    memcpy(header.topic_id, p->topic->id, 16);
    pthread_mutex_lock(&p->lock);
    path_of(p, job->pos, "zst.new", path);
    r = wanted(p, job->pos, &i) ? tlog_sealing_new(&job->sealing, p->ground->io, path, &header, level_of(p)) : -ESTALE;
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* ---- its content ---- */

enum { BUFFER_BYTES = 256 << 10 };

static int refill(struct job *job)
{
    struct tlog_partition *p = job->p;
    unsigned i;
    if (tlog_ground_stopping(p->ground))
        return -ECANCELED;
    pthread_mutex_lock(&p->lock);
    bool go_on = wanted(p, job->pos, &i);
    pthread_mutex_unlock(&p->lock);
    if (!go_on)
        return -ESTALE;
    if (is_crowded(job))
        return -ENOSPC;
    uint64_t left = job->end - job->read_pos;
    ssize_t n = p->ground->io->pread(p->ground->io, job->handle->log_fd, job->buffer,
                                     left < BUFFER_BYTES ? left : BUFFER_BYTES, job->read_pos - job->pos);
    if (n < 0)
        return (int)n;
    job->at = 0;
    job->left = (size_t)n;
    job->read_pos += (uint64_t)n;
    if (n > 0)
        return 0;
    tlog_error_set(&job->error, "its data is missing from the .log");
    return -EBADMSG;
}

static int seal_entry(void *arg, const struct tlog_entry *entry)
{
    struct job *job = arg;
    size_t left = entry->length_bytes;
    int r = 0;
    if (left > job->end - entry->pos)
        r = -EBADMSG;
    while (r == 0 && left > 0) {
        r = job->left == 0 ? refill(job) : 0;
        size_t piece = left < job->left ? left : job->left;
        if (r == 0)
            r = tlog_sealing_data(job->sealing, job->buffer + job->at, piece);
        job->at += piece;
        job->left -= piece;
        left -= piece;
    }
    if (r == 0)
        r = tlog_sealing_entry(job->sealing, entry);
    if (r == -EBADMSG && job->error.text[0] == 0)
        tlog_error_set(&job->error, "position %" PRIu64 ": bad chain: the data or the entry was changed", entry->pos);
    return r;
}

static int fill(struct job *job)
{
    job->buffer = malloc(BUFFER_BYTES);
    if (!job->buffer)
        return -ENOMEM;
    job->scan.each = seal_entry;
    job->scan.arg = job;
    int r = tlog_scan_run(&job->scan, &job->error);
    if (r < 0)
        return r;
    if (job->scan.at.pos != job->end) {
        tlog_error_set(&job->error, "its index ends at position %" PRIu64 ", not at %" PRIu64, job->scan.at.pos,
                       job->end);
        return -EBADMSG;
    }
    return tlog_sealing_finish(job->sealing);
}

/* ---- its name ---- */

/* The file is whole and synced: it gets its name, and the name is synced. */
static int publish(struct job *job)
{
    struct tlog_partition *p = job->p;
    const struct tlog_io *io = p->ground->io;
    char from[TLOG_NAME_BYTES + 16], to[TLOG_NAME_BYTES + 16];
    struct tlog_io_stat st;
    unsigned i;
    pthread_mutex_lock(&p->lock);
    path_of(p, job->pos, "zst.new", from);
    path_of(p, job->pos, "zst", to);
    int r = wanted(p, job->pos, &i) ? io->rename(io, from, to) : -ESTALE;
    if (r == 0)
        r = io->stat_path(io, to, &st);
    pthread_mutex_unlock(&p->lock);
    if (r == 0)
        r = tlog_partition_sync_dir(p);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    if (wanted(p, job->pos, &i)) /* else it went together with the raw files */
        tlog_segment_form(p, i, TLOG_SEALED, &st);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static void clean_up(struct job *job, int result)
{
    struct tlog_partition *p = job->p;
    char path[TLOG_NAME_BYTES + 16];
    bool made = job->sealing;
    tlog_sealing_free(job->sealing);
    free(job->buffer);
    tlog_handle_unref(job->handle);
    if (result == 0 || !made)
        return;
    pthread_mutex_lock(&p->lock);
    path_of(p, job->pos, "zst.new", path);
    if (!p->deleted || p->trash)
        (void)p->ground->io->unlink(p->ground->io, path);
    pthread_mutex_unlock(&p->lock);
}

/* ---- how it went ---- */

static void spoil(struct job *job, const char *what)
{
    struct tlog_partition *p = job->p;
    char name[256];
    pthread_mutex_lock(&p->lock);
    snprintf(name, sizeof name, "%s", p->topic->name);
    unsigned i;
    if (wanted(p, job->pos, &i))
        p->segments[i].spoilt = true;
    pthread_mutex_unlock(&p->lock);
    tlog_ground_damage(p->ground, "%s/%u: segment %" PRIu64 ": %s", name, p->number, job->pos, what);
}

static int64_t judge(struct job *job, int r)
{
    struct tlog_ground *ground = job->p->ground;
    switch (r) {
    case 0:
        ground->sealing_late = false;
        return 0;
    case -ESTALE: /* this one is gone: the next, if any */
        return 0;
    case -ECANCELED:
        return -1;
    case -EBADMSG:
    case -ENOTSUP:
        spoil(job, job->error.text);
        return 0;
    case -EIO:
    case -ENOENT: /* while it was opened */
        tlog_error_set(&job->error, "it cannot be sealed: %s", strerror(-r));
        spoil(job, job->error.text);
        return 0;
    default:
        if (!ground->sealing_late)
            tlog_ground_note(ground, "sealing full segments: %s: tried again every minute", strerror(-r));
        ground->sealing_late = true;
        return retry_ns;
    }
}

static void tell_what(struct job *job, bool on)
{
    struct tlog_partition *p = job->p;
    struct tlog_ground *ground = p->ground;
    char text[sizeof ground->sealing] = "";
    if (on) {
        pthread_mutex_lock(&p->lock);
        snprintf(text, sizeof text, "%s/%u: segment %" PRIu64, p->topic->name, p->number, job->pos);
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_lock(&ground->dirty_lock);
    memcpy(ground->sealing, text, sizeof text);
    pthread_mutex_unlock(&ground->dirty_lock);
}

int64_t tlog_partition_seal(struct tlog_partition *p)
{
    struct job job = {.p = p};
    int r = choose(&job);
    if (r != 0)
        return r > 0 ? -1 : judge(&job, r);
    tell_what(&job, true);
    r = begin(&job);
    if (r == 0)
        r = fill(&job);
    if (r == 0)
        r = publish(&job);
    clean_up(&job, r);
    tell_what(&job, false);
    return judge(&job, r);
}
