/* Trimming the head, and the pins that hold up what it removes.
 *
 * In this order: the segment that becomes the first is durable, name and header; the new start is in the journal, and
 * that is synced (no disk space is needed for it, so a full disk can be trimmed); readers see the new start; files
 * that nobody pins are unlinked, the oldest first.
 *
 * How it fails. Before the journal's sync nothing has changed. A kill or power cut after it: recovery knows the start
 * and unlinks the rest. An unlink that fails is tried again by the maintenance; what could not be unlinked lies below
 * the start and is no part of the log. */
#include "log/trim.h"

#include <errno.h>
#include <stdio.h>

#include "log/spare.h"

/* ---- the new start ---- */

int tlog_segment_header(struct tlog_partition *p, unsigned i, struct tlog_index_header *out)
{
    struct tlog_handle *handle;
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    int r = tlog_segment_open(p, i, &handle);
    if (r < 0)
        return r;
    if (handle->sealed) {
        *out = handle->sealed->header;
    } else {
        ssize_t n = p->ground->io->pread(p->ground->io, handle->idx_fd, bytes, sizeof bytes, 0);
        r = n < 0 ? (int)n : (size_t)n < sizeof bytes ? -EBADMSG : tlog_index_header_decode(out, bytes);
    }
    if (r == 0)
        p->segments[i].seq = out->seq;
    return r;
}

/* Where a trim to `pos` gets to: the first byte of a segment. Rolls when everything is to go; where no segment can be
 * made (1), all but the active one goes, which may make room. *first gets the segment's number. */
static int find_target(struct tlog_partition *p, uint64_t pos, unsigned *first)
{
    if (pos == UINT64_MAX)
        pos = p->end;
    if (pos > p->end)
        return -EINVAL;
    *first = tlog_segment_find(p, pos < p->start ? p->start : pos);
    if (pos < p->end || tlog_active(p)->pos == p->end)
        return 0;
    int r = tlog_segment_roll(p);
    *first = p->segment_count - 1;
    return r == -ENOSPC && tlog_active(p)->pos > p->start ? 1 : r;
}

/* Makes sure that the segment at `start` survives a power cut. */
static int make_durable(struct tlog_partition *p, uint64_t start)
{
    struct tlog_handle *handle = NULL;
    pthread_mutex_lock(&p->lock);
    bool flush = p->synced <= start || p->inherited || p->files_unlisted || p->unlisted;
    bool sealed = !(p->segments[tlog_segment_find(p, start)].forms & TLOG_RAW);
    pthread_mutex_unlock(&p->lock);
    if (!flush || sealed)
        return 0;
    int r = tlog_partition_flush(p);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    if (p->synced <= start) { /* nothing was appended to it, so the flush did not see it */
        r = tlog_segment_open(p, tlog_segment_find(p, start), &handle);
        if (r == 0)
            tlog_handle_ref(handle);
    }
    pthread_mutex_unlock(&p->lock);
    if (r < 0 || !handle)
        return r;
    r = tlog_handle_sync(handle);
    tlog_handle_unref(handle);
    if (r < 0) {
        pthread_mutex_lock(&p->lock);
        tlog_partition_fail(p, r);
        pthread_mutex_unlock(&p->lock);
        r = -EIO;
    }
    return r;
}

/* Writes the start into the journal. From then on the checkpoint says it too, as it may free this record. */
static int tell_journal(struct tlog_partition *p, uint64_t start, uint64_t seq)
{
    uint8_t body[16];
    uint64_t lsn;
    tlog_put_u64(body, start);
    tlog_put_u64(body + 8, seq);
    struct iovec part = {body, sizeof body};
    pthread_mutex_lock(&p->lock);
    int r = tlog_partition_refuses(p);
    if (r == 0) {
        tlog_partition_dirtied(p); /* before the record is written: upkeep must know who needs it */
        /* What the journal says of a rest that ended below the start, nothing contradicts any more. Those that are
         * still held are written down anew, as being past it. */
        r = tlog_writers_carry(p, tlog_journal_last(&p->ground->journal) + 1);
    }
    if (r == 0)
        r = tlog_journal_write(&p->ground->journal, TLOG_JOURNAL_START, p->topic->id, p->number, &part, 1, &lsn);
    if (r == 0) {
        tlog_partition_needs(p, lsn);
        if (p->start_next < start) {
            p->start_next = start;
            p->start_next_seq = seq;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return r < 0 ? r : tlog_journal_sync_wait(&p->ground->journal);
}

static void raise_start(struct tlog_partition *p, uint64_t start, uint64_t seq)
{
    int64_t now_ns = p->ground->io->boottime_ns(p->ground->io);
    if (p->start >= start) /* another trim went further */
        return;
    for (unsigned i = 0; i + 1 < p->segment_count && p->segments[i + 1].pos <= start; i++)
        if (p->segments[i].trimmed_ns == 0)
            p->segments[i].trimmed_ns = now_ns;
    p->start = start;
    p->start_seq = seq;
    p->changed_ns = tlog_ground_time_ns(p->ground);
}

/* 1: not as far as asked, since there was no room for another segment. */
static int trim_once(struct tlog_partition *p, uint64_t pos)
{
    struct tlog_index_header header = {0};
    unsigned first = 0;
    pthread_mutex_lock(&p->lock);
    int r = tlog_partition_refuses(p);
    if (r == 0)
        r = find_target(p, pos, &first);
    bool partly = r == 1, trims = r >= 0 && p->segments[first].pos > p->start;
    if (trims)
        r = tlog_segment_header(p, first, &header);
    pthread_mutex_unlock(&p->lock);
    if (r < 0 || !trims)
        return r;
    r = make_durable(p, header.pos);
    if (r == 0)
        r = tell_journal(p, header.pos, header.seq);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    r = p->deleted ? -ESTALE : 0; /* in the trash it starts where its origin says */
    if (r == 0)
        raise_start(p, header.pos, header.seq);
    pthread_mutex_unlock(&p->lock);
    if (r < 0)
        return r;
    if (p->ground->options.trimmed)
        p->ground->options.trimmed(p->ground->options.arg, p);
    if (tlog_partition_drop(p) >= 0) /* the rest goes when its pins do */
        tlog_ground_kick_maintain(p->ground);
    return partly;
}

int tlog_partition_trim(struct tlog_partition *partition, uint64_t pos, uint64_t *start)
{
    struct tlog_partition *p = partition;
    int r = trim_once(p, pos);
    bool spare = tlog_spare_use(p->ground, r);
    if (spare)
        r = trim_once(p, pos);
    if (r == 1) { /* perhaps there is room now; if not, this is as far as it goes */
        r = trim_once(p, pos);
        r = r == -ENOSPC || r == 1 ? 0 : r;
    }
    if (spare)
        tlog_spare_keep(p->ground);
    if (r == 0 && start) {
        pthread_mutex_lock(&p->lock);
        *start = p->start;
        pthread_mutex_unlock(&p->lock);
    }
    return r;
}

/* ---- pins ---- */

int tlog_partition_pin(struct tlog_partition *partition, uint64_t pos, struct tlog_pin *pin)
{
    struct tlog_partition *p = partition;
    pthread_mutex_lock(&p->lock);
    int r = pos < p->start ? -ESTALE : 0;
    if (r == 0)
        tlog_pin_locked(p, pos, pin);
    pthread_mutex_unlock(&p->lock);
    return r;
}

void tlog_pin_locked(struct tlog_partition *p, uint64_t pos, struct tlog_pin *pin)
{
    *pin = (struct tlog_pin){.partition = tlog_partition_ref(p), .pos = pos, .next = p->pins, .link = &p->pins};
    if (p->pins)
        p->pins->link = &pin->next;
    p->pins = pin;
}

void tlog_pin_release(struct tlog_pin *pin)
{
    struct tlog_partition *p = pin->partition;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    *pin->link = pin->next;
    if (pin->next)
        pin->next->link = pin->link;
    bool trimmed = p->segments[0].pos < p->start;
    pthread_mutex_unlock(&p->lock);
    if (trimmed)
        tlog_ground_kick_maintain(p->ground);
    *pin = (struct tlog_pin){0};
    tlog_partition_unref(p);
}

/* ---- dropping what was trimmed ---- */

/* How long the oldest segment, which was trimmed, is still kept; 0: it goes. */
static int64_t kept_for(const struct tlog_partition *p, int64_t now_ns)
{
    const struct tlog_segment *oldest = &p->segments[0];
    uint64_t end = p->segments[1].pos;
    int64_t left_ns = oldest->trimmed_ns + tlog_value(p->topic, TLOG_PIN_MS) * 1000000 - now_ns;
    if (left_ns <= 0 || p->start - oldest->pos > (uint64_t)tlog_value(p->topic, TLOG_PIN_BYTES))
        return 0;
    for (const struct tlog_pin *pin = p->pins; pin; pin = pin->next)
        if (pin->pos < end)
            return left_ns;
    return 0;
}

/* Unlinks the oldest segment. Its files are held open until the lock is given back: then the filesystem frees their
 * blocks, which may take its time, while nobody waits. */
static int unlink_oldest(struct tlog_partition *p, int fds[3])
{
    static const char *const suffixes[] = {"zst", "log", "idx"};
    char path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    tlog_segment_path(p, p->segments[0].pos, path);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.%s", path, suffixes[i]);
        fds[i] = p->ground->io->open(p->ground->io, name, TLOG_IO_READ);
    }
    int r = tlog_segment_unlink(p, p->segments[0].pos);
    if (r == 0) {
        tlog_segments_forget(p, 1);
        p->files_unlisted = true; /* a copy of the store is told no hole when a power cut brings some of it back */
    }
    return r;
}

int64_t tlog_partition_drop(struct tlog_partition *p)
{
    const struct tlog_io *io = p->ground->io;
    int64_t next_ns = -1, now_ns = io->boottime_ns(io);
    for (bool more = true; more;) {
        int fds[3] = {-1, -1, -1};
        pthread_mutex_lock(&p->lock);
        more = p->segment_count > 1 && p->segments[1].pos <= p->start && !p->deleted && !p->ground->options.read_only;
        if (more && (next_ns = kept_for(p, now_ns)) > 0)
            more = false;
        if (more && unlink_oldest(p, fds) < 0) {
            next_ns = TLOG_DROP_RETRY_NS;
            more = false;
        } else if (more) {
            next_ns = -1;
        }
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < 3; i++)
            if (fds[i] >= 0)
                io->close(io, fds[i]);
    }
    return next_ns;
}
